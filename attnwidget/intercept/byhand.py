"""Route 5: a softmax written by hand, between a product of queries and keys and a product with values.

The data is followed from the first product on, tensor by tensor, so that a shape alone never makes an attention.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from attnwidget.intercept import following, scoring, weighing
from attnwidget.intercept.axes import Atom, Axis, Part, Side, fresh, leaves, length, like
from attnwidget.intercept.handmade import from_hand
from attnwidget.intercept.products import BADDBMM, EINSUM, MATMUL, Product, read_product
from attnwidget.intercept.recorder import in_backward, record_call, watch_softmax
from attnwidget.intercept.records import HandCall
from attnwidget.intercept.reshaping import SHAPING, SPLITTING, heads_first, merged, pieces
from attnwidget.intercept.sdpa import CURRENT
from attnwidget.intercept.steps import Step
from attnwidget.intercept.trails import Added, Layout, Learned, Scores, Trail, Trails, Weights, trails

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IMPLEMENTATION = "by hand"
PRODUCTS = MATMUL | BADDBMM | EINSUM
LOG_SOFTMAX = {torch.log_softmax, torch.Tensor.log_softmax, functional.log_softmax, torch.special.log_softmax}
SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax, torch.special.softmax, functional.gumbel_softmax}
SOFTMAX |= LOG_SOFTMAX
MERGES = {torch.reshape, torch.Tensor.reshape, torch.Tensor.view}
CASTS = following.CASTS
COPIES = {torch.Tensor.contiguous}
FOLLOWED = {*following.RULES, *SHAPING, *SPLITTING} - MERGES - CASTS - COPIES
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_BATCHED_NDIM = 4


def product(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a product: it may make scores, or use weights."""
    result = func(*args, **kwargs)
    read = read_product(func, args, kwargs) if type(result) in _PLAIN else None
    if read is None or in_backward():
        return result
    known = trails()
    if known:
        for left in (True, False):
            trail = known.get(read.left if left else read.right)
            learned = _is_learned(read.right if left else read.left, known)
            if isinstance(trail, Weights) and not (learned or trail.is_log) and _sums_keys(trail, read, left=left):
                _use(trail, read, result, left=left)
                return result
            if isinstance(trail, (Scores, Weights)) and learned:
                found = _mixed(trail, read, left=left)
                if found is not None:
                    known.put(result, found)
                return result
    if not (_is_learned(read.left, known) or _is_learned(read.right, known)):
        scores = _scores(read, result, known)
        if scores is not None:
            known.put(result, scores)
    return result


def softmax(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a softmax: of scores it makes weights."""
    known = trails()
    trail = known.get(args[0] if args else kwargs.get("input"))
    result = func(*args, **kwargs)
    is_random = func is functional.gumbel_softmax
    at = 4 if is_random else 1
    dim = args[at] if len(args) > at else kwargs.get("dim", -1 if is_random else None)
    if type(result) not in _PLAIN or not isinstance(dim, int) or result.ndim < len("qk") or in_backward():
        return result
    scores = trail if isinstance(trail, Scores) else None
    axes = fresh(result.shape) if scores is None else scores.axes
    if scores is not None and is_random:
        scores = scores.unexplained()
    weights = following.weights_of(scores, axes, dim)
    known.put(result, replace(weights, is_log=func in LOG_SOFTMAX))
    return result


def follow(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run any other function that may take part between the two products."""
    known = trails()
    step = Step.of(func, args, kwargs, known) if known else None
    if step is None:
        return func(*args, **kwargs)
    if following.drops_in_place(step):
        step = replace(step, saved=step.args[0].detach().clone())
    result = func(*args, **kwargs)
    try:
        _note(step, result, known)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError):
        # Arguments in a form that is not known here: the run goes on, and a softmax whose trail is lost is told.
        if isinstance(result, torch.Tensor):
            known.drop(result)
    return result


