"""The rule a mask was made from, found in its packed rows, believed only if it reproduces every row exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.masks import CLOSED, OPEN, RULE, Mask
from attnwidget.attention.packed import count_ones, edges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from attnwidget.attention.devicemask import DeviceMask
    from attnwidget.attention.packed import PackedMask, RowSummary
    from attnwidget.attention.protocol import Bools

    Counts = NDArray[np.int32]

_MOST_RANGES = 8
_BYTE = 8
_RANGE_BYTES = 8


def find_rule(mask: PackedMask | DeviceMask, n_queries: int, n_keys: int) -> Mask:
    """The simplest mask that is the same in every pair.

    A row is told by its first key, its last, and how many keys lie between: where that is as many as there are keys
    that are not padding, the row is that range and nothing else. So all comparisons are between a few numbers per row.

    Args:
        mask: (B | 1, H | 1, Tq | 1) rows of keys.
        n_queries: Tq.
        n_keys: Tk.

    Returns:
        Padding alone, or a band with it, or ranges of keys per query; the packed mask itself where nothing fits.
    """
    mask = mask.without_equal_heads()
    _, n_heads, n_rows = mask.shape
    if n_rows == 1 or n_queries == 1:
        if n_heads == 1:  # one row for all queries
            keys = mask.seen()
            return Mask(n_queries, n_keys, keys=None if keys.all() else _once(keys))
        return Mask(n_queries, n_keys, bits=mask.bits)
    rows = mask.rows
    readings = list(_readings(mask, n_keys))
    for reading in readings:
        found = _band(reading, rows, n_queries, n_keys) if n_heads == 1 else None
        if found is not None:
            return found
    for reading in readings:
        found = _one_range(reading, rows, n_queries, n_keys)
        if found is not None:
            return found
    return _several_ranges(mask.bits, n_queries, n_keys) or Mask(n_queries, n_keys, bits=mask.bits)


@dataclass(frozen=True, eq=False)
class _Reading:
    """One way to understand a mask.

    Attributes:
        keys: (B, Tk), which keys are not padding.
        ranks: (B, Tk + 1), how many of these come before each key.
        spared: (B, H, Tq), rows that see everything and say nothing about the rule.
    """

    keys: Bools
    ranks: Counts
    spared: Bools


def _readings(mask: PackedMask | DeviceMask, n_keys: int) -> Iterator[_Reading]:
    """All rows follow the rule; or some models open rows that would see nothing, and these do not."""
    count = mask.rows.count
    whole = count == n_keys
    for spared in (np.zeros_like(whole), whole):
        if spared is whole and (not whole.any() or not (count[~whole] > 0).any()):
            return
        keys = mask.seen(spared if spared is whole else None)
        ranks = np.zeros((len(keys), n_keys + 1), dtype=np.int32)
        np.cumsum(keys, axis=1, out=ranks[:, 1:])
        yield _Reading(keys, ranks, spared)


def _band(reading: _Reading, rows: RowSummary, n_queries: int, n_keys: int) -> Mask | None:
    """A band and padding, a few closed or open rows aside."""
    first, stop, count = (part[:, 0] for part in (rows.first, rows.stop, rows.count))  # (B, Tq)
    spared, numbers = reading.spared[:, 0], np.arange(n_queries, dtype=np.int32)
    ruled = (count > 0) & ~spared
    if not ruled.any():
        lowest, highest = n_keys, -n_queries
    else:
        lowest = int((first - numbers)[ruled].min())
        highest = int((stop - 1 - numbers)[ruled].max())
    start_rank = np.take_along_axis(reading.ranks, first, axis=1)
    stop_rank = np.take_along_axis(reading.ranks, stop, axis=1)
    unbroken = stop_rank - start_rank == count
    exception = (count == 0) | (count == n_keys)
    padding = None if reading.keys.all() else _once(reading.keys)
    for low, high in ((None, None), (None, highest), (lowest, None), (lowest, highest)):
        start = np.zeros_like(numbers) if low is None else np.clip(numbers + low, 0, n_keys)
        end = np.full_like(numbers, n_keys) if high is None else np.clip(numbers + high + 1, 0, n_keys)
        wanted_start, wanted_stop = reading.ranks[:, start], reading.ranks[:, end]
        empty = wanted_stop <= wanted_start
        same = np.where(count == 0, empty, unbroken & (wanted_start == start_rank) & (wanted_stop == stop_rank))
        if not (same | exception).all():
            continue
        kinds = np.full(count.shape, RULE, dtype=np.int8)
        kinds[~same & (count == n_keys)] = OPEN
        kinds[~same & (count == 0)] = CLOSED
        return Mask(n_queries, n_keys, low, high, padding, _once(kinds) if kinds.any() else None)
    return None


def _one_range(reading: _Reading, rows: RowSummary, n_queries: int, n_keys: int) -> Mask | None:
    """A range of keys for each query of each head, and padding; rows that are spared are open."""
    ranks = reading.ranks[:, None]  # (B, 1, Tk + 1)
    start_rank = np.take_along_axis(ranks, rows.first.reshape(len(ranks), 1, -1), axis=2).reshape(rows.first.shape)
    stop_rank = np.take_along_axis(ranks, rows.stop.reshape(len(ranks), 1, -1), axis=2).reshape(rows.stop.shape)
    if not ((stop_rank - start_rank == rows.count) | reading.spared).all():
        return None
    kinds = None
    if reading.spared.any():
        if not (reading.spared == reading.spared[:, :1]).all():  # open rows are the same for all heads
            return None
        kinds = _once(np.where(reading.spared[:, 0], OPEN, RULE).astype(np.int8))
    ranges = np.stack([rows.first, rows.stop], axis=-1)[:, :, :, None]  # (B, H, Tq, 1, 2)
    ranges[reading.spared] = 0
    padding = None if reading.keys.all() else _once(reading.keys)
    return Mask(n_queries, n_keys, keys=padding, rows=kinds, ranges=_once(ranges))


def _several_ranges(bits: NDArray[np.uint8], n_queries: int, n_keys: int) -> Mask | None:
    """A few ranges of keys for each query, as first tokens with a window have it, if they take less than the bits."""
    starts, ends = edges(bits)
    most = int(count_ones(starts).max())
    if most > _MOST_RANGES or most * _RANGE_BYTES * _BYTE >= n_keys:
        return None
    ranges = np.zeros((*bits.shape[:3], most, 2), dtype=np.int32)
    for example in range(bits.shape[0]):
        for head in range(bits.shape[1]):
            for end, packed in enumerate((starts, ends)):
                row, key = _set_bits(packed[example, head])
                turn = np.arange(len(row)) - np.searchsorted(row, row)  # counts from 0 within each row
                ranges[example, head, row, turn, end] = key + end
    return Mask(n_queries, n_keys, ranges=_once(ranges))


def _set_bits(packed: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and keys of the bits that are set, in order; only bytes that hold some are unpacked."""
    row, byte = np.nonzero(packed)
    place, bit = np.nonzero(np.unpackbits(packed[row, byte][:, None], axis=1))
    return row[place], byte[place] * _BYTE + bit


def _once(part: NDArray[Any]) -> NDArray[Any]:
    """One entry where all examples have the same, and one head where all heads have (of five axes)."""
    if part.shape[0] > 1 and (part == part[:1]).all():
        part = part[:1]
    return part.copy() if part.base is not None else part
