"""What a product of two tensors is to what is followed: scores, heads mixed, or weights that meet values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from attnwidget.intercept.byhand import scoring, weighing
from attnwidget.intercept.byhand.axes import Atom, Axis, Part, Side, leaves, length, like
from attnwidget.intercept.byhand.handmade import from_hand
from attnwidget.intercept.byhand.otherwise import note_otherwise
from attnwidget.intercept.byhand.products import Product, read_product
from attnwidget.intercept.byhand.splitting import has_whole_rows, mark_factors, of_projection
from attnwidget.intercept.byhand.trails import Added, Layout, Learned, Scores, SoftmaxCall, Trails, Weights, trails
from attnwidget.intercept.calls import callers, in_backward, record_call, tell, watch_softmax
from attnwidget.intercept.records import HandCall
from attnwidget.intercept.sdpa import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from torch import nn

IMPLEMENTATION = "by hand"
_BATCHED_NDIM = 4


def note_product(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: torch.Tensor
) -> HandCall | None:
    """Write down what a product made: scores of two tensors, or an attention where it uses weights.

    Args:
        func: what ran.
        args: its arguments.
        kwargs: likewise.
        result: what it returned.

    Returns:
        The attention, where it is one of its own.
    """
    read = read_product(func, args, kwargs)
    if read is None or in_backward():
        return None
    known = trails()
    for left in (True, False) if known else ():
        trail = known.get(read.left if left else read.right)
        learned = _is_learned(read.right if left else read.left, known)
        if isinstance(trail, Weights) and not (learned or trail.is_log) and _sums_keys(trail, read, left=left):
            return _use(trail, read, result, left=left)
        if isinstance(trail, Weights) and not learned and _sums_one(trail, read, left=left):
            weighing.meets_apart(trail)
            _watch_unexplained(trail)
            return None
        if isinstance(trail, (Scores, Weights)) and learned:
            found = _mixed(trail, read, left=left)
            if found is not None:
                known.put(result, found)
            return None
        if trail is not None and not learned:
            note_otherwise(trail, read, left=left)
    _note_made(read, result, known)
    return None


def _note_made(read: Product, result: torch.Tensor, known: Trails) -> None:
    """Write down what a product makes that no weights take part in: scores, or queries, keys or values."""
    learned_left, learned_right = _is_learned(read.left, known), _is_learned(read.right, known)
    if learned_left != learned_right:
        layout = of_projection(read, learned_left=learned_left)
        if layout is not None:
            known.put(result, layout)
    elif not learned_left and (scores := _scores(read, result, known)) is not None:
        known.put(result, scores)


def _is_learned(tensor: torch.Tensor, known: Trails) -> bool:
    """Whether a tensor is a parameter, a view of one or one in another type: a product with it is a projection.

    One that is repeated for each example stands for tokens, as learned queries do.
    """
    base = tensor._base  # noqa: SLF001 - torch offers no other name for it
    is_view = any(
        isinstance(part, torch.nn.Parameter) or isinstance(known.get(part), Learned)
        for part in (tensor, base)
        if part is not None
    )
    return is_view and all(step or size == 1 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _sums_keys(trail: Weights, read: Product, *, left: bool) -> bool:
    """Whether a product of weights sums over the keys."""
    labels = read.left_labels if left else read.right_labels
    if len(labels) != len(trail.axes):
        return False
    summed = read.summed
    found = [atom for label, axis in zip(labels, trail.axes, strict=True) if label in summed for atom in leaves(axis)]
    return bool(summed) and tuple(found) == leaves(trail.keys)


def _sums_one(trail: Weights, read: Product, *, left: bool) -> bool:
    """Whether a product of weights sums over a single one."""
    labels = read.left_labels if left else read.right_labels
    known = dict(zip(labels, trail.axes, strict=False))
    return len(labels) == len(trail.axes) and not any(known[label] for label in read.summed)


def _use(trail: Weights, read: Product, output: torch.Tensor, *, left: bool) -> HandCall | None:
    """Weights meet values: an attention, the first time they do, and where another layer takes them over."""
    inside = CURRENT.get()
    if trail.call.is_known and (inside is not None or not _is_another_layer(trail.call)):
        return None
    if trail.oddity == weighing.PICKED:  # as those of a router: the softmax is told, and is no layer
        return None
    if trail.scores is None:
        _watch_unexplained(trail)
        return None
    trail.call.is_known = True
    call = HandCall(trail, read, output, weights_left=left)
    if inside is not None:
        inside.by_hand.append(call)
        return None
    notes: list[str] = []
    trail.call.users += record_call(
        lambda keeper: from_hand(call, keeper, notes),
        implementation=IMPLEMENTATION,
        notes=notes,
        outputs=(output,),
    )
    return call


def _watch_unexplained(trail: Weights) -> None:
    """Weights of something that was not seen to be scores meet values: that is told, once."""
    if trail.scores is None and CURRENT.get() is None and not trail.call.weighs:
        trail.call.weighs = True
        watch_softmax(trail.call)


def _is_another_layer(call: SoftmaxCall) -> bool:
    """Whether weights that were recorded are multiplied with values of another layer, as lazy layers do.

    Ying et al. 2021. The layer itself may use its weights twice, as for relative values, and so may what it is part of:
    which of the two the weights are to be shown as cannot be told, so that they are shown once, and a note says so.
    """
    if not call.users:
        return False
    others = [module for module in callers() if all(module is not user for user in call.users)]
    related = [module for module in others if any(_is_within(module, user) for user in call.users)]
    for module in related:
        tell(
            f"weights that {type(call.users[0]).__name__} multiplied with values are multiplied with others in "
            f"{type(module).__name__}: they are shown once"
        )
    return len(others) > len(related)


def _is_within(one: nn.Module, other: nn.Module) -> bool:
    return any(part is other for part in one.modules()) or any(part is one for part in other.modules())


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
    for left_or_right, labels, tensor in _factors(read):
        trail = known.get(tensor) if known else None
        if isinstance(trail, Layout) and len(trail.axes) == len(labels):
            found.update(_laid_out(trail, labels, shared, left_or_right, known=found))
    for label, size in zip(read.labels, result.shape, strict=True):
        if label not in found:
            side = None if label in shared else Side.LEFT if label in read.left_labels else Side.RIGHT
            found[label] = (Atom(size, side=side),) if size > 1 else ()
    for label in read.summed:
        found[label] = (Atom(sizes[label]),) if sizes[label] > 1 else ()
    mark_factors([(labels, tensor) for _, labels, tensor in _factors(read)], read.summed, found)
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


def _factors(read: Product) -> tuple[tuple[Side, Sequence[str], torch.Tensor], ...]:
    return (Side.LEFT, read.left_labels, read.left), (Side.RIGHT, read.right_labels, read.right)


def _laid_out(
    trail: Layout, labels: Sequence[str], shared: Collection[str], side: Side, *, known: Collection[str]
) -> Iterator[tuple[str, Axis]]:
    """What axes of a factor count that was seen to be put together: shared ones, and queries with heads in them."""
    for label, axis in zip(labels, trail.axes, strict=True):
        if axis and label in shared and label not in known:
            yield label, axis
        elif len(axis) > 1 and label not in shared:
            yield label, tuple(Atom(atom.size, side=side, is_head=atom.is_head) for atom in leaves(axis))


def _mark_beside_features(read: Product, found: Mapping[str, Axis]) -> None:
    """Mark axes that lie just outside the features in memory, as heads do that were split off from them.

    Of a tensor in the order of its axes that is so of the last one, and tells only where tokens lie further out.
    """
    for _, labels, tensor in _factors(read):
        if len(labels) < _BATCHED_NDIM or len(read.summed) != 1:
            continue
        features = labels.index(read.summed[0])
        if tensor.stride(features) != 1 or has_whole_rows(tensor, features):
            continue
        alone = [label for label in labels if not (label in read.left_labels and label in read.right_labels)]
        tokens = [number for number, label in enumerate(labels) if label in alone and tensor.shape[number] > 1]
        step = tensor.shape[features]
        if tensor.is_contiguous() and not any(tensor.stride(number) > step for number in tokens):
            continue
        for number, label in enumerate(labels):
            if label in read.labels and tensor.stride(number) == step:
                for atom in found[label]:
                    atom.beside_features = True
