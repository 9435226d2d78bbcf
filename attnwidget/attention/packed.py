"""Masks as packed bits, eight pairs to a byte: what a rule is looked for in, at an eighth of the memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import is_tensor, to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Bools

    Bytes = NDArray[np.uint8]

BLOCK_BYTES = 8 << 20
"""The largest block of a mask that is looked at in one go."""
_NDIM = 4
_BYTE = 8
_VALUES = np.arange(256, dtype=np.uint8)
_ONES = np.unpackbits(_VALUES[:, None], axis=1).sum(axis=1, dtype=np.uint8)
_LEADING = np.unpackbits(_VALUES[:, None], axis=1).argmax(axis=1).astype(np.int32)
_TRAILING = np.unpackbits(_VALUES[:, None], axis=1)[:, ::-1].argmax(axis=1).astype(np.int32)


def four_dimensional(mask: Any, n_queries: int, n_keys: int) -> Any:  # noqa: ANN401 - NumPy or torch
    """(B | 1, H | 1, Tq | 1, Tk | 1), a view: axes that only repeat one entry are cut to it.

    Raises:
        ValueError: it does not broadcast to queries x keys.
    """
    array: Any = mask.detach() if is_tensor(mask) else np.asarray(mask)
    array = array.reshape((1,) * (_NDIM - array.ndim) + tuple(array.shape))
    for axis, size in ((2, n_queries), (3, n_keys)):
        if array.shape[axis] not in (1, size):
            raise ValueError(
                f"the mask has shape {tuple(mask.shape)}; expected one that broadcasts to (batch, heads, {n_queries}, "
                f"{n_keys})"
            )
    strides = array.stride() if is_tensor(array) else array.strides
    cut = tuple(
        slice(0, 1) if stride == 0 and size > 1 else slice(None)
        for stride, size in zip(strides, array.shape, strict=True)
    )
    return array[cut]


def lowest_of(mask: Any) -> float:  # noqa: ANN401 - NumPy or torch
    """What counts as minus infinity for the type an additive mask came in: half of its lowest number."""
    name = str(mask.dtype).removeprefix("torch.")
    if "bool" in name:  # True allows
        return 0.0
    kind = {"bfloat16": "float32"}.get(name, name)
    return float(np.finfo(kind).min) / 2


class PackedMask:
    """A mask in memory, eight pairs to a byte.

    Args:
        bits: (B | 1, H | 1, Tq | 1, ceil(Tk / 8)).
        n_keys: Tk.
        adds: something else than zero is added to the scores of allowed pairs.
    """

    def __init__(self, bits: Bytes, n_keys: int, *, adds: bool = False) -> None:
        self.bits, self.adds = bits, adds
        self._n_keys = n_keys

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B | 1, H | 1, Tq | 1)."""
        batch, heads, n_rows, _ = self.bits.shape
        return batch, heads, n_rows

    @cached_property
    def rows(self) -> RowSummary:
        """What there is in each row, (B, H, Tq)."""
        return summarise(self.bits)

    def seen(self, spared: Bools | None = None) -> Bools:
        """Which keys some row may look at, (B, Tk); `spared`: (B, H, Tq), rows that do not count."""
        some = np.zeros((self.bits.shape[0], self.bits.shape[3]), dtype=np.uint8)
        for example, head in np.ndindex(self.bits.shape[:2]):
            bits = self.bits[example, head]
            some[example] |= np.bitwise_or.reduce(bits if spared is None else bits[~spared[example, head]], axis=0)
        return np.unpackbits(some, axis=-1, count=self._n_keys).view(np.bool_)

    def without_equal_heads(self) -> PackedMask:
        """With one head where all are alike: a bias per head often comes with one mask for all of them."""
        bits = self.bits
        if bits.shape[1] > 1 and all(np.array_equal(bits[:, 0], bits[:, head]) for head in range(1, bits.shape[1])):
            return PackedMask(bits[:, :1].copy(), self._n_keys, adds=self.adds)
        return self


