"""The masks of steps that continue one another, joined into one over the whole sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from attnwidget.attention.combining import spread
from attnwidget.attention.maskparts import Tail
from attnwidget.attention.masks import CLOSED, OPEN, RULE, Mask
from attnwidget.attention.recognise import recognise_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Bools, Floats

    Ints: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class StepMask:
    """What the rows of one step may look at.

    Attributes:
        row: its first row, counted over the whole.
        n_rows: how many it has.
        key: position of its first column.
        n_keys: how many it has; keys outside of them could not be seen.
        mask: (n_rows, n_keys); None where everything is allowed.
    """

    row: int
    n_rows: int
    key: int
    n_keys: int
    mask: Mask | Tail | None


def join_masks(steps: Sequence[StepMask], *, n_rows: int, n_keys: int, ends: Ints | None = None) -> Mask | None:
    """One mask for all steps: rules where some reproduce them exactly, else bits.

    Args:
        steps: their rows follow one another and cover all of them.
        n_rows: rows of the whole.
        n_keys: keys of the whole.
        ends: (B,), from which row on an example has nothing to show: those rows see nothing.

    Returns:
        The mask; None if everything is allowed and nothing added.
    """
    rows = _Rows(steps, n_rows, n_keys, ends)
    found = rows.rules() if rows.plain else None
    if found is None:
        found = recognise_mask(_expand(steps, n_rows, n_keys, ends), n_queries=n_rows, n_keys=n_keys)
    relative = _join_relative(steps, n_rows, n_keys)
    bias = None if relative is not None else _join_bias(steps, n_rows, n_keys)
    if bias is None and relative is None:
        nothing = found is None or (found.highest is None and found.lowest is None and found.nbytes == 0)
        return None if nothing else found
    return replace(found or Mask(n_rows, n_keys), bias=bias, relative=relative)


class _Rows:
    """Every row as the interval of keys it sees, some of them hidden: linear in the number of rows."""

    def __init__(self, steps: Sequence[StepMask], n_rows: int, n_keys: int, ends: Ints | None) -> None:
        self.n_rows, self.n_keys = n_rows, n_keys
        self.plain = True
        self.low, self.high = np.zeros((1, n_rows), np.intp), np.full((1, n_rows), -1, np.intp)
        self.hidden: list[tuple[slice, Bools]] = []  # rows, and (B | 1, n_keys) keys that they may look at
        for step in steps:
            self._add(step)
        if ends is not None:
            self._widen(len(ends))
        self.over = np.zeros((1, n_rows), np.bool_) if ends is None else np.arange(n_rows) >= ends[:, None]
        self.high = np.where(self.over, -1, self.high)

    def _add(self, step: StepMask) -> None:
        rows, last = slice(step.row, step.row + step.n_rows), step.key + step.n_keys - 1
        mask = step.mask
        if isinstance(mask, Tail):
            self._widen(len(mask.starts))
            self.low[:, rows], self.high[:, rows] = step.key + mask.starts[:, None], last
            return
        self.low[:, rows], self.high[:, rows] = step.key, last
        if mask is None:
            return
        if mask.bits is not None or (mask.rows is not None and (mask.rows == OPEN).any()):
            self.plain = False
            return
        if mask.ranges is not None:
            if mask.ranges.shape[1] > 1 or mask.ranges.shape[3] > 1:  # heads of their own, or more than one range
                self.plain = False
                return
            self._widen(len(mask.ranges))
            start, stop = mask.ranges[:, 0, :, 0, 0], mask.ranges[:, 0, :, 0, 1]  # (B | 1, rows)
            self.low[:, rows] = step.key + start
            self.high[:, rows] = np.where(start < stop, step.key + stop - 1, -1)
        numbers = np.arange(step.n_rows)
        if mask.lowest is not None:
            self.low[:, rows] = np.maximum(self.low[:, rows], step.key + numbers + mask.lowest)
        if mask.highest is not None:
            self.high[:, rows] = np.minimum(self.high[:, rows], step.key + numbers + mask.highest)
        if mask.rows is not None:
            self._widen(len(mask.rows))
            self.high[:, rows] = np.where(mask.rows == CLOSED, -1, self.high[:, rows])
        if mask.keys is not None:
            self._widen(len(mask.keys))
            keys = np.zeros((len(mask.keys), self.n_keys), np.bool_)
            keys[:, step.key : last + 1] = mask.keys
            self.hidden.append((rows, keys))

    def _widen(self, examples: int) -> None:
        if examples > self.low.shape[0]:
            self.low, self.high = (part.repeat(examples, axis=0) for part in (self.low, self.high))

    def rules(self) -> Mask | None:
        """A band, or a range for each row, and key padding, that reproduce every row exactly."""
        low, high = self.low.copy(), self.high.copy()
        for rows, keys in self.hidden:  # to the first and the last key that is not hidden
            low[:, rows], high[:, rows] = _trim(keys, low[:, rows], high[:, rows])
        seen = self._seen()
        filled = low <= high
        if not filled.any():
            return None
        numbers = np.arange(self.n_rows)
        lowest, highest = int((low - numbers)[filled].min()), int((high - numbers)[filled].max())
        padding = None if seen.all() else seen[:1] if (seen == seen[0]).all() else seen
        for first, last in ((None, None), (None, highest), (lowest, None), (lowest, highest)):
            kinds = self._kinds(seen, low, high, first, last)
            if kinds is not None:
                exceptions = None if not kinds.any() else kinds[:1] if (kinds == kinds[0]).all() else kinds
                return Mask(self.n_rows, self.n_keys, first, last, padding, exceptions)
        return self._ranges(seen, low, high, padding)

    def _ranges(self, seen: Bools, low: Ints, high: Ints, padding: Bools | None) -> Mask | None:
        """A range for each row, and padding; None if some row hides keys that others see."""
        same = _count(seen, low, high) == high - low + 1
        for rows, keys in self.hidden:
            same[:, rows] = _count(seen != keys, low[:, rows], high[:, rows]) == 0
        filled = low <= high
        if not (same | ~filled).all():
            return None
        ranges = np.where(filled[..., None], np.stack([low, high + 1], axis=-1), 0).astype(np.int32)
        return Mask(self.n_rows, self.n_keys, keys=padding, ranges=ranges[:, None, :, None])

    def _seen(self) -> Bools:
        """(B, n_keys): which keys any row sees."""
        examples = max([self.low.shape[0], *(len(keys) for _, keys in self.hidden)])
        seen = np.zeros((examples, self.n_keys), np.bool_)
        free = np.ones(self.n_rows, np.bool_)
        for rows, keys in self.hidden:
            free[rows] = False
            seen |= _covered(self.low[:, rows], self.high[:, rows], self.n_keys) & keys
        return seen | _covered(self.low[:, free], self.high[:, free], self.n_keys)

    def _kinds(
        self, seen: Bools, low: Ints, high: Ints, lowest: int | None, highest: int | None
    ) -> NDArray[np.int8] | None:
        """(B, n_rows): rows that the rule describes, and closed ones; None if some row is neither."""
        numbers = np.arange(self.n_rows)[None]
        first = np.zeros_like(numbers) if lowest is None else np.clip(numbers + lowest, 0, self.n_keys)
        last = (
            np.full_like(numbers, self.n_keys - 1)
            if highest is None
            else np.minimum(numbers + highest, self.n_keys - 1)
        )
        first, last = _trim(seen, first, last)
        empty = low > high
        same = (first == low) & (last == high) & (_count(seen, first, last) == high - low + 1)
        for rows, keys in self.hidden:
            off = _count(seen != keys, first[:, rows], last[:, rows])
            same[:, rows] = (first[:, rows] == low[:, rows]) & (last[:, rows] == high[:, rows]) & (off == 0)
        same |= empty & (first > last)
        if not (same | empty).all():
            return None
        return np.where(same, RULE, CLOSED).astype(np.int8)


def _trim(keys: Bools, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Intervals (B | 1, r) cut to their first and last true key; low > high where there is none."""
    count = keys.shape[1]
    places = np.arange(count)
    following = np.minimum.accumulate(np.where(keys, places, count)[:, ::-1], axis=1)[:, ::-1]
    following = np.pad(following, ((0, 0), (0, 1)), constant_values=count)  # (B, n + 1): the next true key from here
    before = np.pad(np.maximum.accumulate(np.where(keys, places, -1), axis=1), ((0, 0), (1, 0)), constant_values=-1)
    return _at(following, np.clip(low, 0, count)), _at(before, np.clip(high + 1, 0, count))


