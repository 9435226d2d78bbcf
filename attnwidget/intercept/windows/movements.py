"""What functions that move data do to shadows: each rule names a movement that can be made again with token numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn import functional

from attnwidget.intercept.byhand.axes import version_of
from attnwidget.intercept.windows.shadows import (
    PADDING,
    UNKNOWN,
    Base,
    Constant,
    LostError,
    Moved,
    Shadow,
    Shadows,
    base_of,
    shadows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Found: TypeAlias = Shadow | Sequence[Shadow] | None
    Rule: TypeAlias = Callable[["Call", Any], Found]

_LONG = 4
_PLACES = {torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8, torch.bool}


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One call of a function, from before it was made.

    Attributes:
        func: the function.
        args: its arguments; `input` comes first also where it was given by name.
        kwargs: likewise.
        shadows: of the positional arguments.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shadows: tuple[Shadow | None, ...]

    @classmethod
    def of(cls, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], known: Shadows) -> Call:
        """Before it is made."""
        for name in ("input", "tensors"):
            if name in kwargs:
                args, kwargs = (kwargs[name], *args), {key: kwargs[key] for key in kwargs if key != name}
        return cls(func, args, kwargs, tuple(known.get(argument) for argument in args))

    def argument(self, position: int, name: str, default: Any = None) -> Any:  # noqa: ANN401 - any argument
        """By position or name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


def moved(
    shape: Sequence[int],
    move: Callable[..., Any],
    args: tuple[Any, ...],
    *parents: Shadow | None,
    pick: int | None = None,
) -> Shadow | None:
    """A movement of shadows of one base, or of constants; None where one of them is not known."""
    known = [parent for parent in parents if parent is not None]
    bases = {id(base): base for parent in known if (base := base_of(parent)) is not None}
    if len(known) < len(parents) or len(bases) > 1:
        return None
    if not bases:
        return Constant(tuple(shape))
    (base,) = bases.values()
    versions = tuple((tensor, version_of(tensor)) for tensor in _tensors(args))
    if any(tensor.dtype not in _PLACES for tensor, _ in versions):
        return None
    depth = 1 + max((parent.depth for parent in known if isinstance(parent, Moved)), default=0)
    found = Moved(tuple(shape), base, move, args, tuple(known), pick, versions, depth)
    # A sequence that layer after layer is cut up and put together again would get an ever longer past.
    return base if depth >= _LONG and found.shape == base.shape and shadows().is_back(found) else found


def _tensors(args: Any) -> list[torch.Tensor]:  # noqa: ANN401
    if isinstance(args, torch.Tensor):
        return [args]
    if isinstance(args, (tuple, list)):
        return [tensor for part in args for tensor in _tensors(part)]
    return []


