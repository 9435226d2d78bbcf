"""How much more one side of a comparison gives than the other: half of a signed difference, on the scale of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from attnwidget.attention.around import Around

if TYPE_CHECKING:
    from attnwidget.attention.protocol import Attention, Bools, Floats, Index


class ExcessAttention(Around):
    """max(w - other, 0) of every pair of tokens that both sides have; together with its mirror image the difference.

    It lies in [0, 1], so it is pooled and sent as weights are. A pair is allowed where either side allows it: the side
    that forbids it counts with a weight of 0.

    Args:
        whole: the side whose surplus this is.
        other: of the same shape, in the same frame.
        queries: (Tq,) which queries both sides have.
        keys: (Tk,) likewise.
    """

    n_key_heads = None
    head_size = None
    window = None

    def __init__(self, whole: Attention, other: Attention, queries: Bools, keys: Bools) -> None:
        super().__init__(whole)
        self.other = other
        self._queries, self._keys = queries, keys

    @property
    def n_queries(self) -> int:
        """Queries of the frame."""
        return self.whole.n_queries

    @property
    def n_keys(self) -> int:
        """Keys of the frame."""
        return self.whole.n_keys

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return f"excess over {self.other.detail}"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """What is more here than there, (h, q, k); 0 where it is less, or where one side lacks a token."""
        more = self.whole.weights(example, heads, queries, keys) - self.other.weights(example, heads, queries, keys)
        found: Floats = np.where(self._shared(queries, keys), np.maximum(more, np.float32(0)), np.float32(0))
        return found

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> NoReturn:  # noqa: ARG002
        """Not defined: raises."""
        raise ValueError("a difference of weights has no scores, only its two sides have: ask the captures compared")

    def sink_share(self, example: int, heads: Index, queries: Index) -> NoReturn:  # noqa: ARG002
        """Not defined: raises."""
        raise ValueError("a difference of weights has no share of a sink, only its two sides have: ask the captures")

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs both sides have and either allows, broadcastable to (h, q, k)."""
        here = self.whole.allowed(example, heads, queries, keys)
        there = self.other.allowed(example, heads, queries, keys)
        return (here | there) & self._shared(queries, keys)

    def has_nan(self) -> bool:
        """Whether weights of either side are not numbers."""
        return self.whole.has_nan() or self.other.has_nan()

    def _shared(self, queries: Index, keys: Index) -> Bools:
        return self._queries[queries][:, None] & self._keys[keys]