def _count(keys: Bools, low: Ints, high: Ints) -> Ints:
    """How many true keys intervals (B | 1, r) hold."""
    sums = np.pad(keys.cumsum(axis=1), ((0, 0), (1, 0)))
    count: Ints = np.maximum(
        _at(sums, np.clip(high + 1, 0, keys.shape[1])) - _at(sums, np.clip(low, 0, keys.shape[1])), 0
    )
    return count


def _at(table: Ints, places: Ints) -> Ints:
    """Entries of each example's row of a table."""
    examples = max(table.shape[0], places.shape[0])
    table, places = (np.broadcast_to(part, (examples, part.shape[1])) for part in (table, places))
    return np.take_along_axis(table, places, axis=1)


def _covered(low: Ints, high: Ints, n_keys: int) -> Bools:
    """(B | 1, n_keys): keys that lie in any of the intervals."""
    edges = np.zeros((low.shape[0], n_keys + 1), np.intp)
    examples, rows = np.nonzero(low <= high)
    np.add.at(edges, (examples, low[examples, rows]), 1)
    np.add.at(edges, (examples, high[examples, rows] + 1), -1)
    covered: Bools = edges[:, :-1].cumsum(axis=1) > 0
    return covered


def _expand(steps: Sequence[StepMask], n_rows: int, n_keys: int, ends: Ints | None) -> Bools:
    """All of it, (B | 1, H | 1, n_rows, n_keys)."""
    masks = [step.mask.whole() if isinstance(step.mask, Tail) else step.mask for step in steps]
    known = [mask for mask in masks if mask is not None]
    parts = [part for mask in known for part in (mask.keys, mask.rows, mask.bits, mask.ranges) if part is not None]
    examples = max([1 if ends is None else len(ends), *(len(part) for part in parts)])
    heads = max([1, *(part.shape[1] for mask in known for part in (mask.bits, mask.ranges) if part is not None)])
    whole = np.zeros((examples, heads, n_rows, n_keys), np.bool_)
    for step, mask in zip(steps, masks, strict=True):
        rows, columns = slice(step.row, step.row + step.n_rows), slice(step.key, step.key + step.n_keys)
        for example in range(examples):
            whole[example, :, rows, columns] = (
                True
                if mask is None
                else mask.allowed(example, slice(0, heads), slice(0, step.n_rows), slice(0, step.n_keys))
            )
    if ends is not None:
        whole &= np.arange(n_rows)[:, None] < ends[:, None, None, None]
    return whole