def _reshape(codes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    if codes.ndim and shape and shape[-1] == codes.shape[-1] and codes.numel():
        return _thin(codes, lambda part: part.reshape(*shape[:-1], part.shape[-1]))
    return codes.reshape(shape)


def _thin(codes: torch.Tensor, move: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A movement that leaves the last axis alone, made once where all along that axis is the same."""
    if codes.stride(-1) or codes.shape[-1] <= 1:
        return move(codes)
    part = move(codes[..., :1])
    return part.expand(*part.shape[:-1], codes.shape[-1])


def _expand(codes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return codes.expand(shape)


def _roll(codes: torch.Tensor, shifts: Any, dims: Any) -> torch.Tensor:  # noqa: ANN401
    axes = [dims] if isinstance(dims, int) else dims
    if axes and all(axis % codes.ndim < codes.ndim - 1 for axis in axes):
        return _thin(codes, lambda part: part.roll(shifts, dims))
    return codes.roll(shifts, dims)


def _pad(codes: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
    if tuple(widths[:2]) == (0, 0):
        return _thin(codes, lambda part: functional.pad(part, widths, value=PADDING))
    return functional.pad(codes, widths, value=PADDING)


def _index(codes: torch.Tensor, index: Any) -> torch.Tensor:  # noqa: ANN401
    return codes[_here(index)]


def _here(index: Any) -> Any:  # noqa: ANN401
    """An index with its tensors where numbers of tokens are."""
    if isinstance(index, torch.Tensor):
        return index.cpu()
    return tuple(_here(part) for part in index) if isinstance(index, tuple) else index


def _assign(codes: torch.Tensor, value: torch.Tensor, index: Any) -> torch.Tensor:  # noqa: ANN401
    codes = codes.clone()
    codes[_here(index)] = value
    return codes


def _joined(*codes: Any) -> torch.Tensor:  # noqa: ANN401
    *parts, dim = codes
    return torch.cat(parts, dim)


def _stacked(*codes: Any) -> torch.Tensor:  # noqa: ANN401
    *parts, dim = codes
    return torch.stack(parts, dim)


def _agreeing(*codes: torch.Tensor) -> torch.Tensor:
    if any(not torch.equal(codes[0], other) for other in codes[1:]):
        raise LostError("several tokens make one")
    return codes[0]


def _strided(codes: torch.Tensor, strides: tuple[int, ...], *args: Any) -> torch.Tensor:  # noqa: ANN401
    size, stride, offset = args
    laid = sum((length - 1) * step for length, step in zip(codes.shape, strides, strict=True)) + 1
    flat = torch.full((laid,), UNKNOWN, device="cpu")
    flat.as_strided(codes.shape, strides).copy_(codes)
    reach = sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + offset + 1
    if offset < 0 or reach > laid:
        raise LostError("a view reaches beyond its tensor")
    return flat.as_strided(size, stride, offset)


def _as_complex(codes: torch.Tensor) -> torch.Tensor:
    return _agreeing(codes[..., 0], codes[..., 1])


def _as_real(codes: torch.Tensor) -> torch.Tensor:
    return codes[..., None].expand(*codes.shape, 2)


def _again(*codes: Any) -> Any:  # noqa: ANN401
    """Any function of one tensor that moves data and nothing else."""
    part, func, args, options = codes
    return func(part, *(_here(arg) for arg in args), **{name: _here(value) for name, value in options})


def shaped(call: Call, result: torch.Tensor) -> Found:
    """`view`, `reshape`, `flatten`, `squeeze` ...: the same numbers in the same order."""
    if not isinstance(result, torch.Tensor) or result.dtype != call.args[0].dtype:
        return None
    return moved(result.shape, _reshape, (tuple(result.shape),), call.shadows[0])


def spread(call: Call, result: torch.Tensor) -> Found:
    """`expand` and its kin."""
    return moved(result.shape, _expand, (tuple(result.shape),), call.shadows[0])


def again(call: Call, result: torch.Tensor) -> Found:
    """Functions of one tensor that can be called with numbers of tokens as they are."""
    options = tuple(call.kwargs.items())
    return moved(result.shape, _again, (call.func, call.args[1:], options), call.shadows[0])


def rolled(call: Call, result: torch.Tensor) -> Found:
    """`roll`."""
    return moved(result.shape, _roll, (call.argument(1, "shifts"), call.argument(2, "dims")), call.shadows[0])


def padded(call: Call, result: torch.Tensor) -> Found:
    """`F.pad` with a number."""
    if call.argument(2, "mode", "constant") != "constant":
        return None
    return moved(result.shape, _pad, (tuple(call.argument(1, "pad")),), call.shadows[0])


def indexed(call: Call, result: torch.Tensor) -> Found:
    """`x[...]`, with tensors or without."""
    return moved(result.shape, _index, (_settled(call.args[1]),), call.shadows[0])


def _settled(index: Any) -> Any:  # noqa: ANN401
    """Lists become tuples of tensors; tensors that count no versions are copied."""
    if isinstance(index, torch.Tensor):
        return index.clone() if index.is_inference() else index
    if isinstance(index, tuple):
        return tuple(_settled(part) for part in index)
    return torch.tensor(index, device="cpu") if isinstance(index, list) else index


def assigned(call: Call, known: Shadows) -> Shadow | None:
    """`x[...] = value`, after it was made."""
    target, index, value = call.args
    before, source = call.shadows[0], call.shadows[2]
    known.overwritten(target)
    if not isinstance(value, torch.Tensor) or value.numel() == 1:
        source = Constant(())
    found = None
    if before is not None and source is not None:
        found = moved(target.shape, _assign, (_settled(index),), before, source)
    if found is not None:
        known.put(target, found)
    return found


def split(call: Call, result: Sequence[torch.Tensor]) -> Found:
    """`split`, `chunk`, `unbind` ...: several results."""
    options = tuple(call.kwargs.items())
    args = (call.func, call.args[1:], options)
    found = [moved(piece.shape, _again, args, call.shadows[0], pick=number) for number, piece in enumerate(result)]
    return [piece for piece in found if piece is not None] if call.shadows[0] is not None else None


def together(call: Call, result: torch.Tensor, known: Shadows) -> Found:
    """`cat` and `stack`."""
    move = _stacked if result.ndim > call.args[0][0].ndim else _joined
    dim = call.argument(1, "dim", call.kwargs.get("axis", 0))
    found = moved(result.shape, move, (dim,), *(known.get(part) for part in call.args[0]))
    if found is None or dim % result.ndim == result.ndim - 1:
        return found
    return Base.after(result.shape, found, None)  # what is put together may be a sequence


def strided(call: Call, result: torch.Tensor) -> Found:
    """`as_strided`: a view of memory."""
    source = call.args[0]
    size, stride = tuple(call.argument(1, "size")), tuple(call.argument(2, "stride"))
    start = call.argument(3, "storage_offset")
    offset = 0 if start is None else start - source.storage_offset()
    return moved(result.shape, _strided, (tuple(source.stride()), size, stride, offset), call.shadows[0])


def _patches(codes: torch.Tensor, options: tuple[Any, ...]) -> torch.Tensor:
    # Only numbers with a point can be unfolded; zeros fill up.
    return (functional.unfold(codes.double() + 1, *options) - 1).long()


def unfolded(call: Call, result: torch.Tensor) -> Found:
    """`F.unfold`: overlapping patches of an image."""
    names = {"dilation": 1, "padding": 0, "stride": 1}
    options = tuple(call.argument(number, name, names[name]) for number, name in enumerate(names, 2))
    return moved(result.shape, _patches, ((call.argument(1, "kernel_size"), *options),), call.shadows[0])


def as_complex(call: Call, result: torch.Tensor) -> Found:
    """Pairs of numbers as complex ones."""
    return moved(result.shape, _as_complex, (), call.shadows[0])


def as_real(call: Call, result: torch.Tensor) -> Found:
    """Complex numbers as pairs."""
    return moved(result.shape, _as_real, (), call.shadows[0])


def agreed(shape: Sequence[int], parents: Sequence[Shadow]) -> Shadow | None:
    """Computed number by number from several tensors that must come from the same tokens."""
    return moved(shape, _agreeing, (), *parents)


def filled(call: Call, result: torch.Tensor) -> Found:  # noqa: ARG001 - one signature for all rules
    """A new tensor, full of one number."""
    return Constant(tuple(result.shape))


def row_by_row(shape: Sequence[int], source: Shadow | None, axis: int = -1) -> Base:
    """Each row computed from one row: linear maps and norms."""
    return Base.after(shape, source, axis)
