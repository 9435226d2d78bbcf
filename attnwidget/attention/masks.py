"""A mask in a few numbers: bands and padding as rules, anything else as bits, additive biases as they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
        bits: (B | 1, H | 1, Tq, ceil(Tk / 8)), the packed mask where no rule reproduces it.
        bias: (B | 1, H | 1, Tq | 1, Tk | 1), added to the score before the softmax.
    """

    n_queries: int
    n_keys: int
    lowest: int | None = None
    highest: int | None = None
    keys: Bools | None = None
    rows: NDArray[np.int8] | None = None
    bits: NDArray[np.uint8] | None = None
    bias: Floats | None = None

    @classmethod
    def causal(cls, n_queries: int, n_keys: int) -> Mask:
        """The causal mask as PyTorch aligns it: query i sees keys 0 to i."""
        return cls(n_queries, n_keys, highest=0)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(part.nbytes for part in (self.keys, self.rows, self.bits, self.bias) if part is not None)

    @property
    def is_causal(self) -> bool:
        """Whether no query sees a key to its right (for square attention)."""
        return self.highest is not None and self.highest <= 0 and self.rows is None

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at; None where nothing bounds them."""
        return None if self.lowest is None or self.highest is None else self.highest - self.lowest + 1

    def describe(self) -> str:
        """In a few words: "causal, window 4, padding"."""
        words = []
        if self.highest is not None:
            words.append("causal" if self.highest == 0 else f"up to {self.highest:+d}")
        if self.lowest is not None:
            words.append(f"window {1 - self.lowest}" if self.highest == 0 else f"from {self.lowest:+d}")
        for part, word in ((self.keys, "padding"), (self.bits, "mask"), (self.bias, "bias")):
            if part is not None:
                words.append(word)
        return ", ".join(words)

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs are allowed, broadcastable to (h, q, k)."""
        result: Bools = np.ones((1, 1, 1), dtype=np.bool_)
        if self.bits is not None:
            result = self._unpack(example, heads, queries, keys)
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
        """What is added to the scores, broadcastable to (h, q, k); None for nothing."""
        if self.bias is None:
            return None
        bias = _pick(_example(self.bias, example), heads, queries)  # (h | 1, q | 1, Tk | 1)
        return bias if bias.shape[2] == 1 else bias[:, :, keys]

    def _unpack(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        assert self.bits is not None  # noqa: S101 - the caller has looked; this is for the type checker
        packed = _pick(_example(self.bits, example), heads, queries)  # (h | 1, q, ceil(Tk / 8))
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
    """(H | 1, Tq | 1, n) -> (h | 1, q | 1, n)."""
    if part.shape[0] > 1:
        part = part[heads]
    return part if part.shape[1] == 1 else part[:, queries]