def merge(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a reshape: of something followed, or one that merges batch and heads of queries, keys or values."""
    known = trails()
    if not args or (known and known.get(args[0]) is not None):
        return follow(func, args, kwargs)
    result = func(*args, **kwargs)
    before, after = args[0].shape, result.shape
    if len(after) in {3, 4} and len(before) in {3, 4, 5} and before[:2] != after[:2] and 0 not in after:
        axes = merged(args[0], result)
        if axes is not None:
            known.put(result, Layout(axes))
    return result


def copy(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run `contiguous`, after which the order in memory does not tell heads from examples any more."""
    known = trails()
    if known and known.get(args[0]) is not None:
        return follow(func, args, kwargs)
    result = func(*args, **kwargs)
    axes = None if result is args[0] else heads_first(args[0])
    if axes is not None:
        known.put(result, Layout(axes))
    return result


def cast(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a cast: of something followed, or of a parameter, which then is one in another type."""
    if not args or type(args[0]) is not torch.nn.Parameter:
        return follow(func, args, kwargs)
    result = func(*args, **kwargs)
    if result is not args[0] and isinstance(result, torch.Tensor):
        trails().put(result, Learned())
    return result


def _note(step: Step, result: Any, known: Trails) -> None:  # noqa: ANN401
    """Write down what is known of the result."""
    if step.func is torch.Tensor.__setitem__:
        found = following.RULES[step.func](step, step.args[0])
        if found is not step.known.get(0) and found is not None:
            known.put(step.args[0], found)
        return
    if isinstance(result, torch.Tensor):
        found = _after(step, result)
        if found is None:
            known.drop(result)
        else:
            known.put(result, found)
    elif step.func in SPLITTING and isinstance(result, (tuple, list)) and 0 in step.known:
        trail = step.known[0]
        if isinstance(trail, (Layout, Scores, Weights)):
            axes = pieces(step.func, trail.axes, step.args, step.kwargs, result)
            for number, (piece, piece_axes) in enumerate(zip(result, axes, strict=True)):
                if piece_axes is not None:
                    known.put(piece, following.reshaped(step, trail, piece_axes, number))


def _after(step: Step, result: torch.Tensor) -> Trail | None:
    shaping = SHAPING.get(step.func)
    if shaping is None:
        return following.RULES[step.func](step, result)
    trail = step.known.get(0)
    if trail is None or isinstance(trail, Learned):
        return trail
    axes = shaping(trail.axes, step.args, step.kwargs, result)
    if axes is None:
        return scoring.moved(trail, result) if isinstance(trail, Scores) else None
    return following.reshaped(step, trail, axes)


def _is_learned(tensor: torch.Tensor, known: Trails) -> bool:
    """Whether a tensor is a parameter, a view of one or one in another type: a product with it is a projection."""
    base = tensor._base  # noqa: SLF001 - torch offers no other name for it
    return any(
        isinstance(part, torch.nn.Parameter) or isinstance(known.get(part), Learned)
        for part in (tensor, base)
        if part is not None
    )


def _sums_keys(trail: Weights, read: Product, *, left: bool) -> bool:
    """Whether a product of weights sums over the keys."""
    labels = read.left_labels if left else read.right_labels
    if len(labels) != len(trail.axes):
        return False
    summed = read.summed
    found = [atom for label, axis in zip(labels, trail.axes, strict=True) if label in summed for atom in leaves(axis)]
    return bool(summed) and tuple(found) == leaves(trail.keys)


def _use(trail: Weights, read: Product, output: torch.Tensor, *, left: bool) -> None:
    """Weights meet values: an attention, the first time they do."""
    if trail.call.is_known:
        return
    inside = CURRENT.get()
    if trail.scores is None:
        if inside is None and not trail.call.weighs:
            trail.call.weighs = True
            watch_softmax(trail.call)
        return
    trail.call.is_known = True
    call = HandCall(trail, read, output, weights_left=left)
    if inside is not None:
        inside.by_hand.append(call)
    else:
        notes: list[str] = []
        record_call(lambda keeper: from_hand(call, keeper, notes), implementation=IMPLEMENTATION, notes=notes)


def _mixed(trail: Scores | Weights, read: Product, *, left: bool) -> Scores | Weights | None:
    """Scores or weights times parameters, which may mix heads."""
    labels, other = (read.left_labels, read.right_labels) if left else (read.right_labels, read.left_labels)
    if len(labels) != len(trail.axes):
        return None
    known = dict(zip(labels, trail.axes, strict=True))
    summed = tuple(atom for label in read.summed for atom in known[label])
    sizes = read.sizes(left=not left)
    for label in other:
        if label not in known:  # heads again, if there are as many of them
            known[label] = summed if length(summed) == sizes[label] else like(summed, sizes[label])
    axes = tuple(known[label] for label in read.labels)
    if isinstance(trail, Weights):
        return weighing.mixed(trail, read.left if left else read.right, axes, summed)
    return scoring.mixed(trail, axes, summed)


def _scores(read: Product, result: torch.Tensor, known: Trails) -> Scores | None:
    """What a product of two tensors makes, if it may be scores: sums over more than one feature."""
    sizes = read.sizes(left=True)
    if math.prod(sizes[label] for label in read.summed) <= 1 or not result.is_floating_point():
        return None
    found: dict[str, Axis] = {}
    # Queries and keys may be pieces of one tensor: what they do not share must be told apart.
    shared = {label for label in read.labels if label in read.left_labels and label in read.right_labels}
    for labels, tensor in ((read.left_labels, read.left), (read.right_labels, read.right)):
        trail = known.get(tensor) if known else None
        if isinstance(trail, Layout) and len(trail.axes) == len(labels):
            for label, axis, size in zip(labels, trail.axes, tensor.shape, strict=True):
                if size > 1 and label in shared:
                    found.setdefault(label, axis)
    for label, size in zip(read.labels, result.shape, strict=True):
        if label not in found:
            side = None if label in shared else Side.LEFT if label in read.left_labels else Side.RIGHT
            found[label] = (Atom(size, side=side),) if size > 1 else ()
    for label in read.summed:
        found[label] = (Atom(sizes[label]),) if sizes[label] > 1 else ()
    _mark_beside_features(read, found)
    axes = tuple(found[label] for label in read.labels)
    added = () if read.added is None else (Added(Part.of(read.added, axes), read.added_factor),)
    factors = (
        Part.of(read.left, tuple(found[label] for label in read.left_labels)),
        Part.of(read.right, tuple(found[label] for label in read.right_labels)),
    )
    return Scores(
        axes,
        factors,
        tuple(atom for label in read.summed for atom in found[label]),
        inner=read.factor,
        added=added,
        product=factors,
    )


def _mark_beside_features(read: Product, found: Mapping[str, Axis]) -> None:
    """Mark axes that lie just outside the features in memory, as heads do that were split off from them."""
    for labels, tensor in ((read.left_labels, read.left), (read.right_labels, read.right)):
        if len(labels) < _BATCHED_NDIM or len(read.summed) != 1 or tensor.is_contiguous():
            continue
        features = labels.index(read.summed[0])
        if tensor.stride(features) != 1:
            continue
        for number, label in enumerate(labels):
            if label in read.labels and tensor.stride(number) == tensor.shape[features]:
                for atom in found[label]:
                    atom.beside_features = True
