"""Which functions leave which shadows: the table of rules, and the call that keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from attnwidget.intercept.plain import PLAIN
from attnwidget.intercept.windows import movements
from attnwidget.intercept.windows.movements import Call
from attnwidget.intercept.windows.shadows import Base, Constant, Moved, Shadow, base_of, shadows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def watched(run: Callable[..., Any], func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Make a call, and write down what it leaves.

    Args:
        run: makes it.
        func: the function called.
        args: its arguments.
        kwargs: likewise.

    Returns:
        What it returns.
    """
    known = shadows()
    call = Call.of(func, args, kwargs, known)
    result = run()
    try:
        _note(call, result)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError):
        # Arguments in a form that is not known here: the run goes on, and what it made has no past.
        for tensor in [*call.args[:1], *(result if isinstance(result, (tuple, list)) else [result])]:
            if isinstance(tensor, torch.Tensor) and tensor is not (args[0] if args else None):
                known.drop(tensor)
    return result


def _note(call: Call, result: Any) -> None:  # noqa: ANN401
    known = shadows()
    rule = RULES[call.func]
    if call.func is torch.Tensor.__setitem__:
        movements.assigned(call, known)
        return
    if rule is _overwrites:
        known.overwritten(call.args[0])
        return
    found = movements.together(call, result, known) if rule is _together else rule(call, result)
    if found is None and rule in (_together, _by_number) and _is_made_anew(call, result):
        found = Base(tuple(result.shape))
    if isinstance(result, torch.Tensor):
        if call.args and result is call.args[0] and result.is_inference():
            known.overwritten(result, constants=True)
        if type(result) not in PLAIN or not isinstance(found, (Base, Constant, Moved)):
            known.drop(result)
        else:
            known.put(result, found)
    elif isinstance(found, list):
        for piece, shadow in zip(result, found, strict=True):
            known.put(piece, shadow)


def _by_number(call: Call, result: torch.Tensor) -> Shadow | None:
    """A function number by number, of one tensor or of several."""
    found: list[Shadow] = []
    unknown = False
    for argument, shadow in _operands(call, result.shape):
        if shadow is None:
            unknown |= type(argument) is not torch.nn.Parameter
        elif not isinstance(shadow, Constant) and not any(shadow is other for other in found):
            found.append(shadow)
    if not found:
        return None
    if unknown and call.func in _SUMS:  # with something else that counts as it does: a sequence of its own
        channels = {shadow.channel for shadow in found if isinstance(shadow, Base)}
        return Base(tuple(result.shape), channel=channels.pop()) if len(channels) == 1 else Base(tuple(result.shape))
    if len(found) == 1:
        return found[0]
    bases = {base.number: base for shadow in found if (base := base_of(shadow)) is not None}
    if len(bases) == 1:
        return movements.agreed(result.shape, found)
    # What flows through all layers, which were there before the branch that is added to it.
    return next(shadow for shadow in found if base_of(shadow) is bases[min(bases)])


def _is_made_anew(call: Call, result: torch.Tensor) -> bool:
    """Whether several tensors that are no parameters were put together: a sequence, if anything."""
    if not result.is_floating_point() or (RULES[call.func] is not _together and call.func not in _SUMS):
        return False
    parts = call.args[0] if RULES[call.func] is _together else [tensor for tensor, _ in _operands(call, result.shape)]
    return sum(type(part) is not torch.nn.Parameter for part in parts) > 1


def _operands(call: Call, shape: Sequence[int]) -> list[tuple[torch.Tensor, Shadow | None]]:
    """Tensors of full shape among the arguments, apart from masks."""
    pairs = [*zip(call.args, call.shadows, strict=True)]
    pairs += [(value, shadows().get(value)) for name, value in call.kwargs.items() if name == "other"]
    return [
        (argument, shadow)
        for argument, shadow in pairs
        if isinstance(argument, torch.Tensor) and argument.shape == shape and argument.dtype != torch.bool
    ]


def _rows(call: Call, result: torch.Tensor) -> Shadow | None:
    """A linear map of the last axis."""
    return movements.row_by_row(result.shape, call.shadows[0])


def _rows_of_second(call: Call, result: torch.Tensor) -> Shadow | None:
    """`addmm`."""
    return movements.row_by_row(result.shape, call.shadows[1])


def _product(call: Call, result: torch.Tensor) -> Shadow | None:
    """A product with a matrix, which has no examples: a linear map."""
    other = call.argument(1, "other", call.kwargs.get("mat2"))
    matrix = isinstance(other, torch.Tensor) and other.ndim == len("io") and call.args[0].ndim >= len("io")
    return movements.row_by_row(result.shape, call.shadows[0]) if matrix else None


def _norm(call: Call, result: torch.Tensor) -> Shadow | None:
    """`layer_norm` and `rms_norm` of the last axis."""
    if len(call.argument(1, "normalized_shape")) != 1:
        return None
    return call.shadows[0] or Base(tuple(result.shape))


