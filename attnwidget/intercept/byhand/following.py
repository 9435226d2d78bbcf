"""Which function does what to a tensor that is followed."""

from __future__ import annotations

import math
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn import functional

from attnwidget.intercept.byhand import exponentials, scoring, weighing
from attnwidget.intercept.byhand.axes import Axes, alike, leaves, length
from attnwidget.intercept.byhand.steps import JOINS, Step, as_number
from attnwidget.intercept.byhand.trails import Exponentials, Layout, Learned, Scores, SoftmaxCall, Total, Trail, Weights
from attnwidget.intercept.calls import watch_softmax
from attnwidget.intercept.sdpa import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rule: TypeAlias = Callable[[Step, torch.Tensor], Trail | None]


def weights_of(scores: Scores | None, axes: Axes, dim: int) -> Weights:
    """Weights that a softmax has just made; whose they are is asked now, in case they are lost on the way."""
    if scores is not None and not scoring.may_attend(scores, dim):
        scores = None
    call = SoftmaxCall(from_product=scores is not None, size=prod(length(axis) for axis in axes))
    if scores is not None and CURRENT.get() is None:
        watch_softmax(call)
    oddity = weighing.PICKED if scores is not None and scores.is_picked else None
    return Weights(axes, axes[dim], call, scores, oddity=oddity)


def mixed(trail: Scores | Weights, before: torch.Tensor, result: torch.Tensor, at: int) -> Scores | Weights | None:
    """Multiplied with parameters, which sums over one axis and leaves the others where they are."""
    axes = alike(trail.axes, result.shape)
    if axes is None:
        return None
    if isinstance(trail, Weights):
        return weighing.mixed(trail, before, axes, trail.axes[at])
    return scoring.mixed(trail, axes, trail.axes[at])


def reshaped(step: Step, trail: Trail, axes: Axes, number: int | None = None) -> Trail:
    """Seen in another shape; or one of the pieces it was cut into."""
    if isinstance(trail, Weights):
        return weighing.reshaped(step, trail, axes, number)
    return trail if isinstance(trail, Learned) else replace(trail, axes=axes)


def outside(tensor: object) -> object:
    """What a tensor stands for that a function transform, such as torch.func.vmap, has put in its place."""
    functorch = torch._C._functorch  # noqa: SLF001 - torch offers no other name for it
    while isinstance(tensor, torch.Tensor) and functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def drops_in_place(step: Step) -> bool:
    """Whether a step overwrites weights with what dropout leaves of them."""
    trail = step.known.get(0)
    return RULES.get(step.func) is _dropped and step.is_in_place and isinstance(trail, Weights) and trail.clean is None


def _multiplied(step: Step, result: torch.Tensor) -> Trail | None:
    position, trail = _followed(step)
    if isinstance(trail, Scores):
        return scoring.multiplied(step, trail, position, result)
    return _changed(step, result)


def _summed(step: Step, result: torch.Tensor) -> Trail | None:
    position, trail = _followed(step)
    if isinstance(trail, Scores):
        return exponentials.log_weights(step, result, weights_of) or scoring.summed(step, trail, position, result)
    return _changed(step, result)


def _changed(step: Step, result: torch.Tensor) -> Trail | None:
    """Any function value by value."""
    position, trail = _followed(step)
    if isinstance(trail, Scores):
        return scoring.bent(trail, result) if step.func in _BENDS else scoring.unexplained(trail, result)
    if isinstance(trail, Weights):
        return weighing.changed(step, trail, position, result)
    if isinstance(trail, (Exponentials, Total)):
        return exponentials.beside(step, trail, result, weights_of)
    return _same(step, result)


def _same(step: Step, result: torch.Tensor) -> Trail | None:
    """Casts and copies."""
    position, trail = _followed(step)
    if isinstance(trail, Weights):
        return weighing.same(step, trail, position, result)
    if isinstance(trail, Learned) or tuple(result.shape) != tuple(length(axis) for axis in trail.axes):
        return None
    return trail


