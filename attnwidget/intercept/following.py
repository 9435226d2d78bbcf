"""What each function does to what is known of a tensor: the formula of scores grows, weights stay followed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn import functional

from attnwidget.intercept.axes import Axes, Part, fresh, grown, leaves, length
from attnwidget.intercept.steps import FORBIDS, Step, as_number
from attnwidget.intercept.trails import Added, Forbidden, Layout, Learned, Scores, Trail, Weights

if TYPE_CHECKING:
    from collections.abc import Callable

    Rule: TypeAlias = Callable[[Step, torch.Tensor], Trail | None]

_SIGNS = {"sub": (1, -1), "subtract": (1, -1), "rsub": (-1, 1)}
SEVERAL = "its weights are a combination of several softmaxes"


def scaled(scores: Scores, factor: float) -> Scores:
    """Scores times a number."""
    if factor < 0 and any(isinstance(part, Forbidden) for part in scores.added):
        return replace(scores.unexplained(), added=())
    added = tuple(
        replace(part, factor=part.factor * factor) if isinstance(part, Added) else part for part in scores.added
    )
    if scores.outer is None:
        return replace(scores, inner=scores.inner * factor, added=added)
    return replace(scores, outer=scores.outer * factor, added=added)


def _product(step: Step, result: torch.Tensor) -> Trail | None:
    """A multiplication or division."""
    position, trail = _followed(step)
    other = step.argument(1 - position, "other")
    divides = getattr(step.func, "__name__", "").startswith(("div", "true_divide"))
    if not isinstance(trail, Scores):
        return _unchanged(step, result)
    if (divides and position == 1) or step.kwargs.get("rounding_mode"):
        return _unexplained(step, result)
    number = as_number(other)
    if number is not None:
        return scaled(trail, 1 / number if divides and number else number)
    axes = grown(trail.axes, result.shape)
    plain = not any(isinstance(part, Added) for part in trail.added) and trail.outer is None
    if not isinstance(other, torch.Tensor) or len(step.known) > 1 or not plain:
        return trail.unexplained(axes)
    gain = other.detach().reciprocal() if divides else other
    return replace(trail, axes=axes, gains=(*trail.gains, Part.of(gain, axes)))


def _sum(step: Step, result: torch.Tensor) -> Trail | None:
    """An addition or subtraction."""
    position, trail = _followed(step)
    other, factor = step.argument(1 - position, "other"), float(step.kwargs.get("alpha", 1))
    name = getattr(step.func, "__name__", "")
    if not isinstance(trail, Scores):
        return _unchanged(step, result)
    signs = _SIGNS.get(name.strip("_"), (1, 1))
    if factor != 1 and (position == 1 or signs[0] < 0):
        return _unexplained(step, result)
    scores = scaled(trail, signs[position])
    scores = replace(scores, axes=grown(trail.axes, result.shape))
    second = step.known.get(1 - position)
    if isinstance(second, Scores):
        # Two products: no factors say it, and what was added to either still was.
        theirs = [
            replace(part, part=replace(part.part, axes=scores.axes))
            for part in second.added
            if part.part.axes is second.axes and len(second.axes) == len(scores.axes)
        ]
        return replace(scores.unexplained(), added=(*scores.added, *theirs))
    number = as_number(other)
    if number is not None:
        if not number:
            return scores
        other = torch.tensor(number)
    if not isinstance(other, torch.Tensor):
        return scores.unexplained()
    added = Added(Part.of(other, scores.axes), factor * signs[1 - position])
    return replace(scores, added=(*scores.added, added))


def _tanh(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    if isinstance(trail, Scores) and trail.outer is None and not trail.added:
        return replace(trail, outer=1.0)
    return _unexplained(step, result)


def _negative(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    return scaled(trail, -1) if isinstance(trail, Scores) else _weights(step, result)


def _filled(step: Step, result: torch.Tensor) -> Trail | None:
    """`masked_fill`."""
    trail = step.known.get(0)
    if isinstance(trail, Scores):
        return _replaced(trail, step.argument(1, "mask"), step.argument(2, "value"), result, where=True)
    return _weights(step, result)


def _where(step: Step, result: torch.Tensor) -> Trail | None:
    """`torch.where(condition, kept, other)` or `kept.where(condition, other)`."""
    position, trail = _followed(step)
    method = step.func is torch.Tensor.where and not _is_bool(step.args[0])
    kept_at, condition_at = (0, 1) if method else (1, 0)
    if isinstance(trail, Weights):
        return _weights(step, result)
    if not isinstance(trail, Scores) or position == condition_at:
        return None
    other_at = 2 if position == kept_at else kept_at
    other = step.argument(other_at, "other")
    condition = step.argument(condition_at, "condition")
    return _replaced(trail, condition, other, result, where=position != kept_at)


def _replaced(trail: Scores, condition: object, value: object, result: torch.Tensor, *, where: bool) -> Scores:
    axes = grown(trail.axes, result.shape)
    low = value is not None and isinstance(condition, torch.Tensor)
    if isinstance(value, torch.Tensor):
        low = low and bool((value <= FORBIDS).all())
    elif isinstance(value, (int, float)):
        low = low and value <= FORBIDS
    if not low or not isinstance(condition, torch.Tensor):
        return trail.unexplained(axes)
    return replace(trail, axes=axes, added=(*trail.added, Forbidden(Part.of(condition, axes), where)))


def _bounded(step: Step, result: torch.Tensor) -> Trail | None:
    """`clamp` and its kin: bounds beyond what the type can hold do nothing."""
    trail = step.known.get(0)
    if not isinstance(trail, Scores):
        return _weights(step, result)
    name = getattr(step.func, "__name__", "").rstrip("_")
    bounds = [step.argument(1, "min"), step.argument(2, "max")]
    if name in {"maximum", "clamp_min", "max"}:
        bounds = [step.argument(1, "other" if name != "clamp_min" else "min"), None]
    elif name in {"minimum", "clamp_max", "min"}:
        bounds = [None, step.argument(1, "other" if name != "clamp_max" else "max")]
    numbers = [as_number(bound) for bound in bounds]
    limits = torch.finfo(result.dtype) if result.is_floating_point() else None
    known = all((number is None) == (bound is None) for number, bound in zip(numbers, bounds, strict=True))
    if limits and known and any(bound is not None for bound in bounds):
        low, high = numbers
        if (low is None or low <= limits.min) and (high is None or high >= limits.max):
            return trail
    return _unexplained(step, result)


def _unchanged(step: Step, result: torch.Tensor) -> Trail | None:
    """Casts and copies."""
    _, trail = _followed(step)
    if isinstance(trail, Weights):
        return _weights(step, result)
    if isinstance(trail, Learned):
        return None
    return trail if tuple(result.shape) == tuple(length(axis) for axis in trail.axes) else None


def _copied(step: Step, result: torch.Tensor) -> Trail | None:
    """`copy_`: the first argument takes the values of the second."""
    trail = step.known.get(1)
    same = isinstance(trail, (Layout, Scores, Weights)) and tuple(result.shape) == tuple(
        length(axis) for axis in trail.axes
    )
    return trail if same else None


def _unexplained(step: Step, result: torch.Tensor) -> Trail | None:
    """Any other function of scores, value by value."""
    _, trail = _followed(step)
    if isinstance(trail, Weights):
        return _weights(step, result)
    return trail.unexplained(grown(trail.axes, result.shape)) if isinstance(trail, Scores) else None


def _moved(step: Step, result: torch.Tensor) -> Trail | None:
    """Functions that move scores around or mix them."""
    _, trail = _followed(step)
    return moved(trail, result) if isinstance(trail, Scores) and isinstance(result, torch.Tensor) else None


def moved(scores: Scores, result: torch.Tensor) -> Scores:
    """Where they come from is still known, what was masked is not."""
    return replace(scores.unexplained(_alike(scores.axes, result)), added=())


def _filled_in(step: Step, target: torch.Tensor) -> Trail | None:
    """`target[...] = scores`: a part of it comes from a product."""
    trail = step.known.get(2)
    return moved(trail, target) if isinstance(trail, Scores) else step.known.get(0)


def _mixed(step: Step, result: torch.Tensor) -> Trail | None:
    """A convolution or linear map."""
    trail = step.known.get(0)
    return mixed(trail, step.args[0], result) if isinstance(trail, (Scores, Weights)) else None


def mixed(trail: Scores | Weights, source: torch.Tensor, result: torch.Tensor) -> Scores | Weights:
    """Multiplied with parameters, as talking heads mix heads (Shazeer et al. 2020)."""
    axes = _alike(trail.axes, result)
    if isinstance(trail, Weights):
        return replace(trail, axes=axes, clean=trail.clean or Part.of(source, trail.axes), is_mixed=True)
    return moved(trail, result)


def reshaped(step: Step, trail: Layout | Scores | Weights, axes: Axes, number: int | None = None) -> Trail:
    """Seen in another shape; or one of the pieces it was cut into."""
    if not isinstance(trail, Weights):
        return replace(trail, axes=axes)
    cut = [axis for axis in axes if any(atom.source and atom.source[0] in leaves(trail.keys) for atom in axis)]
    clean = trail.clean
    if clean is not None and not trail.is_mixed:
        again = step.again(0, clean.tensor)
        clean = Part.of(again if number is None else again[number], axes)
    return replace(trail, axes=axes, keys=cut[0] if cut else trail.keys, clean=clean)


def _alike(axes: Axes, result: torch.Tensor) -> Axes:
    """The same axes where they are as long as they were."""
    if len(axes) != result.ndim:
        return fresh(result.shape)
    new = fresh(result.shape)
    return tuple(
        old if length(old) == size else other for old, other, size in zip(axes, new, result.shape, strict=True)
    )


def _dropped(step: Step, result: torch.Tensor) -> Trail | None:
    """Dropout: weights are those before it."""
    trail = step.known.get(0)
    func_is_torch = step.func in {torch.dropout, torch.dropout_}
    p, training = step.argument(1, "p", 0.5), step.argument(2, "train" if func_is_torch else "training", default=True)
    if not (training and p):
        return _unchanged(step, result)
    if isinstance(trail, Weights):
        clean = trail.clean
        if clean is None:
            clean = Part.of(step.args[0] if step.saved is None else step.saved, trail.axes)
        return replace(trail, clean=clean)
    return _unexplained(step, result)


def drops_in_place(step: Step) -> bool:
    """Whether a step overwrites weights with what dropout leaves of them."""
    trail = step.known.get(0)
    return RULES.get(step.func) is _dropped and step.is_in_place and isinstance(trail, Weights) and trail.clean is None


def _weights(step: Step, result: torch.Tensor) -> Trail | None:
    """Weights changed value by value: what they would be without dropout changes likewise."""
    position, trail = _followed(step)
    if not isinstance(trail, Weights):
        return None
    axes = grown(trail.axes, result.shape)
    trail = replace(trail, axes=axes)
    if sum(isinstance(other, Weights) for other in step.known.values()) > 1:
        return replace(trail, oddity=SEVERAL)
    if trail.clean is None or trail.is_mixed:
        return trail
    again = step.again(position, trail.clean.tensor)
    return replace(trail, clean=Part.of(again, grown(trail.clean.axes, again.shape)))


def _followed(step: Step) -> tuple[int, Trail]:
    """The argument that is followed; weights before scores."""
    for kind in (Weights, Scores):
        for position, trail in step.known.items():
            if isinstance(trail, kind):
                return position, trail
    return next(iter(step.known.items()))


def _is_bool(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, torch.Tensor) and value.dtype == torch.bool


def _named(*names: str) -> list[Any]:
    """Functions of these names, and what writes in place, of torch, of tensors and of torch.nn.functional."""
    owners = (torch, torch.Tensor, functional, torch.special)
    found = [getattr(owner, name + end, None) for name in names for end in ("", "_") for owner in owners]
    return [func for func in found if callable(func)]


CASTS = set(_named("to", "float", "half", "double", "bfloat16", "type", "type_as"))
RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        _named("abs", "square", "pow", "sqrt", "exp", "log", "sigmoid", "relu", "gelu", "silu", "softplus", "elu"),
        _unexplained,
    ),
    **dict.fromkeys(_named("nan_to_num", "logsigmoid", "leaky_relu", "hardtanh", "layer_norm"), _unexplained),
    **dict.fromkeys(_named("mul", "multiply", "div", "divide", "true_divide"), _product),
    **dict.fromkeys([*_named("add", "sub", "subtract", "rsub"), torch.Tensor.__rsub__], _sum),
    **dict.fromkeys(_named("tanh"), _tanh),
    **dict.fromkeys(_named("neg", "negative"), _negative),
    **dict.fromkeys(_named("masked_fill"), _filled),
    **dict.fromkeys(_named("where"), _where),
    **dict.fromkeys(_named("clamp", "clip", "clamp_min", "clamp_max", "maximum", "minimum", "max", "min"), _bounded),
    **dict.fromkeys(CASTS, _unchanged),
    torch.Tensor.copy_: _copied,
    torch.Tensor.__setitem__: _filled_in,
    **dict.fromkeys(_named("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"), _dropped),
    **dict.fromkeys(_named("conv2d", "conv1d", "linear"), _mixed),
    **dict.fromkeys(
        _named("gather", "take_along_dim", "index_select", "roll", "flip", "pad", "repeat", "as_strided"), _moved
    ),
    **dict.fromkeys(
        _named("repeat_interleave", "masked_select", "scatter", "index_add", "cumsum", "as_strided"), _moved
    ),
}