def _convolution(call: Call, result: torch.Tensor) -> Shadow | None:
    """Of one place alone it is a linear map; of several it makes a sequence of its own."""
    weight = call.argument(1, "weight")
    same = tuple(result.shape[2:]) == tuple(call.args[0].shape[2:]) and result.ndim == weight.ndim
    if same and all(size == 1 for size in weight.shape[2:]):
        return movements.row_by_row(result.shape, call.shadows[0], 1)
    return Base(tuple(result.shape), channel=1)


def _sequence(call: Call, result: torch.Tensor) -> Shadow:  # noqa: ARG001 - one signature for all rules
    """A sequence of its own."""
    return Base(tuple(result.shape))


def _overwrites(call: Call, result: Any) -> None:  # noqa: ANN401
    """Other data is written to a tensor."""


def _together(call: Call, result: Any) -> None:  # noqa: ANN401
    """`cat` and `stack`, whose tensors come in a list."""


def _named(*names: str) -> list[Any]:
    """Functions of these names, of torch, of tensors and of torch.nn.functional."""
    owners = (torch, torch.Tensor, functional, torch.special)
    found = [getattr(owner, name, None) for name in names for owner in owners]
    return [func for func in found if callable(func)]


def _and_in_place(*names: str) -> list[Any]:
    return _named(*names, *(f"{name}_" for name in names), *(f"__i{name}__" for name in names))


_SUMS = set(_and_in_place("add", "sub", "rsub", "subtract", "where", "lerp", "maximum", "minimum"))
_SUMS |= set(_named("__radd__", "__rsub__", "max", "min"))
_BY_NUMBER = _and_in_place(
    *("mul", "multiply", "div", "divide", "true_divide", "truediv", "pow", "square", "sqrt", "rsqrt", "reciprocal"),
    *("exp", "log", "tanh", "sigmoid", "relu", "relu6", "gelu", "silu", "mish", "elu", "celu", "selu", "softplus"),
    *("leaky_relu", "hardtanh", "hardswish", "hardsigmoid", "erf", "sin", "cos", "abs", "neg", "negative", "clamp"),
    *("clip", "clamp_min", "clamp_max", "nan_to_num", "masked_fill", "addcmul", "addcdiv", "dropout", "dropout1d"),
    *("dropout2d", "dropout3d", "feature_dropout", "alpha_dropout", "batch_norm", "group_norm"),
)
_SAME = _named(
    *("to", "float", "half", "double", "bfloat16", "type", "type_as", "contiguous", "clone", "detach", "alias"),
    *("cpu", "cuda", "__rmul__", "__rtruediv__", "__rdiv__", "__rpow__", "__pow__", "requires_grad_"),
)
_SHAPED = _named("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel")
_AGAIN = _named(
    *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "narrow", "select"),
    *("flip", "fliplr", "flipud", "rot90", "repeat", "tile", "repeat_interleave", "index_select", "gather"),
    *("take_along_dim", "unfold_copy", "diagonal", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
)
_SPLIT = _named("split", "chunk", "tensor_split", "unbind", "split_with_sizes", "hsplit", "vsplit", "dsplit")
_NEW = _named("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like")
_NEW += _named("new_zeros", "new_ones", "new_full", "new_empty")
_WRITES = [
    getattr(torch.Tensor, name)
    for name in dir(torch.Tensor)
    if name.endswith("_") and not name.startswith("_") and callable(getattr(torch.Tensor, name))
]
_GETTERS = {name: getattr(torch.Tensor, name).__get__ for name in ("T", "mT", "H", "mH")}

RULES: dict[Any, movements.Rule] = {
    **dict.fromkeys(_WRITES, _overwrites),
    **dict.fromkeys([*_BY_NUMBER, *_SAME, *_SUMS], _by_number),
    **dict.fromkeys(_SHAPED, movements.shaped),
    **dict.fromkeys(_AGAIN, movements.again),
    **dict.fromkeys(_GETTERS.values(), movements.again),
    **dict.fromkeys(_named("expand", "expand_as", "broadcast_to"), movements.spread),
    **dict.fromkeys(_named("roll"), movements.rolled),
    **dict.fromkeys(_named("pad"), movements.padded),
    **dict.fromkeys(_named("cat", "concat", "concatenate", "stack"), _together),
    **dict.fromkeys(_SPLIT, movements.split),
    **dict.fromkeys(_named("as_strided"), movements.strided),
    **dict.fromkeys(_NEW, movements.filled),
    torch.Tensor.unfold: movements.again,
    functional.unfold: movements.unfolded,
    torch.Tensor.__getitem__: movements.indexed,
    torch.Tensor.__setitem__: _overwrites,
    torch.view_as_complex: movements.as_complex,
    torch.view_as_real: movements.as_real,
    **dict.fromkeys(_named("linear"), _rows),
    **dict.fromkeys(_named("addmm"), _rows_of_second),
    **dict.fromkeys([*_named("matmul", "mm", "__matmul__"), torch.linalg.matmul], _product),
    **dict.fromkeys(_named("layer_norm", "rms_norm"), _norm),
    **dict.fromkeys(_named("normalize"), _by_number),
    **dict.fromkeys(_named("embedding"), _sequence),
    **dict.fromkeys(_named("conv1d", "conv2d", "conv3d"), _convolution),
}