def _capped(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    return scoring.capped(trail, result) if isinstance(trail, Scores) else _changed(step, result)


def _negative(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    return scoring.scaled(trail, -1) if isinstance(trail, Scores) else _changed(step, result)


def _filled(step: Step, result: torch.Tensor) -> Trail | None:
    """`masked_fill`."""
    trail = step.known.get(0)
    mask, value = step.argument(1, "mask"), step.argument(2, "value")
    if isinstance(trail, Scores):
        return scoring.filled(trail, mask, value, result, where=True)
    if isinstance(trail, Exponentials) and as_number(value, waits=True) == 0:  # as if the score had been minus infinity
        scores = scoring.filled(trail.scores, mask, -math.inf, result, where=True)
        return Exponentials(scores.axes, scores, object())
    return _changed(step, result)


def _where(step: Step, result: torch.Tensor) -> Trail | None:
    """`torch.where(condition, kept, other)` or `kept.where(condition, other)`."""
    position, trail = _followed(step)
    is_method = step.func is torch.Tensor.where and not _is_bool(step.args[0])
    kept_at, condition_at = (0, 1) if is_method else (1, 0)
    if position == condition_at:
        return None
    if not isinstance(trail, Scores):
        return _changed(step, result)
    value = step.argument(2 if position == kept_at else kept_at, "other")
    condition = step.argument(condition_at, "condition")
    return scoring.filled(trail, condition, value, result, where=position != kept_at)


def _bounded(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    return scoring.bounded(step, trail, result) if isinstance(trail, Scores) else _changed(step, result)


def _copied(step: Step, result: torch.Tensor) -> Trail | None:
    """`copy_`: the first argument takes the values of the second."""
    trail = step.known.get(1)
    if not isinstance(trail, (Layout, Scores, Weights)):
        return None
    return trail if tuple(result.shape) == tuple(length(axis) for axis in trail.axes) else None


def _moved(step: Step, result: torch.Tensor) -> Trail | None:
    """Functions that move values around: weights are lost by them."""
    _, trail = _followed(step)
    return scoring.moved(trail, result) if isinstance(trail, Scores) else None


def _scattered(step: Step, result: torch.Tensor) -> Trail | None:
    """`scatter`: weights of the keys that were picked are put where those keys are."""
    trail = step.known.get(3)
    if isinstance(trail, Weights) and set(step.known) == {3}:
        return weighing.scattered(trail, step.argument(1, "dim"), result)
    return _moved(step, result)


def _joined(step: Step, result: torch.Tensor) -> Trail | None:
    """`cat`."""
    scores = {position: trail for position, trail in step.known.items() if isinstance(trail, Scores)}
    if len(scores) == 1 == len(step.known):
        ((position, trail),) = scores.items()
        return scoring.joined(step.args, step.kwargs.get("dim", 0), position, trail, result)
    if _have_keys_of_their_own(list(scores.values())):
        found = _moved(step, result)
        return replace(found, has_own_keys=True) if isinstance(found, Scores) else found
    layouts = [trail for trail in step.known.values() if isinstance(trail, Layout)]
    if layouts and len(layouts) == len(step.known):  # as queries of a text and those of its class
        return _longer(layouts[0], result)
    return _moved(step, result)


def _have_keys_of_their_own(joined: Sequence[Scores]) -> bool:
    """Whether the queries of some scores are an axis that the keys of others have too.

    As of neighbours, or of what a memory found for each query, beside keys that all queries look at.
    """
    sides = [[{atom.side for atom in leaves(axis)} for axis in scores.axes] for scores in joined]
    return any(
        len(found) > 1 and {None} in found and any(None not in one and one for one in found)
        for found in zip(*sides, strict=False)
    )


def _padded(step: Step, result: torch.Tensor) -> Trail | None:
    """`pad`."""
    trail = step.known.get(0)
    return _longer(trail, result) if isinstance(trail, Layout) else _moved(step, result)


def _longer(trail: Layout, result: torch.Tensor) -> Layout | None:
    """What was added to along an axis: the others count what they did."""
    axes = alike(trail.axes, result.shape)
    return None if axes is None else replace(trail, axes=axes)


def _filled_in(step: Step, target: torch.Tensor) -> Trail | None:
    """`target[...] = scores`: a part of it comes from a product."""
    trail = step.known.get(2)
    return scoring.moved(trail, target) if isinstance(trail, Scores) else step.known.get(0)


def _mixed(step: Step, result: torch.Tensor) -> Trail | None:
    """A convolution or linear map."""
    trail = step.known.get(0)
    if not isinstance(trail, (Scores, Weights)):
        return None
    return mixed(trail, step.args[0], result, -1 if step.func is functional.linear else 1)


def _dropped(step: Step, result: torch.Tensor) -> Trail | None:
    """Dropout."""
    trail = step.known.get(0)
    training = "train" if step.func in {torch.dropout, torch.dropout_} else "training"
    if not (step.argument(2, training, default=True) and step.argument(1, "p", 0.5)):
        return _same(step, result)
    return weighing.dropped(step, trail) if isinstance(trail, Weights) else _changed(step, result)


def _exponential(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    if isinstance(trail, Scores):
        return exponentials.exponential(trail, 2.0 if step.func in _EXP2 else math.e)
    if isinstance(trail, Weights) and trail.is_log:
        return replace(trail, is_log=False)
    return _changed(step, result)


def _power(step: Step, result: torch.Tensor) -> Trail | None:
    """A power; of a number to scores it is an exponential."""
    at, base = (0, step.argument(1, "other")) if step.func is torch.Tensor.__rpow__ else (1, step.args[0])
    trail, number = step.known.get(at), as_number(base, waits=True)
    if isinstance(trail, Scores) and number is not None:
        return exponentials.exponential(trail, number)
    return _changed(step, result)


def _normalised(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    if isinstance(trail, Exponentials):
        return exponentials.normalised(step, trail, result, weights_of)
    return _changed(step, result)


def _total(step: Step, result: torch.Tensor) -> Trail | None:
    trail = step.known.get(0)
    wanted = Exponentials if step.func in _SUMS else Scores
    return exponentials.total(step, trail, result) if isinstance(trail, wanted) else None


def _followed(step: Step) -> tuple[int, Trail]:
    """The argument that is followed; weights before scores, and weights of a product before others."""

    def rank(item: tuple[int, Trail]) -> int:
        trail = item[1]
        if isinstance(trail, Weights):
            return 0 if trail.scores is not None else 1
        return 2 if isinstance(trail, Scores) else 3

    return min(step.known.items(), key=rank)


def _is_bool(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, torch.Tensor) and value.dtype == torch.bool


def _named(*names: str) -> list[Any]:
    """Functions of these names, and what writes in place, of torch, of tensors and of torch.nn.functional."""
    owners = (torch, torch.Tensor, functional, torch.special)
    found = [getattr(owner, name + end, None) for name in names for end in ("", "_") for owner in owners]
    return [func for func in found if callable(func)]


CASTS = set(_named("to", "float", "half", "double", "bfloat16", "type", "type_as"))
PICKING = set(_named("topk", "sort"))
"""What returns values and where they were."""
_SCATTERS = set(_named("scatter"))
_SUMS = set(_named("sum"))
_POWERS = {*_named("pow"), torch.Tensor.__pow__, torch.Tensor.__rpow__}
_BENDS = {
    *_POWERS,
    *_named("abs", "square", "sqrt", "log", "sigmoid", "relu", "relu6", "elu", "celu", "selu", "gelu", "silu", "mish"),
    *_named("erf", "leaky_relu", "softplus", "softsign", "logsigmoid", "threshold"),
    *_named("hardtanh", "hardsigmoid", "hardswish"),
}
_EXP2 = set(_named("exp2"))
RULES: dict[Any, Rule] = {
    **dict.fromkeys([*_BENDS, *_named("nan_to_num")], _changed),
    **dict.fromkeys([*_named("reciprocal"), torch.Tensor.__rdiv__, torch.Tensor.__rtruediv__], _changed),
    **dict.fromkeys(_POWERS, _power),
    **dict.fromkeys(_named("normalize"), _normalised),
    **dict.fromkeys(_named("mul", "multiply", "div", "divide", "true_divide"), _multiplied),
    **dict.fromkeys([*_named("add", "sub", "subtract", "rsub"), torch.Tensor.__rsub__], _summed),
    **dict.fromkeys(_named("tanh"), _capped),
    **dict.fromkeys(_named("neg", "negative"), _negative),
    **dict.fromkeys(_named("masked_fill"), _filled),
    **dict.fromkeys(_named("where"), _where),
    **dict.fromkeys(_named("clamp", "clip", "clamp_min", "clamp_max", "maximum", "minimum", "max", "min"), _bounded),
    **dict.fromkeys(CASTS, _same),
    **dict.fromkeys([*_named("exp"), *_EXP2], _exponential),
    **dict.fromkeys([*_SUMS, *_named("logsumexp")], _total),
    **dict.fromkeys(_named("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"), _dropped),
    **dict.fromkeys(_named("conv2d", "conv1d", "linear"), _mixed),
    **dict.fromkeys(_named("gather", "take_along_dim", "index_select", "roll", "flip", "repeat"), _moved),
    **dict.fromkeys(_named("pad"), _padded),
    **dict.fromkeys(_named("repeat_interleave", "masked_select", "index_add", "cumsum"), _moved),
    **dict.fromkeys(_SCATTERS, _scattered),
    **dict.fromkeys(_named("as_strided", "unfold", "to_sparse", "sparse_mask"), _moved),
    **dict.fromkeys(JOINS, _joined),
    torch.Tensor.copy_: _copied,
    torch.Tensor.__setitem__: _filled_in,
}
