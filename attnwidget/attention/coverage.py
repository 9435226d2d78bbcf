"""What a mask allows in a block, told cheaply: nothing, everything, or something to look at pair by pair."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.masks import CLOSED, OPEN, RULE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.bins import Bins
    from attnwidget.attention.masks import Mask

    States = NDArray[np.uint8]

NONE, SOME, ALL = 0, 1, 2
"""Of some queries, those that may look at a key."""
_SHORT = 256
"""Runs of fewer keys than this are not worth a block of their own."""


def coverage(mask: Mask | None, example: int, head: int, queries: NDArray[np.intp], keys: tuple[int, int]) -> States:
    """For each key, whether none, some or all of some queries may look at it.

    Args:
        mask: which pairs are allowed; None for all of them.
        example: of the batch.
        head: which head.
        queries: positions, at least one.
        keys: [start, stop).

    Returns:
        (stop - start,) of `NONE`, `SOME`, `ALL`. `SOME` may be said where one of the others holds.
    """
    states = np.full(keys[1] - keys[0], ALL, dtype=np.uint8)
    if mask is None:
        return states
    kinds = np.zeros(len(queries), np.int8)
    if mask.rows is not None:
        kinds = mask.rows[example if len(mask.rows) > 1 else 0][queries]
    ruled = queries[kinds == RULE]
    if len(ruled):
        for part in _parts(mask, example, head, ruled, keys):
            np.minimum(states, part, out=states)
    else:
        states[:] = ALL if (kinds == OPEN).all() else NONE
    if (kinds == OPEN).any():
        states[states == NONE] = SOME
    if (kinds == CLOSED).any():
        states[states == ALL] = SOME
    return states


def runs(states: States, bins: Bins) -> list[tuple[int, int, int]]:
    """Bins of one state in a row.

    Args:
        states: of the positions of the bins.
        bins: of keys.

    Returns:
        (first bin, one past the last, state), in order; short ones are joined and count as `SOME`.
    """
    starts = bins.starts - bins.start
    low, high = np.minimum.reduceat(states, starts), np.maximum.reduceat(states, starts)
    cells = np.where(low == high, low, SOME)
    for _ in range(2):  # of what was found first, what is short joins its neighbours
        found = _runs(cells)
        short = [run for run in found if len(found) > 1 and bins.part(*run[:2]).length < _SHORT]
        for first, last, _state in short:
            cells[first:last] = SOME
    return _runs(cells)


def _runs(cells: States) -> list[tuple[int, int, int]]:
    bounds = np.flatnonzero(np.diff(cells, prepend=np.uint8(255), append=np.uint8(255))).tolist()
    return [(first, last, int(cells[first])) for first, last in pairwise(bounds)]


def _parts(mask: Mask, example: int, head: int, queries: NDArray[np.intp], keys: tuple[int, int]) -> list[States]:
    parts = [_band(mask, queries, keys)]
    if mask.keys is not None:
        known = mask.keys[example if len(mask.keys) > 1 else 0][slice(*keys)]
        parts.append(np.where(known, np.uint8(ALL), np.uint8(NONE)))
    if mask.bits is not None:
        bits = mask.bits[example if len(mask.bits) > 1 else 0]
        bits = bits[head if len(bits) > 1 else 0]  # (Tq | 1, n)
        bits = (bits if len(bits) == 1 else bits[queries])[:, keys[0] // 8 : -(-keys[1] // 8)]
        first = keys[0] % 8
        some, every = (
            np.unpackbits(how.reduce(bits, axis=0))[first : first + keys[1] - keys[0]]
            for how in (np.bitwise_or, np.bitwise_and)
        )
        parts.append(some + every)
    if mask.ranges is not None:
        ranges = mask.ranges[example if len(mask.ranges) > 1 else 0]
        parts.append(_ranges(ranges[head if len(ranges) > 1 else 0][queries], keys))
    return parts


def _band(mask: Mask, queries: NDArray[np.intp], keys: tuple[int, int]) -> States:
    states = np.full(keys[1] - keys[0], ALL, dtype=np.uint8)
    low, high = int(queries.min()), int(queries.max())
    if mask.highest is not None:
        states[max(0, low + mask.highest + 1 - keys[0]) :] = SOME
        states[max(0, high + mask.highest + 1 - keys[0]) :] = NONE
    if mask.lowest is not None:
        before = states[: max(0, high + mask.lowest - keys[0])]
        before[:] = np.minimum(before, SOME)
        states[: max(0, low + mask.lowest - keys[0])] = NONE
    return states


def _ranges(ranges: NDArray[np.int32], keys: tuple[int, int]) -> States:
    """Of queries with ranges (q, m, 2)."""
    start, stop = ranges[..., 0], ranges[..., 1]
    used = start < stop
    counts = np.zeros(keys[1] - keys[0] + 1, dtype=np.intp)
    for ends, sign in ((start, 1), (stop, -1)):
        places = np.clip(ends[used] - keys[0], 0, len(counts) - 1)
        counts += sign * np.bincount(places, minlength=len(counts))
    counts = counts.cumsum()[:-1]  # (k,) ranges that hold the key
    order = np.argsort(np.where(used, start, -1), axis=1)
    start, stop = (np.take_along_axis(np.where(used, ends, 0), order, axis=1) for ends in (start, stop))
    apart = bool((start[:, 1:] >= np.maximum.accumulate(stop, axis=1)[:, :-1]).all())
    every = (counts == len(ranges)) & apart  # ranges that overlap count a key twice
    states: States = (counts > 0).astype(np.uint8) + every
    return states