def _join_relative(steps: Sequence[StepMask], n_rows: int, n_keys: int) -> Floats | None:
    """A number for each distance that every step adds, (B | 1, H | 1, n_rows + n_keys - 1); None if there is none."""
    found: list[tuple[int, Floats]] = []
    for step in steps:
        if step.mask is None or isinstance(step.mask, Tail):
            return None
        table, bias = step.mask.relative, step.mask.bias
        if table is None and bias is not None and step.n_rows == 1:
            table = np.broadcast_to(bias, (*bias.shape[:3], step.n_keys))[
                :, :, 0
            ]  # one row: a number for each distance
        if table is None:
            return None
        found.append((step.key - step.row - step.n_rows + n_rows, table))  # where the first of its numbers goes
    examples, heads = (max(table.shape[axis] for _, table in found) for axis in (0, 1))
    joined = np.full((examples, heads, n_rows + n_keys - 1), np.nan, np.float32)
    for first, table in found:
        part = joined[:, :, first : first + table.shape[2]]
        if not (np.isnan(part) | (part == table)).all():
            return None
        part[:] = table
    return np.nan_to_num(joined, nan=0.0, posinf=np.inf, neginf=-np.inf)


def _join_bias(steps: Sequence[StepMask], n_rows: int, n_keys: int) -> Floats | None:
    """What is added to the scores, (B | 1, H | 1, n_rows | 1, n_keys); None for nothing."""
    biases = [None if step.mask is None or isinstance(step.mask, Tail) else _bias_of(step.mask) for step in steps]
    known = [bias for bias in biases if bias is not None]
    if not known:
        return None
    examples, heads = (max(bias.shape[axis] for bias in known) for axis in (0, 1))
    if len(known) == len(biases) and all(bias.shape[2] == 1 for bias in known):
        # One row of them for all queries, as ALiBi adds one: kept as one if the steps agree.
        row = np.zeros((examples, heads, 1, n_keys), np.float32)
        written, agree = 0, True
        for step, bias in zip(steps, known, strict=True):
            columns = slice(step.key, step.key + step.n_keys)
            old = slice(step.key, max(step.key, min(written, columns.stop)))
            wide = np.broadcast_to(bias, (examples, heads, 1, step.n_keys))
            agree = agree and step.key <= written and np.array_equal(row[..., old], wide[..., : old.stop - old.start])
            row[..., columns], written = wide, max(written, columns.stop)
        if agree:
            return row
    whole = np.zeros((examples, heads, n_rows, n_keys), np.float32)
    for step, part in zip(steps, biases, strict=True):
        if part is not None:
            whole[:, :, step.row : step.row + step.n_rows, step.key : step.key + step.n_keys] = part
    return whole


def _bias_of(mask: Mask) -> Floats | None:
    return mask.bias if mask.relative is None else spread(mask)
