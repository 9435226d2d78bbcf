"""One pass over the rows of a layer, a bounded block at a time: means over rows, and what each key receives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.bins import Bins, Picks
from attnwidget.attention.limits import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from attnwidget.attention import Tokens
    from attnwidget.attention.protocol import Attention, Bools, Floats
    from attnwidget.attention.stack import Span

_MOST_NUMBERS = 1 << 20
"""Weights in a block, at most, where a row of all heads has no more."""


@dataclass(frozen=True, eq=False)
class Side:
    """The tokens of one example, as numbers that can be compared.

    Attributes:
        queries: rows of the layer [a, b), padding cut off.
        keys: columns [c, d).
        ids: (d - c,) equal numbers for equal tokens.
        special: (d - c,) put there by the tokenizer.
        punctuation: (d - c,) of punctuation alone.
        same: queries and keys are the same tokens.
        window: how far is near, in tokens.
    """

    queries: Span
    keys: Span
    ids: NDArray[np.intp]
    special: Bools
    punctuation: Bools
    same: bool
    window: int

    @classmethod
    def of(cls, queries: Span, keys: Span, query_tokens: Tokens, key_tokens: Tokens, *, window: int) -> Side:
        """What can be compared of the tokens of one example."""
        numbers: dict[str, int] = {}
        ids = np.array([numbers.setdefault(piece, len(numbers)) for piece in key_tokens.pieces], dtype=np.intp)
        punctuation = np.array([_is_punctuation(text) for text in key_tokens.text], dtype=np.bool_)
        special = np.array(key_tokens.special, dtype=np.bool_)
        return cls(queries, keys, ids, special, punctuation & ~special, query_tokens == key_tokens, window)


@dataclass
class Mean:
    """Mean over the rows that count, head by head, and how far a sample of rows may be off.

    Attributes:
        total: (H,) sum over rows.
        squares: (H,) sum of squares.
        count: (H,) rows.
    """

    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    count: NDArray[np.float64]

    @classmethod
    def empty(cls, heads: int) -> Mean:
        """Of no rows."""
        return cls(np.zeros(heads), np.zeros(heads), np.zeros(heads))

    def add(self, values: NDArray[np.floating], counts: Bools) -> None:
        """Take in rows: values (H, r), those of them that count (H, r)."""
        taken = np.where(counts, values, 0).astype(np.float64)
        self.total += taken.sum(axis=1)
        self.squares += (taken**2).sum(axis=1)
        self.count += counts.sum(axis=1)

    @property
    def value(self) -> NDArray[np.float64]:
        """(H,), NaN without rows."""
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = self.total / np.where(self.count > 0, self.count, np.nan)
        return mean

    def error(self, share: float) -> NDArray[np.float64]:
        """(H,), the standard error of the mean of a sample of this share of all rows (Cochran 1977, section 2.6)."""
        n = np.where(self.count > 1, self.count, np.nan)
        variance = np.maximum(self.squares - self.total**2 / n, 0) / (n - 1)
        error: NDArray[np.float64] = np.sqrt(variance / n * max(0.0, 1 - share))
        return error


@dataclass(eq=False)
class Found:
    """What a pass over one layer found.

    Attributes:
        means: by column.
        received: (H, Tk) sums over the rows looked at.
        share: of all rows that were looked at.
    """

    means: dict[str, Mean]
    received: NDArray[np.float64]
    share: float = 1.0

    @classmethod
    def nothing(cls, n_heads: int, side: Side) -> Found:
        """Before the first row."""
        names = ["entropy", "spread", "max", "first", "special", "punctuation"]
        if side.same:
            names += ["distance", "self", "previous", "next", "near", "duplicate", "induction"]
        return cls({name: Mean.empty(n_heads) for name in names}, np.zeros((n_heads, side.keys[1] - side.keys[0])))


def stream(found: Found, layer: Attention, example: int, side: Side, rows: int | None) -> Iterator[float]:
    """Look at the rows of every head of a layer, a bounded block of them at a time.

    Only rows that may look at two keys at least count: a row that has no choice says nothing of the head.

    Args:
        found: of this layer; takes in what is found.
        layer: whose.
        example: of the batch.
        side: its tokens.
        rows: look at no more than so many rows, one in each of as many equal parts; all of them if None.

    Yields:
        The share of these rows that was looked at, after each block.
    """
    n_heads, (start, stop), (first, last) = layer.n_heads, side.queries, side.keys
    picked = sample(stop - start, rows)
    found.share = len(picked) / max(1, stop - start)
    looked = 0
    for block in blocks(picked, n_heads * (last - first)):
        at = block + start
        weights = layer.weights(example, slice(0, n_heads), at, slice(first, last))
        allowed = layer.allowed(example, slice(0, n_heads), at, slice(first, last))
        _take(found, np.nan_to_num(weights), allowed, block, side)
        looked += len(block)
        yield looked / len(picked)


def _take(found: Found, weights: Floats, allowed: Bools, rows: NDArray[np.intp], side: Side) -> None:
    """Add a block of rows: weights (H, r, Tk), allowed broadcastable to it, rows counted within the queries."""
    _, n_rows, n_keys = weights.shape
    choices = _choices(allowed, weights.shape)
    counts = choices > 1

    def add(name: str, values: NDArray[np.floating], among: Bools = counts) -> None:
        found.means[name].add(values, among)

    found.received += mass_received(weights, allowed)
    logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    entropy = -np.einsum("hrk,hrk->hr", weights, logs)
    add("entropy", entropy)
    add("spread", entropy / np.log2(np.maximum(choices, 2)))
    add("max", weights.max(axis=-1, initial=0))
    add("first", weights[:, :, 0])
    add("special", weights @ side.special.astype(np.float32))
    add("punctuation", weights @ side.punctuation.astype(np.float32))
    if not side.same:
        return
    near = np.arange(n_rows)
    for name, step in (("self", 0), ("previous", -1), ("next", 1)):
        keys = rows + step
        inside = (keys >= 0) & (keys < n_keys)
        add(name, weights[:, near, np.clip(keys, 0, n_keys - 1)] * inside)
    away = np.abs(rows[:, None] - np.arange(n_keys))  # (r, Tk)
    earlier = np.arange(n_keys) < rows[:, None]
    alike = (side.ids == side.ids[rows, None]) & earlier
    after = np.zeros_like(alike)
    after[:, 1:] = alike[:, :-1]  # token j-1 is the same, and j is not after i
    parts = np.stack([away, away <= side.window, alike, after], axis=-1).astype(np.float32)  # (r, Tk, 4)
    sums = np.matmul(weights.transpose(1, 0, 2), parts).transpose(2, 1, 0)  # (4, H, r)
    add("distance", sums[0])
    add("near", sums[1])
    for name, matches, share in (("duplicate", alike, sums[2]), ("induction", after, sums[3])):
        can = (matches & allowed).any(axis=-1)  # (H | 1, r): the mask may forbid all of them
        add(name, share, counts & can)


def mass_received(weights: Floats, allowed: Bools) -> Floats:
    """What each key receives, (H, Tk), from rows (H, r, Tk) that may look at two keys at least."""
    counts = _choices(allowed, weights.shape) > 1
    received: Floats = np.einsum("hrk,hr->hk", weights, counts.astype(np.float32))
    return received


def _choices(allowed: Bools, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """(H, r), how many keys each row may look at; allowed is broadcastable to the shape."""
    n_heads, n_rows, n_keys = shape
    choices = np.broadcast_to(allowed, (allowed.shape[0], n_rows, n_keys)).sum(axis=-1)  # (H | 1, r)
    return np.broadcast_to(choices, (n_heads, n_rows))


def sample(n: int, rows: int | None) -> NDArray[np.intp]:
    """All of n rows, or one of each of `rows` equal parts, always the same ones."""
    if rows is None or rows >= n:
        return np.arange(n, dtype=np.intp)
    (panel,) = Picks(Bins.even(0, n, rows), 1).panels(rows)
    return panel.positions[:, 0]


def blocks(rows: NDArray[np.intp], numbers_a_row: int) -> Iterator[NDArray[np.intp]]:
    """So many rows at a time as memory for a block allows."""
    # Weights, their logarithms and products with them are held at a time. Whoever works in slices waits for the end of
    # a block, so that it is not as large as memory allows.
    step = max(1, min(_MOST_NUMBERS, limits.block_bytes // (4 * 4)) // max(1, numbers_a_row))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _is_punctuation(text: str) -> bool:
    stripped = text.strip()
    return bool(stripped) and not any(char.isalnum() or char.isspace() for char in stripped)
