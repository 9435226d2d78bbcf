"""Masks taken apart: some rows and keys of one, some examples, and a smaller form for single rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from attnwidget.attention.masks import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Tail:
    """The mask of a single row that sees every key from some column on, as nearly every step of a generation has it.

    Attributes:
        starts: (B | 1,), that column in each example.
        n_keys: columns.
    """

    starts: Ints
    n_keys: int

    def whole(self) -> Mask:
        """As a mask."""
        return Mask(1, self.n_keys, keys=np.arange(self.n_keys) >= self.starts[:, None])


def compact(mask: Mask | None) -> Mask | Tail | None:
    """A smaller form of a mask that is to be joined with others, where there is one."""
    if mask is None or mask.keys is None or mask.n_queries != 1 or not mask.n_keys:
        return mask
    others = (mask.rows, mask.bits, mask.bias, mask.lowest, mask.highest, mask.ranges, mask.relative)
    if any(part is not None for part in others):
        return mask
    starts = mask.keys.argmax(axis=1)
    return Tail(starts, mask.n_keys) if (mask.keys == (np.arange(mask.n_keys) >= starts[:, None])).all() else mask


def cut(mask: Mask | None, rows: tuple[int, int], keys: tuple[int, int]) -> Mask | None:
    """The part of a mask over some rows (start, stop) and keys (start, stop)."""
    if mask is None or (rows, keys) == ((0, mask.n_queries), (0, mask.n_keys)):
        return mask
    shift, size = rows[0] - keys[0], (rows[1] - rows[0], keys[1] - keys[0])
    bits, bias, ranges, relative = mask.bits, mask.bias, mask.ranges, mask.relative
    if bits is not None:
        bits = bits if bits.shape[2] == 1 else bits[:, :, slice(*rows)]
        bits = np.packbits(np.unpackbits(bits, axis=-1, count=mask.n_keys)[..., slice(*keys)], axis=-1)
    if bias is not None:
        bias = bias if bias.shape[2] == 1 else bias[:, :, slice(*rows)]
        bias = bias if bias.shape[3] == 1 else bias[..., slice(*keys)]
    if ranges is not None:
        ranges = np.clip(ranges[:, :, slice(*rows)] - keys[0], 0, size[1], dtype=np.int32)
    if relative is not None:
        first = keys[0] + mask.n_queries - rows[1]  # of the last row and the first key
        relative = relative[..., first : first + sum(size) - 1]
    # A band that reaches over the whole part says nothing about it.
    highest = None if mask.highest is None or mask.highest + shift >= size[1] - 1 else mask.highest + shift
    lowest = None if mask.lowest is None or mask.lowest + shift <= 1 - size[0] else mask.lowest + shift
    found = Mask(
        *size,
        lowest,
        highest,
        None if mask.keys is None or mask.keys[:, slice(*keys)].all() else mask.keys[:, slice(*keys)],
        None if mask.rows is None or not mask.rows[:, slice(*rows)].any() else mask.rows[:, slice(*rows)],
        bits,
        bias,
        ranges,
        relative,
    )
    says_something = lowest is not None or highest is not None
    return found if says_something or any(part is not None for part in _arrays(found)) else None


def _arrays(mask: Mask) -> tuple[NDArray[Any] | None, ...]:
    return mask.keys, mask.rows, mask.bits, mask.bias, mask.ranges, mask.relative


def take(mask: Mask | Tail | None, examples: Ints) -> Mask | Tail | None:
    """The mask of some examples, in this order."""
    if mask is None:
        return None

    def picked(part: NDArray[Any] | None) -> Any:  # noqa: ANN401 - of the type that went in
        return part if part is None or part.shape[0] == 1 else part[examples]

    if isinstance(mask, Tail):
        return Tail(picked(mask.starts), mask.n_keys)
    return Mask(mask.n_queries, mask.n_keys, mask.lowest, mask.highest, *map(picked, _arrays(mask)))


def same_mask(one: Mask | None, other: Mask | None) -> bool:
    """Whether two masks are kept alike, part by part."""
    if one is None or other is None:
        return one is other
    parts = ((getattr(one, name), getattr(other, name)) for name in Mask.__dataclass_fields__)
    return all(here is there if here is None or there is None else np.array_equal(here, there) for here, there in parts)
