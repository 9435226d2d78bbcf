"""What functions do to scores: the formula that says what they are grows, or is given up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from attnwidget.intercept.byhand.axes import Axes, Axis, Part, alike, fresh, grown, leaves, length, like, mark
from attnwidget.intercept.byhand.steps import FORBIDS, Step, as_number, lowest, name_of
from attnwidget.intercept.byhand.trails import Added, Forbidden, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGNS = {"sub": (1, -1), "subtract": (1, -1), "rsub": (-1, 1)}


def scaled(scores: Scores, factor: float) -> Scores:
    """Scores times a number."""
    if scores.sinks or (factor < 0 and any(isinstance(part, Forbidden) for part in scores.added)):
        return replace(scores.unexplained(), added=())
    added = tuple(
        replace(part, factor=part.factor * factor) if isinstance(part, Added) else part for part in scores.added
    )
    if scores.outer is None:
        return replace(scores, inner=scores.inner * factor, added=added)
    return replace(scores, outer=scores.outer * factor, added=added)


def multiplied(step: Step, scores: Scores, position: int, result: torch.Tensor) -> Scores:
    """A multiplication or division."""
    other = step.argument(1 - position, "other")
    divides = name_of(step.func) in {"div", "divide", "true_divide"}
    if (divides and position == 1) or step.kwargs.get("rounding_mode"):
        return unexplained(scores, result)
    number = as_number(other)
    if number is not None and (number or not divides):
        return scaled(scores, 1 / number if divides else number)
    axes = grown(scores.axes, result.shape)
    linear = scores.outer is None and not scores.sinks and not any(isinstance(part, Added) for part in scores.added)
    if not isinstance(other, torch.Tensor) or len(step.known) > 1 or not linear:
        return scores.unexplained(axes)
    gain = other.detach().reciprocal() if divides else other
    return replace(scores, axes=axes, gains=(*scores.gains, Part.of(gain, axes)))


def summed(step: Step, scores: Scores, position: int, result: torch.Tensor) -> Scores:
    """An addition or subtraction."""
    other, factor = step.argument(1 - position, "other"), float(step.kwargs.get("alpha", 1))
    signs = _SIGNS.get(name_of(step.func), (1, 1))
    if factor != 1 and (position == 1 or signs[0] < 0):
        return unexplained(scores, result)
    if signs[position] < 0:
        scores = scaled(scores, -1)
    scores = replace(scores, axes=grown(scores.axes, result.shape))
    second = step.known.get(1 - position)
    if isinstance(second, Scores):
        return _of_two(scores, second, result)
    number = as_number(other)
    if number is not None:
        if not number:
            return scores
        other = torch.tensor(number)
    if not isinstance(other, torch.Tensor) or scores.sinks:
        return scores.unexplained()
    added = Added(Part.of(other, scores.axes), factor * signs[1 - position])
    return replace(scores, added=(*scores.added, added))


def _of_two(scores: Scores, second: Scores, result: torch.Tensor) -> Scores:
    """The sum of two products: no factors say it, and what was added to either still was.

    What the axes count is told by the product of content, not by that with positions, which examples share.
    """
    axes, others = scores.axes, second.axes
    if len(axes) == len(others):
        is_whole = [length(axis) for axis in others] == list(result.shape)
        if is_whole and _rank(second) < _rank(scores):
            axes, others = others, axes
        for axis, other in zip(axes, others, strict=True):
            told = [atom.is_head for atom in leaves(other)]
            if len(leaves(axis)) == len(told) == 1 and told[0] is not None:
                mark(leaves(axis), is_head=told[0])
    added = [
        replace(part, part=replace(part.part, axes=axes))
        for one in (scores, second)
        for part in one.added
        if part.part.axes is one.axes and len(one.axes) == len(axes)
    ]
    return replace(scores.unexplained(axes), added=tuple(added))


def _rank(scores: Scores) -> tuple[bool, bool, int, int]:
    """Lower for what tells more: nothing was moved around, both factors have examples and heads, little is alone."""
    shapes = {part.tensor.ndim for part in scores.product or ()}
    alone = [axis for axis in scores.axes if any(atom.side is not None for atom in leaves(axis))]
    shared = [atom for axis in scores.axes for atom in leaves(axis) if atom.is_head and atom.side is None]
    return scores.is_loose or not alone, len(shapes) != 1, -len(shared), len(alone)


def capped(scores: Scores, result: torch.Tensor) -> Scores:
    """`tanh`."""
    if scores.outer is None and not scores.added and not scores.sinks:
        return replace(scores, outer=1.0)
    return unexplained(scores, result)


def filled(scores: Scores, condition: object, value: object, result: torch.Tensor, *, where: bool) -> Scores:
    """Replaced by a value where a condition is, or is not, true."""
    axes = grown(scores.axes, result.shape)
    highest = float(value.max()) if isinstance(value, torch.Tensor) and value.numel() else value
    if not isinstance(highest, (int, float)) or not isinstance(condition, torch.Tensor) or scores.sinks:
        return scores.unexplained(axes)
    if not highest <= FORBIDS:
        return scores.unexplained(axes)
    entry = Forbidden(Part.of(condition, axes), where, highest <= lowest(result.dtype))
    return replace(scores, axes=axes, added=(*scores.added, entry))


def bounded(step: Step, scores: Scores, result: torch.Tensor) -> Scores:
    """`clamp` and its kin: bounds beyond what the type can hold do nothing."""
    name = name_of(step.func)
    bounds = [step.argument(1, "min"), step.argument(2, "max")]
    if name in {"maximum", "clamp_min", "max"}:
        bounds = [step.argument(1, "min" if name == "clamp_min" else "other"), None]
    elif name in {"minimum", "clamp_max", "min"}:
        bounds = [None, step.argument(1, "max" if name == "clamp_max" else "other")]
    low, high = (as_number(bound, waits=True) for bound in bounds)
    read = all((number is None) == (bound is None) for number, bound in zip((low, high), bounds, strict=True))
    if read and result.is_floating_point() and any(bound is not None for bound in bounds):
        limits = torch.finfo(result.dtype)
        if (low is None or low <= limits.min) and (high is None or high >= limits.max):
            return scores
    return bent(scores, result)


def unexplained(scores: Scores, result: torch.Tensor) -> Scores:
    """Changed value by value, in a way the formula does not say."""
    return scores.unexplained(grown(scores.axes, result.shape))


def bent(scores: Scores, result: torch.Tensor) -> Scores:
    """Changed value by value by a function that may make weights of them, as a sigmoid does."""
    return replace(unexplained(scores, result), is_bent=True)


def picked(scores: Scores, result: torch.Tensor) -> Scores:
    """The largest of them, or all in order: of which keys is told beside them."""
    return replace(moved(scores, result), is_picked=True)


def moved(scores: Scores, result: torch.Tensor) -> Scores:
    """Moved around or mixed: where they come from is still known, what was masked is not."""
    axes = alike(scores.axes, result.shape)
    loose = scores.is_loose or axes is None
    return replace(scores.unexplained(axes or fresh(result.shape)), added=(), is_loose=loose)


def mixed(scores: Scores, axes: Axes, summed: Axis) -> Scores | None:
    """Multiplied with parameters: still scores if that sums over heads or the like, not over queries or keys."""
    if scores.is_loose or any(atom.side is not None for atom in leaves(summed)):
        return None
    return replace(scores.unexplained(axes), added=())


def may_attend(scores: Scores, dim: int) -> bool:
    """Whether a softmax along this axis is one over all that one factor of the product has, for each of the other."""
    sides = {atom.side for atom in leaves(scores.axes[dim])}
    return scores.is_loose or not sides or (len(sides) == 1 and None not in sides)


def joined(tensors: Sequence[torch.Tensor], dim: int, position: int, scores: Scores, result: torch.Tensor) -> Scores:
    """`cat` with columns that stand for no key, such as the logit of a sink."""
    old = scores.axes[dim]
    start = sum(tensor.shape[dim] for tensor in tensors[:position])
    axes = list(scores.axes)
    axes[dim] = like(old, result.shape[dim])
    if len(old) != 1 or old[0].parts or old[0].source is not None:
        return moved(scores, result)
    # From here on what was the axis of the scores is a slice of a longer one.
    old[0].source = (axes[dim][0], start, start + length(old))
    others = [tensor for number, tensor in enumerate(tensors) if number != position]
    if scores.sinks or any(tensor.shape[dim] != 1 for tensor in others):
        return scores.unexplained(tuple(axes))
    beside = tuple(() if number == dim % len(axes) else axis for number, axis in enumerate(scores.axes))
    return replace(scores, axes=tuple(axes), sinks=tuple(Part.of(tensor, beside) for tensor in others))
