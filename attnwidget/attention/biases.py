"""What is added to the scores, as compact as it can be kept: a number per key, or per distance, else as it came."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.packed import BLOCK_BYTES, blocks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Floats

    Array = NDArray[Any]


def compact_bias(array: Array, lowest: float) -> tuple[Floats | None, Floats | None]:
    """What reproduces everything that is added to allowed pairs, to the bit: `bias` and `relative` of a `Mask`.

    Args:
        array: (B | 1, H | 1, Tq | 1, Tk | 1), additive.
        lowest: what is at most this forbids.

    Returns:
        (None, relative) where it depends on j - i alone (relative positions, ALiBi), else (bias, None), whose axes have
        one entry where it does not depend on them.
    """
    if array.shape[2] > 1 and array.shape[3] > 1:
        per_key = _PerKey(array, lowest)
        if per_key.holds():
            return per_key.merged()[:, :, None], None
        per_distance = _PerDistance(array, lowest)
        if per_distance.holds():
            return None, per_distance.merged()
    return _as_it_came(array, lowest), None


class _Table(ABC):
    """Numbers that may stand for a whole (Tq, Tk) bias; NaN where no allowed pair was read.

    Args:
        array: (B | 1, H | 1, Tq, Tk).
        lowest: what is at most this forbids.
        size: how many numbers there are.
    """

    def __init__(self, array: Array, lowest: float, size: int) -> None:
        self.array, self.lowest = array, lowest
        self.n_queries, self.n_keys = array.shape[2:]
        self.values: Floats = np.full((*array.shape[:2], size), np.nan, dtype=np.float32)

    def holds(self) -> bool:
        """Read the numbers from a few rows and columns, and compare them with every pair."""
        for place in np.ndindex(*self.array.shape[:2]):
            self._read(place)
        for place, rows in blocks_of(self.array):
            block = self.array[place][rows]
            # A forbidden pair may have had anything added. NaN equals nothing: what was not read does not match.
            same = block.astype(np.float32, copy=False) == self._expected(place, rows)
            if not (same | (block <= self.lowest)).all():
                return False
        return True

    @abstractmethod
    def _read(self, place: tuple[int, ...]) -> None:
        """Take the numbers of one example and head from a few rows and columns."""

    @abstractmethod
    def _expected(self, place: tuple[int, ...], rows: slice) -> Floats:
        """What the numbers say of some rows, broadcastable to (rows, Tk)."""

    def _learn(self, place: tuple[int, ...], numbers: NDArray[np.intp], line: Array) -> None:
        """Take what is allowed of one row or column, where it was not known yet."""
        table = self.values[place]
        new = np.isnan(table[numbers]) & ~(line <= self.lowest)
        table[numbers[new]] = line[new]

    def merged(self) -> Floats:
        """One table for all examples if none contradicts another; 0 for what is never allowed."""
        merged = self.values[:1].copy()
        for other in self.values[1:]:
            if not ((merged[0] == other) | np.isnan(merged[0]) | np.isnan(other)).all():
                merged = self.values
                break
            merged[0] = np.where(np.isnan(merged[0]), other, merged[0])
        return np.nan_to_num(merged, nan=0.0, posinf=np.inf, neginf=-np.inf)


class _PerKey(_Table):
    def __init__(self, array: Array, lowest: float) -> None:
        super().__init__(array, lowest, array.shape[3])

    def _read(self, place: tuple[int, ...]) -> None:
        for row in (self.n_queries - 1, 0, self.n_queries // 2):
            self._learn(place, np.arange(self.n_keys), self.array[place][row])

    def _expected(self, place: tuple[int, ...], rows: slice) -> Floats:
        return np.broadcast_to(self.values[place], (self.n_queries, self.n_keys))[rows]


class _PerDistance(_Table):
    def __init__(self, array: Array, lowest: float) -> None:
        super().__init__(array, lowest, array.shape[2] + array.shape[3] - 1)

    def _read(self, place: tuple[int, ...]) -> None:
        array, last = self.array[place], self.n_queries - 1
        for row in (last, 0, self.n_queries // 2):
            self._learn(place, np.arange(self.n_keys) + last - row, array[row])
        seen = np.flatnonzero(~(array[last] <= self.lowest))
        for key in {0, self.n_keys - 1, *seen[:1].tolist(), *seen[-1:].tolist()}:
            self._learn(place, key + last - np.arange(self.n_queries), array[:, key])

    def _expected(self, place: tuple[int, ...], rows: slice) -> Floats:
        windows = np.lib.stride_tricks.sliding_window_view(self.values[place], self.n_keys)
        return windows[::-1][rows]


def _as_it_came(array: Array, lowest: float) -> Floats:
    """A copy in float32, zero where it forbids, with one entry for all examples if none contradicts another."""
    merged = np.zeros((1, *array.shape[1:]), dtype=np.float32)
    known = np.zeros(array.shape[2:], dtype=np.bool_)
    for head in range(array.shape[1]):
        known[:] = False
        for example in range(array.shape[0]):
            for rows in _row_blocks(array):
                block = array[example, head, rows].astype(np.float32, copy=False)
                allowed, before = ~(array[example, head, rows] <= lowest), merged[0, head, rows]
                if example and (allowed & known[rows] & (block != before)).any():
                    return np.where(array <= lowest, 0, array).astype(np.float32)
                np.copyto(before, block, where=allowed)
                known[rows] |= allowed
    return merged


def _row_blocks(array: Array) -> list[slice]:
    step = max(1, BLOCK_BYTES // max(1, array.shape[3]))
    return [slice(start, start + step) for start in range(0, array.shape[2], step)]
