"""What reshapes, transposes and slices do to the axes of a tensor that is followed."""

from __future__ import annotations

import operator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from attnwidget.intercept.byhand.axes import (
    Axes,
    Axis,
    fresh,
    grown,
    leaves,
    length,
    mark,
    mark_likely,
    narrowed,
    reshaped,
)
from attnwidget.intercept.byhand.splitting import has_whole_rows, split_off

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Shaping: TypeAlias = Callable[[Axes, tuple[Any, ...], Mapping[str, Any], torch.Tensor], Axes | None]

_THREE, _FOUR = 3, 4
_BLOCKS = 6
"""Axes of an image of which rows and columns were put into blocks, (batch, channels, rows, ., columns, .)."""


def _reshape(axes: Axes, _: tuple[Any, ...], __: Mapping[str, Any], result: torch.Tensor) -> Axes | None:
    found = reshaped(axes, result.shape)
    if found is not None and {len(axes), len(found)} == {_THREE, _FOUR}:
        short, long = sorted((axes, found), key=len)
        if [leaves(axis) for axis in short[1:]] == [leaves(axis) for axis in long[2:]]:
            # (batch * heads, ., .) is, or was, (batch, heads, ., .), which tells the two apart.
            heads_first = _are_beside(long[0]) and not _are_beside(long[1])
            mark_likely(leaves(long[0]), is_head=heads_first)
            mark_likely(leaves(long[1]), is_head=not heads_first)
    return found


def _are_beside(axis: Axis) -> bool:
    return bool(axis) and all(atom.beside_features for atom in leaves(axis))


def _permute(axes: Axes, args: tuple[Any, ...], kwargs: Mapping[str, Any], _: torch.Tensor) -> Axes:
    dims = kwargs.get("dims", args[1:])
    dims = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return tuple(axes[dim] for dim in dims)


def _transpose(axes: Axes, args: tuple[Any, ...], kwargs: Mapping[str, Any], _: torch.Tensor) -> Axes:
    one, other = args[1:] if len(args) > 1 else (kwargs.get("dim0", 0), kwargs.get("dim1", 1))
    order = list(axes)
    order[one], order[other] = order[other], order[one]
    return tuple(order)


def _swap_last(axes: Axes, _: tuple[Any, ...], __: Mapping[str, Any], ___: torch.Tensor) -> Axes:
    return (*axes[:-2], axes[-1], axes[-2])


def _reverse(axes: Axes, _: tuple[Any, ...], __: Mapping[str, Any], ___: torch.Tensor) -> Axes:
    return axes[::-1]


def _move(axes: Axes, args: tuple[Any, ...], kwargs: Mapping[str, Any], _: torch.Tensor) -> Axes | None:
    source, target = args[1:] if len(args) > 1 else (kwargs.get("source"), kwargs.get("destination"))
    if not (isinstance(source, int) and isinstance(target, int)):
        return None
    order = list(axes)
    moved = order.pop(source)
    order.insert(target % len(axes), moved)
    return tuple(order)


def _expand(axes: Axes, _: tuple[Any, ...], __: Mapping[str, Any], result: torch.Tensor) -> Axes:
    return grown(axes, result.shape)


def _same(axes: Axes, _: tuple[Any, ...], __: Mapping[str, Any], result: torch.Tensor) -> Axes | None:
    return axes if tuple(result.shape) == tuple(length(axis) for axis in axes) else None


def _narrow(axes: Axes, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: torch.Tensor) -> Axes | None:
    dim, start = (*args[1:], *(kwargs[name] for name in ("dim", "start") if name in kwargs))[:2]
    return _cut(axes, dim, start if start >= 0 else start + length(axes[dim]), result.shape[dim])


def _slice(axes: Axes, args: tuple[Any, ...], _: Mapping[str, Any], result: torch.Tensor) -> Axes | None:
    """As torch.ops.aten spells slices of one axis."""
    given = dict(zip(("dim", "start", "end", "step"), args[1:], strict=False))
    dim, step = given.get("dim", 0), given.get("step", 1)
    start = slice(given.get("start"), given.get("end")).indices(length(axes[dim]))[0]
    return _cut(axes, dim, start, result.shape[dim]) if step == 1 else None


def _select(axes: Axes, args: tuple[Any, ...], kwargs: Mapping[str, Any], _: torch.Tensor) -> Axes | None:
    dim = args[1] if len(args) > 1 else kwargs["dim"]
    return tuple(axis for number, axis in enumerate(axes) if number != dim % len(axes))


def _cut(axes: Axes, dim: int, start: int, count: int) -> Axes | None:
    axis = narrowed(axes[dim], start, start + count)
    if axis is None:
        return None
    order = list(axes)
    order[dim] = axis
    return tuple(order)


