"""A mask in a few numbers: bands, ranges and padding as rules, anything else as bits; what is added to the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.mask_words import describe_added, describe_ranges
from attnwidget.attention.protocol import Bools, Floats, Index, positions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

RULE, CLOSED, OPEN = 0, 1, 2
"""What a row of `Mask.rows` does: follows the rule, sees nothing, sees everything."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Which query may look at which key, and what is added to its score.

    A pair (i, j) is allowed if every part that is set allows it. Parts with a first axis of 1 hold for every example,
    parts with a head axis of 1 for every head.

    Attributes:
        n_queries: rows.
        n_keys: columns.
        lowest: j - i is at least this (a window reaching back).
        highest: j - i is at most this (0 for causal attention).
        keys: (B | 1, Tk), keys that are not padding.
        rows: (B | 1, Tq), exceptions to the rules: `CLOSED` and `OPEN` rows.
        bits: (B | 1, H | 1, Tq | 1, ceil(Tk / 8)), the packed mask where no rule reproduces it.
        bias: (B | 1, H | 1, Tq | 1, Tk | 1), added to the score before the softmax.
        ranges: (B | 1, H | 1, Tq, m, 2), each query sees keys [start, stop) of up to m ranges: chunks, packed
            documents, a prefix that is seen both ways. Ranges that are not needed are empty.
        relative: (B | 1, H | 1, Tq + Tk - 1), added likewise, instead of `bias`: a number for each j - i, from 1 - Tq
            on.
    """

    n_queries: int
    n_keys: int
    lowest: int | None = None
    highest: int | None = None
    keys: Bools | None = None
    rows: NDArray[np.int8] | None = None
    bits: NDArray[np.uint8] | None = None
    bias: Floats | None = None
    ranges: NDArray[np.int32] | None = None
    relative: Floats | None = None

    @classmethod
    def causal(cls, n_queries: int, n_keys: int) -> Mask:
        """The causal mask as PyTorch aligns it: query i sees keys 0 to i."""
        return cls(n_queries, n_keys, highest=0)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        parts = (self.keys, self.rows, self.bits, self.bias, self.ranges, self.relative)
        return sum(part.nbytes for part in parts if part is not None)

    def check_fits(self, n_examples: int, n_heads: int, n_queries: int, n_keys: int) -> None:
        """Raise a ValueError unless this is a mask of that size, one for all examples and heads or one for each."""
        if (self.n_queries, self.n_keys) != (n_queries, n_keys):
            raise ValueError(
                f"the mask is {self.n_queries} x {self.n_keys}; expected queries x keys, here {n_queries} x {n_keys}"
            )
        by_head = {"bits": self.bits, "bias": self.bias, "ranges": self.ranges, "relative": self.relative}
        for name, part in {"keys": self.keys, "rows": self.rows, **by_head}.items():
            if part is None:
                continue
            heads = part.shape[1] if name in by_head else 1
            if part.shape[0] not in (1, n_examples) or heads not in (1, n_heads):
                raise ValueError(
                    f"{name!r} of the mask has shape {part.shape}; expected one entry for all of {n_examples} examples "
                    f"and {n_heads} heads, or one for each"
                )

    @property
    def is_causal(self) -> bool:
        """Whether a rule keeps every query from keys to its right (for square attention)."""
        if self.rows is not None:
            return False
        if self.highest is not None and self.highest <= 0:
            return True
        ends = (
            None if self.ranges is None else np.where(self.ranges[..., 0] < self.ranges[..., 1], self.ranges[..., 1], 0)
        )
        return ends is not None and bool((ends <= np.arange(1, self.n_queries + 1)[:, None]).all())

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at; None where nothing bounds them."""
        return None if self.lowest is None or self.highest is None else self.highest - self.lowest + 1

    @cached_property
    def is_finite(self) -> bool:
        """Whether all that is added to scores is a number, and finite."""
        added = (part for part in (self.bias, self.relative) if part is not None)
        return all(math.isfinite(part.sum(dtype=np.float64)) for part in added)

    def describe(self) -> str:
        """In a few words: "causal, window 4, padding"."""
        words = []
        if self.highest is not None and self.highest > 0 and self.lowest == -self.highest:
            words.append(f"within {self.highest} tokens")
        else:
            if self.highest is not None:
                words.append("causal" if self.highest == 0 else f"up to {self.highest:+d}")
            if self.lowest is not None:
                words.append(f"window {1 - self.lowest}" if self.highest == 0 else f"from {self.lowest:+d}")
        if self.ranges is not None:
            words.append(describe_ranges(self.ranges, self.keys, self.n_keys))
        words += [word for part, word in ((self.keys, "padding"), (self.bits, "mask")) if part is not None]
        if self.bias is not None or self.relative is not None:
            words.append(describe_added(self.bias, self.relative, self.n_queries))
        return ", ".join(words)

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs are allowed, broadcastable to (h, q, k)."""
        result: Bools = np.ones((1, 1, 1), dtype=np.bool_)
        if self.bits is not None:
            result = self._unpack(example, heads, queries, keys)
        if self.ranges is not None:
            result = result & self._within(self.ranges, example, heads, queries, keys)
        if self.highest is not None or self.lowest is not None:
            rows = positions_of(queries, self.n_queries)[:, None]  # (q, 1)
            columns = positions_of(keys, self.n_keys)[None, :]  # (1, k)
            if self.highest is not None:
                result = result & (columns <= rows + self.highest)
            if self.lowest is not None:
                result = result & (columns >= rows + self.lowest)
        if self.keys is not None:
            result = result & _example(self.keys, example)[keys]
        if self.rows is not None:
            rows_kind = _example(self.rows, example)[queries][:, None]  # (q, 1)
            result = (result & (rows_kind != CLOSED)) | (rows_kind == OPEN)
        return result

    def added(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats | None:
        """What is added to the scores of allowed pairs, broadcastable to (h, q, k); None for nothing."""
        if self.relative is not None:
            return self._by_distance(self.relative, example, heads, queries, keys)
        if self.bias is None:
            return None
        bias = _pick(_example(self.bias, example), heads, queries)  # (h | 1, q | 1, Tk | 1)
        return bias if bias.shape[2] == 1 else bias[:, :, keys]

    def _within(self, ranges: NDArray[np.int32], example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        picked = _pick(_example(ranges, example), heads, queries)  # (h | 1, q, m, 2)
        columns = positions_of(keys, self.n_keys).astype(np.int32)
        within: Bools = np.zeros((*picked.shape[:2], len(columns)), dtype=np.bool_)
        for number in range(picked.shape[2]):
            start, stop = picked[:, :, number, :1], picked[:, :, number, 1:]  # (h | 1, q, 1)
            within |= (columns >= start) & (columns < stop)
        return within

    def _by_distance(self, table: Floats, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        picked = _example(table, example)
        picked = picked[heads] if picked.shape[0] > 1 else picked  # (h | 1, Tq + Tk - 1)
        rows, columns = positions_of(queries, self.n_queries), positions_of(keys, self.n_keys)
        last = self.n_queries - 1
        if isinstance(keys, slice) and len(columns):  # whole stretches at a time
            windows = np.lib.stride_tricks.sliding_window_view(picked, len(columns), axis=1)
            found: Floats = windows[:, columns[0] - rows + last]
        else:
            found = picked[:, columns[None, :] - rows[:, None] + last]
        return found

    def _unpack(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        assert self.bits is not None  # noqa: S101 - the caller has looked; this is for the type checker
        packed = _pick(_example(self.bits, example), heads, queries)  # (h | 1, q | 1, ceil(Tk / 8))
        columns = positions_of(keys, self.n_keys)
        if not len(columns):
            return np.zeros((*packed.shape[:2], 0), dtype=np.bool_)
        first, last = int(columns.min()) // 8, int(columns.max()) // 8 + 1
        unpacked = np.unpackbits(packed[:, :, first:last], axis=-1).view(np.bool_)
        return unpacked[:, :, columns - 8 * first]


def _example(part: NDArray[Any], example: int) -> NDArray[Any]:
    """The part of one example; a part with one entry holds for all of them."""
    found: NDArray[Any] = part[example if part.shape[0] > 1 else 0]
    return found


def _pick(part: NDArray[Any], heads: Index, queries: Index) -> NDArray[Any]:
    """(H | 1, Tq | 1, ...) -> (h | 1, q | 1, ...)."""
    if part.shape[0] > 1:
        part = part[heads]
    return part if part.shape[1] == 1 else part[:, queries]