def pack(mask: Any, n_queries: int, n_keys: int, lowest: float, *, is_causal: bool = False) -> PackedMask:  # noqa: ANN401
    """Pack a mask of four dimensions.

    Args:
        mask: from `four_dimensional`, in memory.
        n_queries: Tq.
        n_keys: Tk.
        lowest: additive values of this or less forbid.
        is_causal: forbid keys to the right of the diagonal too.
    """
    array, boolean = to_numpy(mask), "bool" in str(mask.dtype)
    wide = np.broadcast_to(array, (*array.shape[:3], n_keys))
    if is_causal:
        wide = np.broadcast_to(wide, (*wide.shape[:2], n_queries, n_keys))
    bits = np.empty((*wide.shape[:3], -(-n_keys // _BYTE)), dtype=np.uint8)
    adds = False
    for place, rows in blocks_of(wide):
        block = wide[place][rows]
        allowed = block if boolean else np.less_equal(block, lowest)
        if not boolean:
            np.logical_not(allowed, out=allowed)
        if is_causal:
            allowed = allowed & np.tri(len(block), n_keys, k=rows.start, dtype=np.bool_)
        bits[place][rows] = np.packbits(allowed, axis=-1)
        if not (boolean or adds):
            adds = bool((np.packbits(block != 0, axis=-1) & bits[place][rows]).any())
    return PackedMask(bits, n_keys, adds=adds)


def blocks_of(array: Any, nbytes: int = BLOCK_BYTES) -> Iterator[tuple[tuple[int, int], slice]]:  # noqa: ANN401 - see above
    """Examples and heads of a (B, H, Tq, Tk) array, and blocks of rows of each, of so many pairs at most."""
    step = max(1, nbytes // max(1, array.shape[3]))
    for example in range(array.shape[0]):
        for head in range(array.shape[1]):
            for start in range(0, array.shape[2], step):
                yield (example, head), slice(start, min(start + step, array.shape[2]))


@dataclass(frozen=True, eq=False)
class RowSummary:
    """What there is in each row, (...) int32 each.

    Attributes:
        first: the first key that is allowed; 0 where none is.
        stop: one past the last; 0 where none is.
        count: how many are.
    """

    first: NDArray[np.int32]
    stop: NDArray[np.int32]
    count: NDArray[np.int32]


def summarise(bits: Bytes) -> RowSummary:
    """Summarise packed rows, (..., n) uint8."""
    some = bits != 0
    any_at_all = some.any(axis=-1)
    first = some.argmax(axis=-1).astype(np.int32)
    last = bits.shape[-1] - 1 - some[..., ::-1].argmax(axis=-1).astype(np.int32)
    leading = _LEADING[np.take_along_axis(bits, first[..., None], axis=-1)[..., 0]]
    trailing = _TRAILING[np.take_along_axis(bits, last[..., None], axis=-1)[..., 0]]
    return RowSummary(
        np.where(any_at_all, _BYTE * first + leading, 0).astype(np.int32),
        np.where(any_at_all, _BYTE * (last + 1) - trailing, 0).astype(np.int32),
        count_ones(bits),
    )


def count_ones(bits: Bytes) -> NDArray[np.int32]:
    """How many bits are set in each row, (..., n) -> (...)."""
    count = getattr(np, "bitwise_count", None)  # NumPy 2
    ones = _ONES[bits] if count is None else count(bits)
    found: NDArray[np.int32] = ones.sum(axis=-1, dtype=np.int32)
    return found


def edges(bits: Bytes) -> tuple[Bytes, Bytes]:
    """Where runs of set bits begin and where they end, packed likewise."""
    before: Bytes = np.right_shift(bits, 1)
    after: Bytes = np.left_shift(bits, 1)
    before[..., 1:] |= bits[..., :-1] << 7
    after[..., :-1] |= bits[..., 1:] >> 7
    return np.bitwise_and(bits, ~before), np.bitwise_and(bits, ~after)