def _index(axes: Axes, args: tuple[Any, ...], _: Mapping[str, Any], result: torch.Tensor) -> Axes | None:
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    plain = all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in index)
    if not plain or any(isinstance(part, bool) for part in index):
        return fresh(result.shape)
    hidden = len(axes) - sum(part is not None and part is not Ellipsis for part in index)
    if not any(part is Ellipsis for part in index):
        index = (*index, Ellipsis)
    found: list[Any] = []
    rest = list(axes)
    for part in index:
        if part is None:
            found.append(())
        elif part is Ellipsis:
            found += rest[:hidden]
            del rest[:hidden]
        elif isinstance(part, slice):
            axis = rest.pop(0)
            start, stop, step = part.indices(length(axis))
            cut = narrowed(axis, start, max(start, stop)) if step == 1 else None
            if cut is None:
                return None
            found.append(cut)
        else:
            operator.index(part)
            rest.pop(0)
    return tuple(found)


def _tensor_methods(*names: str) -> list[Any]:
    """Functions of that name, of torch and of tensors."""
    found = [getattr(owner, name, None) for name in names for owner in (torch, torch.Tensor)]
    return [func for func in found if func is not None]


def property_of(name: str) -> Any:  # noqa: ANN401 - a getter
    """A property of tensors, as a function mode sees it."""
    return getattr(torch.Tensor, name).__get__


SHAPING: dict[Any, Shaping] = {
    **dict.fromkeys(
        _tensor_methods(
            "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel"
        ),
        _reshape,
    ),
    **dict.fromkeys(_tensor_methods("permute"), _permute),
    **dict.fromkeys(_tensor_methods("transpose", "swapaxes", "swapdims", "t"), _transpose),
    **dict.fromkeys(_tensor_methods("movedim", "moveaxis"), _move),
    **dict.fromkeys(_tensor_methods("expand", "expand_as", "broadcast_to"), _expand),
    **dict.fromkeys(_tensor_methods("contiguous", "clone", "detach", "alias"), _same),
    **dict.fromkeys(_tensor_methods("narrow"), _narrow),
    **dict.fromkeys(_tensor_methods("select"), _select),
    **dict.fromkeys([property_of("mT"), property_of("mH")], _swap_last),
    **dict.fromkeys([property_of("T")], _reverse),
    torch.Tensor.__getitem__: _index,
    torch.ops.aten.slice.Tensor: _slice,
}
SPLITTING = set(_tensor_methods("split", "chunk", "tensor_split", "unbind", "split_with_sizes"))


def pieces(
    func: Callable[..., Any],
    axes: Axes,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    results: Sequence[torch.Tensor],
) -> list[Axes | None]:
    """Axes of the pieces a tensor is cut into, along one of them."""
    by_number = func in _tensor_methods("unbind")
    dim = kwargs.get("dim", args[1] if by_number and len(args) > 1 else args[2] if len(args) > len("ab") else 0)
    if by_number:
        return [_select(axes, (None, dim), {}, result) for result in results]
    found, start = [], 0
    for result in results:
        found.append(_cut(axes, dim, start, result.shape[dim]))
        start += result.shape[dim]
    return found


def merged(before: torch.Tensor, after: torch.Tensor) -> Axes | None:
    """Axes of a tensor whose batch and heads have just been merged into one axis of three, if they have.

    Either they were axes of their own, (batch, heads, tokens, size) -> (batch * heads, tokens, size), or likewise
    behind others, as where queries, keys and values are stacked or tokens come first. Or heads are split off from
    features as they are merged: (tokens, batch, features) -> (tokens, batch * heads, size), as fairseq and what is
    modelled on it do, or (batch, channels, height, width) -> (batch * heads, size, height * width), in blocks or not.
    Tokens that are put into groups are told too: these are no heads.
    """
    old, new = before.shape, after.shape
    if _BLOCKS in (len(old), len(new)):
        return _split_off_merged(before, new)
    single = next((axis for axis in range(1, len(old) - 1) if old[axis] == 1), None)
    if single is not None and len(old) > len(new) + 1:  # one of queries, keys and values, cut off between others
        return merged(before.squeeze(single), after)
    if len(new) < len(old):
        known = fresh(old)
        axes, apart = reshaped(known, new), split_off(before, -1)
        if axes is not None and apart:
            repeats = [number for number, step in enumerate(before.stride()) if not step and old[number] > 1]
            for number, axis in enumerate(known):  # groups of heads may be repeated for others
                mark(axis, is_head=number in apart or number in repeats)
            return axes
    elif len(new) > len(old) and new[-1] == old[-1]:
        return _regrouped(old, new) if has_whole_rows(before) else None
    for at in range(len(old) - 2) if len(new) == len(old) - 1 and len(old) >= _FOUR else ():
        if new == (*old[:at], old[at] * old[at + 1], *old[at + 2 :]):
            return _of_merged(before, new, at)
    return _split_off_merged(before, new) if len(new) == _THREE and len(old) <= _FOUR else None


