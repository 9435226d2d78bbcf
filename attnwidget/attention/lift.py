"""Lift over uniform: how much more a key gets than it would if its query looked everywhere alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from attnwidget.attention.around import Around
from attnwidget.attention.blockwise import pool_by_weights
from attnwidget.attention.limits import limits
from attnwidget.attention.marginals import row_entropies
from attnwidget.attention.protocol import Bools, Floats, Index, positions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.bins import Picks
    from attnwidget.attention.blockwise import Block
    from attnwidget.attention.factored import FactoredAttention
    from attnwidget.attention.masks import Mask
    from attnwidget.attention.pooling import Reduce
    from attnwidget.attention.probe import Probe
    from attnwidget.attention.protocol import Attention
    from attnwidget.attention.stack import Span

_PAIR_BYTES = 16
"""What a pair takes at most while it is counted."""


class LiftAttention(Around):
    """Attention whose weights are lift over uniform, on the scale of weights.

    A query that may look at n_i keys would give each of them 1 / n_i if it told none of them apart. The lift of a pair
    is its weight over that, w[i, j] * n_i: 1 is chance (the lift of association rules, Brin et al. 1997, with the
    uniform row as what is expected). Here it is divided by the number of keys n, so that it stays in [0, 1] and can be
    pooled and sent as weights are: w[i, j] * n_i / n.

    Args:
        attention: whose weights.
        key_spans: per example, the (start, stop) of keys that is not padding: only these are counted.
    """

    def __init__(self, attention: Attention, key_spans: Sequence[Span]) -> None:
        super().__init__(attention)
        self.key_spans = tuple(key_spans)
        self._known: dict[tuple[int, int], NDArray[np.int32]] = {}

    @property
    def mask(self) -> Mask | None:  # type: ignore[override]
        """Which pairs are allowed: as of the weights."""
        return self.whole.mask

    @property
    def probe(self) -> Probe | None:  # type: ignore[override]
        """What to check the weights by that the lift is made of."""
        return self.whole.probe

    @property
    def own_bytes(self) -> int:
        """Of what was counted."""
        return sum(counts.nbytes for counts in list(self._known.values()))

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return f"{self.whole.detail}, lift over uniform"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weight x keys allowed / keys, (h, q, k); 0 where the mask forbids."""
        return self.whole.weights(example, heads, queries, keys) * self.share(example, heads, queries)[:, :, None]

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Scores before the softmax, (h, q, k), as they are."""
        return self.whole.scores(example, heads, queries, keys)

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row of weights goes to an attention sink that is no token, (h, q)."""
        return self.whole.sink_share(example, heads, queries)

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask allows, broadcastable to (h, q, k)."""
        return self.whole.allowed(example, heads, queries, keys)

    def probe_errors(self) -> Floats | None:
        """(B, H, r), how far softmax(...) v is from the output of the run; None without a probe."""
        return self.whole.probe_errors()

    def entropies(self, example: int, head: int, rows: NDArray[np.intp]) -> Floats:
        """Entropy of whole rows of weights in bits, (q,): lift has the same rows, only longer."""
        return row_entropies(self.whole, example, head, rows)

    def pool(self, example: int, head: int, rows: Picks, keys: Picks, reduce: Reduce) -> Iterator[Block]:
        """Pool a rectangle of one head, block by block; rows are made longer before anything is compared."""
        if not hasattr(self.whole, "known_lse"):  # only factored attention has denominators, and needs torch
            return pool_by_weights(self, example, head, rows, keys, reduce)
        from attnwidget.attention.liftblocks import LiftBlocks

        return LiftBlocks(self, cast("FactoredAttention", self.whole), example, head).pool(rows, keys, reduce)

    def share(self, example: int, heads: Index, queries: Index) -> Floats:
        """Which part of all keys each query may look at, float32 (h | 1, q)."""
        start, stop = self.key_spans[example]
        places = positions_of(queries, self.n_queries)
        numbers = positions_of(heads, self.n_heads) if self._differ(example) else np.zeros(1, dtype=np.intp)
        counts = np.stack([self._counts(example, int(head), places) for head in numbers])
        return (counts / max(1, stop - start)).astype(np.float32)

    def _differ(self, example: int) -> bool:
        """Whether heads may look at different keys."""
        first = slice(0, min(1, self.n_queries)), slice(0, min(1, self.n_keys))
        return len(self.whole.allowed(example, slice(0, self.n_heads), *first)) > 1

    def _counts(self, example: int, head: int, places: NDArray[np.intp]) -> NDArray[np.int32]:
        """(q,) keys that may be looked at. Each query is counted once, whatever tiles it is seen in later."""
        known = self._known.setdefault((example, head), np.full(self.n_queries, -1, dtype=np.int32))
        unknown = np.unique(places[known[places] < 0])
        span = slice(*self.key_spans[example])
        n_keys = span.stop - span.start
        step = max(1, limits.block_bytes // (_PAIR_BYTES * max(1, n_keys)))
        for first in range(0, len(unknown), step):
            rows = unknown[first : first + step]
            allowed = self.whole.allowed(example, slice(head, head + 1), rows, span)[0]  # (q | 1, k | 1)
            known[rows] = np.count_nonzero(allowed, axis=1) * (n_keys if allowed.shape[1] == 1 else 1)
        return known[places]
