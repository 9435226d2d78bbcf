"""Route 5: a softmax written by hand, between a product of queries and keys and a product with values.

The data is followed from the first product on, tensor by tensor, so that a shape alone never makes an attention.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn import functional

from attnwidget.intercept.byhand import following, scoring
from attnwidget.intercept.byhand.axes import fresh
from attnwidget.intercept.byhand.changed import change_by_hand
from attnwidget.intercept.byhand.products import PRODUCTS
from attnwidget.intercept.byhand.reshaping import SHAPING, SPLITTING, copied, gathered, merged, pieces
from attnwidget.intercept.byhand.splitting import mapped
from attnwidget.intercept.byhand.steps import JOINS, Step
from attnwidget.intercept.byhand.trails import Layout, Learned, Scores, SoftmaxCall, Trail, Trails, Weights, trails
from attnwidget.intercept.calls import in_backward, refuse_call, watch_softmax
from attnwidget.intercept.changing import CHANGES
from attnwidget.intercept.multiplying import note_product
from attnwidget.intercept.plain import PLAIN, has_values, holds_numbers
from attnwidget.intercept.sdpa import FAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Run: TypeAlias = Callable[..., Any] | None

LOG_SOFTMAX = {torch.log_softmax, torch.Tensor.log_softmax, functional.log_softmax, torch.special.log_softmax}
LOG_SOFTMAX |= {torch._log_softmax}  # noqa: SLF001
SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax, torch.special.softmax, functional.gumbel_softmax}
SOFTMAX |= {*LOG_SOFTMAX, functional.softmin}
SOFTMAX |= {torch.sparse.softmax}  # of which no more can be told than that it ran
SOFTMAX |= {torch._softmax, torch._safe_softmax, torch._masked_softmax}  # noqa: SLF001 - as torch's own code calls them
_DIM_AT = {functional.gumbel_softmax: 4, torch._masked_softmax: 2}  # noqa: SLF001
_MAY_LACK_DIM = {functional.softmax, functional.log_softmax, functional.softmin}
MERGES = {torch.reshape, torch.Tensor.reshape, torch.Tensor.view, torch.flatten, torch.Tensor.flatten}
CASTS = following.CASTS
COPIES = {torch.Tensor.contiguous, torch.Tensor.clone, torch.clone}
GATHERS = {*JOINS, torch.stack}
FOLLOWED = {*following.RULES, *following.PICKING, *SHAPING, *SPLITTING} - MERGES - CASTS - COPIES - GATHERS


def product(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run = None) -> Any:  # noqa: ANN401
    """Run a product: it may make scores, or use weights."""
    result = (run or func)(*args, **kwargs)
    if type(result) in PLAIN or holds_numbers(type(result)):
        call = None
        with suppress(Exception):  # see `follow`
            call = note_product(func, args, kwargs, result)
        if call is not None and (changer := CHANGES.get()) is not None:
            change_by_hand(call, changer)
    return result


def softmax(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run = None) -> Any:  # noqa: ANN401
    """Run a softmax: of scores it makes weights."""
    known, given = trails(), args[0] if args else kwargs.get("input")
    trail = known.get(given)
    if trail is None and known and isinstance(known.get(following.outside(given)), Scores):
        watch_softmax(SoftmaxCall(from_product=True))  # within a function transform, out of which none are followed
    result = (run or func)(*args, **kwargs)
    if type(result) in PLAIN or holds_numbers(type(result)):
        with suppress(Exception):
            _note_softmax(func, args, kwargs, trail, result)
    elif isinstance(result, torch.Tensor) and not has_values(result):
        refuse_call(FAKE, implementation="by hand")
    return result


def follow(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run = None) -> Any:  # noqa: ANN401
    """Run any other function that may take part between the two products.

    Whatever goes wrong in following it, as with arguments in a form that is not known here, must not disturb the run:
    the trail ends there, and a softmax whose trail is lost is told.
    """
    known = trails()
    step = Step.of(func, args, kwargs, known) if known else None
    if step is None:
        return (run or func)(*args, **kwargs)
    if following.drops_in_place(step):
        step = replace(step, saved=step.args[0].detach().clone())
    result = (run or func)(*args, **kwargs)
    if isinstance(result, torch.Tensor):
        known.drop(result)
    with suppress(Exception):
        _note(step, result, known)
    return result


def merge(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run = None) -> Any:  # noqa: ANN401
    """Run a reshape: of something followed, or one that merges batch and heads of queries, keys or values."""
    known = trails()
    if not args or (known and known.get(args[0]) is not None):
        return follow(func, args, kwargs, run)
    result = (run or func)(*args, **kwargs)
    _begin(func, args, kwargs, result)
    return result


def copy(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run = None) -> Any:  # noqa: ANN401
    """Run `contiguous` or `clone`, after which the order in memory may not tell heads from examples any more."""
    known = trails()
    if not args or (known and known.get(args[0]) is not None):
        return follow(func, args, kwargs, run)
    result = (run or func)(*args, **kwargs)
    _begin(func, args, kwargs, result)
    return result


def gather(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run = None) -> Any:  # noqa: ANN401
    """Run a join of tensors: of something followed, or of heads that become one axis with the batch."""
    known = trails()
    result = follow(func, args, kwargs, run)
    if args and not (known and known.get(result) is not None):
        _begin(func, args, kwargs, result)
    return result


def map_heads(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a linear map: of something followed, or of heads one by one."""
    known = trails()
    result = follow(func, args, kwargs) if known else func(*args, **kwargs)
    with suppress(Exception):  # see `follow`
        if args[0].ndim >= _HEADED and not isinstance(known.get(args[0]), (Scores, Weights)):
            axes = mapped(args[0], result)
            if axes is not None:
                known.put(result, Layout(axes))
    return result