def _split_off_merged(before: torch.Tensor, new: Sequence[int]) -> Axes | None:
    """Axes of a tensor whose heads have just been split off as they were merged with the batch, if they have."""
    known = fresh(before.shape)
    axes = reshaped(known, new)
    for axis in axes or ():
        batch, heads = axis[:-1], axis[-1:]
        # Heads are the outer part of an old axis, whose inner part, the size, is an axis of its own.
        split = [whole[0] for whole in known if whole and heads and whole[0].parts and whole[0].parts[0] is heads[0]]
        if split and batch in known and axes is not None and (split[0].parts[1],) in axes:
            are_heads = _are_features(before, known.index((split[0],)), split[0].parts[0].size)
            mark(batch, is_head=False)
            if are_heads is None:
                mark_likely(heads, is_head=True)
            else:
                mark(heads, is_head=are_heads)
            return axes
    return None


def _are_features(before: torch.Tensor, axis: int, outer: int) -> bool | None:
    """Whether an axis that is split counts features, and no tokens: then its outer part counts heads.

    The last one does, and what lies within one row of a projection, or of the channels of a convolution. Where what
    went in is a view of nothing, memory has one order for both: of images it is channels. None where nothing tells.
    """
    if axis == before.ndim - 1:
        return True
    is_whole = before._base is None  # noqa: SLF001 - torch offers no other name for it
    if is_whole and before.ndim > _THREE:
        return True
    apart = before.view(*before.shape[:axis], outer, -1, *before.shape[axis + 1 :])
    are_within = axis in split_off(apart, axis + 1)
    return None if is_whole and (are_within or apart._base is None) else are_within  # noqa: SLF001


def _regrouped(old: Sequence[int], new: Sequence[int]) -> Axes | None:
    """Axes of a tensor whose tokens were put into groups, which are no heads: (B, T, d) -> (B, groups, T', d)."""
    known = fresh(old)
    axes = reshaped(known, new)
    if axes is None:
        return None
    for axis in known[:-1]:
        mark(leaves(axis) if len(leaves(axis)) > 1 else (), is_head=False)
    return axes


def _of_merged(before: torch.Tensor, new: Sequence[int], at: int) -> Axes | None:
    """Axes of a tensor of which two that stand side by side have just been merged into one, if they may be heads."""
    if at != before.ndim - _FOUR or 0 in before.stride()[at : at + 2]:
        return None
    known = fresh(before.shape)
    beside = [_beside_features(before, at), _beside_features(before, at + 1)]
    # Where memory does not tell, heads mostly stand behind examples. Nor does it where rows are features and no more:
    # heads were mapped one by one, or there is one, and what stands beside the features are groups of tokens.
    write = mark if any(beside) and not has_whole_rows(before) else mark_likely
    for number, is_head in zip((at, at + 1), (beside == [True, False], beside != [True, False]), strict=True):
        write(known[number], is_head=is_head)
    return reshaped(known, new)


def copied(before: torch.Tensor) -> Axes | None:
    """Axes of a copy of four, whose order in memory told what counts heads, and does not any more; else None."""
    if before.ndim != _FOUR:
        return None
    known = fresh(before.shape)
    apart = split_off(before, -1)
    if not apart:
        if not _beside_features(before, 0) or _beside_features(before, 1):
            return None
        apart = [0]
    for number, axis in enumerate(known):
        mark(axis, is_head=number in apart)
    return known


def gathered(parts: Sequence[torch.Tensor], result: torch.Tensor) -> Axes | None:
    """Axes of heads that were put together along the first axis: (B, T, d) each, to (H * B, T, d) or (H, B, T, d).

    Where they are joined, heads are slices of the features that lie side by side in memory: what is joined otherwise
    may as well be examples. What is stacked may be whole tensors too; those of examples have their heads just outside
    the features.
    """
    first = parts[0]
    shape = tuple(first.shape)
    if any(tuple(part.shape) != shape or part.stride() != first.stride() for part in parts):
        return None
    step = shape[-1] * first.element_size()
    sliced = first.stride(1) >= len(parts) * shape[-1] and first.stride(-1) == 1
    places = [part.data_ptr() for part in parts]
    beside = sliced and all(later - earlier == step for earlier, later in pairwise(places))
    stacked = tuple(result.shape) == (len(parts), *shape)
    if not (beside or (stacked and all(part.is_contiguous() for part in parts))):
        return None
    known = fresh((len(parts), *shape))
    mark(known[0], is_head=True)
    mark(known[1], is_head=False)
    return known if stacked else reshaped(known, result.shape)


def _beside_features(tensor: torch.Tensor, axis: int) -> bool:
    """Whether an axis lies just outside the last one in memory, which is the innermost: split off from it.

    Of keys that are transposed already the last axis counts tokens, and what lies outside these are examples.
    """
    return tensor.shape[axis] > 1 and tensor.stride(-1) == 1 and tensor.stride(axis) == tensor.shape[-1]
