"""Attention between words: weights summed over the keys of a word and averaged over its queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.around import Around
from attnwidget.attention.limits import limits
from attnwidget.attention.protocol import Bools, Floats, Index, length_of, positions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Attention

    Places = NDArray[np.intp]

_PAIR_BYTES = 24
"""What a pair of tokens takes while it is added up: its weight twice, its sum in double precision, masks."""
_NEAR = 128
_LONG_WORD = 16


class WordAttention(Around):
    """A layer of tokens as one of words.

    The weight of a pair of words is the mean over the queries of one of the sum over the keys of the other, as in Clark
    et al. 2019, "What Does BERT Look At?", section 4.1. Queries that may look at nothing at all are left out of the
    mean; a row of words then sums to what rows of tokens do. A pair is allowed if any of its pairs of tokens is.

    Args:
        whole: the layer of tokens.
        query_edges: per example, (W + 1,) positions where words begin, and where the last one ends.
        key_edges: likewise.
    """

    def __init__(self, whole: Attention, query_edges: Sequence[Places], key_edges: Sequence[Places]) -> None:
        super().__init__(whole)
        self._queries, self._keys = tuple(query_edges), tuple(key_edges)
        # By example and head: (Tq,) of tokens, 1 where one may look at something, 0 where not, -1 not known yet.
        self._active: dict[tuple[int, int], NDArray[np.int8]] = {}

    @property
    def n_queries(self) -> int:
        """Words that look, of the longest example."""
        return max(len(edges) for edges in self._queries) - 1

    @property
    def n_keys(self) -> int:
        """Words that are looked at, of the longest example."""
        return max(len(edges) for edges in self._keys) - 1

    @property
    def head_size(self) -> None:
        """None: a word has no query or key vector."""
        return None

    @property
    def window(self) -> None:
        """Not known in words."""
        return None

    @property
    def own_bytes(self) -> int:
        """Of which queries may look at something."""
        return sum(each.nbytes for each in list(self._active.values()))

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return f"{self.whole.detail}, words"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights between words, (h, q, k)."""
        result = np.zeros(self._shape(heads, queries, keys))
        counts = np.zeros(result.shape[:2])
        columns, firsts = _tokens(self._keys[example], positions_of(keys, self.n_keys))
        for rows, owners in self._blocks(example, result.shape[0], queries, columns):
            weights = self.whole.weights(example, heads, rows, columns)
            weights = np.where(self.whole.allowed(example, heads, rows, columns), weights, np.float32(0))
            _add(result, owners, _over_keys(np.add, weights, firsts))
            _add(counts, owners, self._actives(example, heads, rows))
        mean: Floats = (result / np.maximum(counts, 1)[:, :, None]).astype(np.float32)
        return mean

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:  # noqa: ARG002
        """Not defined: raises."""
        raise ValueError(
            "scores belong to pairs of tokens, and these are words: ask the capture that in_words() was called on"
        )

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row of words goes to an attention sink that is no token, (h, q)."""
        result = np.zeros(self._shape(heads, queries, slice(0, 0))[:2])
        counts = np.zeros_like(result)
        for rows, owners in self._blocks(example, result.shape[0], queries, slice(0, 0)):
            active = self._actives(example, heads, rows)
            _add(result, owners, np.where(active > 0, self.whole.sink_share(example, heads, rows), 0))
            _add(counts, owners, active)
        mean: Floats = (result / np.maximum(counts, 1)).astype(np.float32)
        return mean

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs of words hold a pair of tokens that is allowed, broadcastable to (h, q, k)."""
        shape = self._shape(heads, queries, keys)
        columns, firsts = _tokens(self._keys[example], positions_of(keys, self.n_keys))
        parts: list[tuple[Places, Bools]] = []
        for rows, owners in self._blocks(example, shape[0], queries, columns):
            found = self.whole.allowed(example, heads, rows, columns)
            if found.shape[-1] > 1:
                found = _over_keys(np.logical_or, found, firsts)
            parts.append((owners, found))
        several = max((found.shape[0] for _, found in parts), default=1)
        wide = max((found.shape[2] for _, found in parts), default=1)
        result = np.zeros((several, shape[1], wide), dtype=np.bool_)
        for owners, found in parts:
            rows_each = np.broadcast_to(found, (several, len(owners), wide))
            begins = _begins(owners)
            result[:, owners[begins]] |= np.logical_or.reduceat(rows_each, begins, axis=1)
        return result

    def _shape(self, heads: Index, queries: Index, keys: Index) -> tuple[int, int, int]:
        return length_of(heads, self.n_heads), length_of(queries, self.n_queries), length_of(keys, self.n_keys)

    def _blocks(self, example: int, n_heads: int, queries: Index, columns: Index) -> Iterator[tuple[Index, Places]]:
        """Tokens of words that look, so many that their pairs fit a block, and the row of the answer each adds to."""
        words = positions_of(queries, self.n_queries)
        tokens, firsts = _tokens(self._queries[example], words)
        positions = positions_of(tokens, self.whole.n_queries)
        owners = np.zeros(len(positions), dtype=np.intp)
        owners[firsts[1:]] = 1
        owners = owners.cumsum()
        width = max(1, n_heads * length_of(columns, self.whole.n_keys))
        step = max(1, limits.block_bytes // (_PAIR_BYTES * width))
        for start in range(0, len(positions), step):
            part = positions[start : start + step]
            index = slice(int(part[0]), int(part[-1]) + 1) if isinstance(tokens, slice) else part
            yield index, owners[start : start + step]

    def _actives(self, example: int, heads: Index, rows: Index) -> NDArray[np.float64]:
        """(h, q), 1 for tokens that may look at something. The mean of a word of one token asks for nothing."""
        tokens = positions_of(rows, self.whole.n_queries)
        found = np.ones((length_of(heads, self.n_heads), len(tokens)))
        edges = self._queries[example]
        word = np.searchsorted(edges, tokens, side="right") - 1
        several = np.flatnonzero(np.diff(edges)[word] > 1)
        if not len(several):
            return found
        for place, head in enumerate(positions_of(heads, self.n_heads).tolist()):
            unknown = np.full(self.whole.n_queries, -1, dtype=np.int8)
            active = self._active.setdefault((example, head), unknown)
            missing = np.unique(tokens[several][active[tokens[several]] < 0])
            for start in range(0, len(missing), _NEAR):
                part = missing[start : start + _NEAR]
                active[part] = self._may_look(example, head, part)
            found[place, several] = active[tokens[several]]
        return found

    def _may_look(self, example: int, head: int, rows: Places) -> Bools:
        """Which tokens may look at something: at their neighbours nearly always, else every key is asked."""
        first, stop = int(self._keys[example][0]), int(self._keys[example][-1])
        near = slice(max(first, min(int(rows[0]), stop - _NEAR)), min(stop, int(rows[-1]) + 1))
        found = self._any(example, head, rows, near)
        rest = np.flatnonzero(~found)
        step = max(1, limits.block_bytes // (_PAIR_BYTES * max(1, len(rest))))
        for start in range(first, stop, step) if len(rest) else ():
            found[rest] |= self._any(example, head, rows[rest], slice(start, min(stop, start + step)))
        return found

    def _any(self, example: int, head: int, rows: Places, keys: slice) -> Bools:
        if keys.stop <= keys.start:
            return np.zeros(len(rows), dtype=np.bool_)
        allowed = self.whole.allowed(example, slice(head, head + 1), rows, keys)[0].any(axis=-1)
        return np.broadcast_to(allowed, len(rows)).copy()


def _tokens(edges: Places, words: Places) -> tuple[Index, Places]:
    """The tokens of words, and where those of each begin among them."""
    if not len(words):
        return slice(0, 0), words
    lengths = edges[words + 1] - edges[words]
    firsts = np.cumsum(lengths) - lengths
    if (np.diff(words) == 1).all():
        return slice(int(edges[words[0]]), int(edges[words[-1] + 1])), firsts
    return np.repeat(edges[words] - firsts, lengths) + np.arange(lengths.sum()), firsts


def _begins(owners: Places) -> Places:
    """Where the rows of each owner begin."""
    return np.flatnonzero(np.diff(owners, prepend=-1))


def _add(result: NDArray[np.float64], owners: Places, rows: NDArray[np.floating]) -> None:
    """Add rows, along the second axis, to those of their owners, which come in order."""
    begins = _begins(owners)
    result[:, owners[begins]] += np.add.reduceat(rows, begins, axis=1, dtype=np.float64)


def _over_keys(merge: np.ufunc, values: NDArray[Any], firsts: Places) -> NDArray[Any]:
    """Merge along the last axis, from each of these places up to the next."""
    lengths = np.diff(firsts, append=values.shape[-1])
    longest = int(lengths.max(initial=1))
    if longest > _LONG_WORD:
        merged: NDArray[Any] = merge.reduceat(
            values, firsts, axis=-1, dtype=None if values.dtype == bool else np.float64
        )
        return merged
    # Words are short: a few additions of whole columns take half the time.
    merged = values[..., firsts]
    for step in range(1, longest):
        longer = np.flatnonzero(lengths > step)
        merged[..., longer] = merge(merged[..., longer], values[..., firsts[longer] + step])
    return merged