def cast(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run = None) -> Any:  # noqa: ANN401
    """Run a cast: of something followed, or of a parameter, which then is one in another type."""
    if not args or type(args[0]) is not torch.nn.Parameter:
        return follow(func, args, kwargs, run)
    result = (run or func)(*args, **kwargs)
    _begin(func, args, kwargs, result)
    return result


def _begin(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:  # noqa: ANN401
    with suppress(Exception):  # see `follow`
        if BEGINNINGS[func](args[0], result):
            begin(func, args, kwargs, result)


def begin(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:  # noqa: ANN401
    """Write down what a reshape, a copy or a cast tells of its result, where what it was made from is not followed.

    Args:
        func: one of `BEGINNINGS`, which has been asked.
        args: its arguments; the first is what went in.
        kwargs: likewise.
        result: what came out.
    """
    with suppress(Exception):
        before = args[0]
        if func in CASTS:
            trails().put(result, Learned())
            return
        if func in GATHERS:
            first = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) in (0, -result.ndim)
            axes = gathered(before, result) if first else None
        else:
            axes = merged(before, result) if func in MERGES else copied(before)
        if axes is not None:
            trails().put(result, Layout(axes))


def _may_merge(before: Any, result: Any) -> bool:  # noqa: ANN401
    """Whether batch and heads may have become one axis, or tokens two. Asked of every reshape of a model."""
    if result.ndim not in _MERGED or before.ndim not in _UNMERGED:
        counts = {result.ndim, before.ndim}
        return counts == {_HEADED, _BLOCKS} and result.shape[0] not in (0, before.shape[0])
    old, new = before.shape, result.shape
    return (new[0] != old[0] or new[1] != old[1] or (len(new), new[-1]) == (_HEADED, old[-1])) and 0 not in new


def _may_lose_order(before: Any, result: Any) -> bool:  # noqa: ANN401
    return result is not before and before.ndim == _HEADED


def _may_gather(before: Any, result: Any) -> bool:  # noqa: ANN401
    """Whether heads may have been put together. Asked of every join of a model."""
    if len(before) == 1 or before[0].ndim != _JOINED:
        return False
    return bool(result.ndim > _JOINED or result.shape[0] != before[0].shape[0])


def _may_be_learned(before: Any, result: Any) -> bool:  # noqa: ANN401
    return type(before) is torch.nn.Parameter and result is not before and type(result) in PLAIN


ROUTES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(PRODUCTS, product),
    **dict.fromkeys(SOFTMAX, softmax),
    **dict.fromkeys(MERGES, merge),
    **dict.fromkeys(COPIES, copy),
    **dict.fromkeys(CASTS, cast),
    **dict.fromkeys(GATHERS, gather),
}
"""What has something to tell where nothing is followed yet, and what sees to it."""

