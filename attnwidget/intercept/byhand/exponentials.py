"""A softmax written out: exponentials of scores, their sum along an axis, and one divided by the other."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from attnwidget.intercept.byhand.axes import Axes, grown, leaves, length
from attnwidget.intercept.byhand.scoring import scaled
from attnwidget.intercept.byhand.steps import name_of
from attnwidget.intercept.byhand.trails import Exponentials, Scores, Total

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from attnwidget.intercept.byhand.steps import Step
    from attnwidget.intercept.byhand.trails import Trail, Weights

    Made: TypeAlias = Callable[[Scores, Axes, int], Weights]

_DIVISIONS = {"div", "divide", "true_divide"}
_PRODUCTS = {"mul", "multiply"}


def exponential(scores: Scores, base: float = math.e) -> Exponentials | None:
    """`exp` of scores, or a power of another base; None where that is no positive number."""
    if not base > 0:
        return None
    scores = scores if base == math.e else scaled(scores, math.log(base))
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

    Exponentials that are multiplied with a mask, or are otherwise changed value by value, are no exponentials of those
    scores any more. Divided by their own sum they are weights all the same.

    Args:
        step: the call.
        trail: of one of its arguments.
        result: of the call.
        make: makes weights from scores, axes and the position of the keys among them.
    """
    first, second = step.known.get(0), step.known.get(1)
    name = name_of(step.func)
    if name in _PRODUCTS and isinstance(first, Total) and isinstance(second, Exponentials):
        first, second = second, first
    if isinstance(first, Exponentials) and isinstance(second, Total) and name in _DIVISIONS | _PRODUCTS:
        made = None
        if second.is_inverse == (name in _PRODUCTS):
            made = _weights(first.scores, first.token, second, first.axes, result, make)
        return made or _changed(first, result)
    if isinstance(trail, Exponentials):
        return _changed(trail, result)
    if trail.is_log or trail.is_inverse or tuple(result.shape) != _shape(trail.axes):
        return None
    if name == "reciprocal" or (name in {"rdiv", "rtruediv"} and step.argument(1, "other") == 1):
        return replace(trail, is_inverse=True)
    return replace(trail, has_more=True) if name in {"add", "radd", "clamp", "clamp_min"} else None


def normalised(step: Step, trail: Exponentials, result: torch.Tensor, make: Made) -> Weights | None:
    """`torch.nn.functional.normalize`, which divides by a sum of absolute values; by no less than a small number."""
    dim = step.argument(2, "dim", default=1)
    if step.argument(1, "p", default=2.0) != 1 or not isinstance(dim, int) or tuple(result.shape) != _shape(trail.axes):
        return None
    return make(trail.scores.unexplained(), trail.axes, dim)


def _changed(trail: Exponentials, result: torch.Tensor) -> Exponentials:
    axes = grown(trail.axes, result.shape)
    return Exponentials(axes, trail.scores.unexplained(axes), object())


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
