"""A softmax written out: exponentials of scores, their sum along an axis, and one divided by the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from attnwidget.intercept.byhand.axes import Axes, leaves, length
from attnwidget.intercept.byhand.steps import name_of
from attnwidget.intercept.byhand.trails import Exponentials, Scores, Total

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from attnwidget.intercept.byhand.steps import Step
    from attnwidget.intercept.byhand.trails import Trail, Weights

    Made: TypeAlias = Callable[[Scores, Axes, int], Weights]


def exponential(scores: Scores) -> Exponentials:
    """`exp` of scores."""
    return Exponentials(scores.axes, scores, object())


def total(step: Step, trail: Exponentials | Scores, result: torch.Tensor) -> Total | None:
    """`sum` of exponentials along an axis, or `logsumexp` of scores."""
    dim, keep = step.argument(1, "dim"), bool(step.argument(2, "keepdim", default=False))
    if isinstance(dim, (tuple, list)) and len(dim) == 1:
        dim = dim[0]
    if not isinstance(dim, int) or isinstance(dim, bool):
        return None
    dim %= len(trail.axes)
    axes = tuple(() if number == dim else axis for number, axis in enumerate(trail.axes) if keep or number != dim)
    if tuple(result.shape) != tuple(length(axis) for axis in axes):
        return None
    if isinstance(trail, Scores):
        return Total(axes, trail.axes[dim], trail, step.args[0], is_log=True)
    return Total(axes, trail.axes[dim], trail.scores, trail.token)


def beside(step: Step, trail: Exponentials | Total, result: torch.Tensor, make: Made) -> Trail | None:
    """Arithmetic with exponentials or their sum: a division makes weights, what is added to a sum leaves less of 1.

    Args:
        step: the call.
        trail: of one of its arguments.
        result: of the call.
        make: makes weights from scores, axes and the position of the keys among them.
    """
    first, second = step.known.get(0), step.known.get(1)
    name = name_of(step.func)
    if name in {"div", "divide", "true_divide"} and isinstance(first, Exponentials) and isinstance(second, Total):
        return _weights(first.scores, first.token, second, first.axes, result, make)
    if name in {"add", "radd", "clamp", "clamp_min"} and isinstance(trail, Total) and not trail.is_log:
        return replace(trail, has_more=True) if tuple(result.shape) == _shape(trail.axes) else None
    return None


def log_weights(step: Step, result: torch.Tensor, make: Made) -> Weights | None:
    """Scores less the logarithm of the sum of their exponentials."""
    first, second = step.known.get(0), step.known.get(1)
    if not (isinstance(first, Scores) and isinstance(second, Total) and second.is_log):
        return None
    found = _weights(first, step.args[0], second, first.axes, result, make)
    return None if found is None else replace(found, is_log=True)


def _weights(
    scores: Scores, token: object, sum_: Total, axes: Axes, result: torch.Tensor, make: Made
) -> Weights | None:
    if token is not sum_.token or tuple(result.shape) != _shape(axes):
        return None
    keys = leaves(sum_.keys)
    dim = next((number for number, axis in enumerate(axes) if leaves(axis) == keys), None)
    return None if dim is None else make(scores.unexplained() if sum_.has_more else scores, axes, dim)


def _shape(axes: Axes) -> tuple[int, ...]:
    return tuple(length(axis) for axis in axes)