_JOINED, _HEADED = 3, 4
_FIRST_AXIS = (0, 1, 3)
_MERGED, _UNMERGED, _BLOCKS = (3, _HEADED), (3, _HEADED, 5), 6
BEGINNINGS: dict[Any, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(MERGES, _may_merge),
    **dict.fromkeys(COPIES, _may_lose_order),
    **dict.fromkeys(CASTS, _may_be_learned),
    **dict.fromkeys(GATHERS, _may_gather),
}
"""What has something to tell also where nothing is followed yet, and whether it may, by what went in and came out."""


def _note_softmax(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    trail: Trail | None,
    result: torch.Tensor,
) -> None:
    at = _DIM_AT.get(func, 1)
    dim = args[at] if len(args) > at else kwargs.get("dim", -1 if func is functional.gumbel_softmax else None)
    if dim is None and func in _MAY_LACK_DIM:
        dim = _implicit_dim(result.ndim)
    if not isinstance(dim, int) or result.ndim < len("qk") or in_backward():
        return
    scores = trail if isinstance(trail, Scores) else None
    axes = fresh(result.shape) if scores is None else scores.axes
    if scores is not None and func is not functional.softmax:
        scores = _softened(func, args, scores, result)
    weights = following.weights_of(scores, axes, dim)
    trails().put(result, replace(weights, is_log=func in LOG_SOFTMAX))


def _softened(func: Callable[..., Any], args: tuple[Any, ...], scores: Scores, result: torch.Tensor) -> Scores:
    """What the softmax is really taken of, where the function changes its scores first."""
    if func is functional.softmin:
        return scoring.scaled(scores, -1)
    if func is torch._masked_softmax:  # noqa: SLF001
        mask = args[1] if len(args) > 1 else None
        fits = isinstance(mask, torch.Tensor) and mask.shape == result.shape
        return scoring.filled(scores, mask, -math.inf, result, where=True) if fits else scores.unexplained()
    return scores.unexplained() if func is functional.gumbel_softmax else scores


def _implicit_dim(ndim: int) -> int:
    """The axis that `torch.nn.functional` takes, and warns of, where nobody names one."""
    return 0 if ndim in _FIRST_AXIS else 1


def _note(step: Step, result: Any, known: Trails) -> None:  # noqa: ANN401
    """Write down what is known of the result."""
    if step.func is torch.Tensor.__setitem__:
        found = following.RULES[step.func](step, step.args[0])
        if found is not step.known.get(0) and found is not None:
            known.put(step.args[0], found)
    elif isinstance(result, torch.Tensor):
        found = _after(step, result)
        if found is not None:
            known.put(result, found)
    elif step.func in SPLITTING and isinstance(result, (tuple, list)) and 0 in step.known:
        _note_pieces(step, result, known)
    elif step.func in following.PICKING and isinstance(scores := step.known.get(0), Scores):
        known.put(result[0], scoring.picked(scores, result[0]))


def _note_pieces(step: Step, results: Sequence[torch.Tensor], known: Trails) -> None:
    trail = step.known[0]
    if isinstance(trail, (Layout, Scores, Weights)):
        axes = pieces(step.func, trail.axes, step.args, step.kwargs, results)
        for number, (piece, piece_axes) in enumerate(zip(results, axes, strict=True)):
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
