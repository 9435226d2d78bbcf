"""Attention whose rows were computed over keys that changed on the way, as a quantized cache changes them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.memory import MEMORY, not_on_disk
from attnwidget.attention.protocol import Bools, Floats, Index, length_of, positions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from attnwidget.attention.factored import FactoredAttention
    from attnwidget.attention.masks import Mask
    from attnwidget.attention.pairdetail import PairDetail
    from attnwidget.attention.probe import Probe


class SegmentedAttention:
    """Rows of several attentions over the same keys, one after another. Each row is computed from the keys it saw.

    Args:
        parts: with the same examples, heads and keys; each holds the rows after those of the one before.
        mask: of all rows, where it is known; each part has its own rows of it.
        probe: what to check the weights by.

    Raises:
        ValueError: no parts, or parts that differ in more than their rows.
    """

    def __init__(
        self, parts: Sequence[FactoredAttention], mask: Mask | None = None, probe: Probe | None = None
    ) -> None:
        shapes = {(part.n_examples, part.n_heads, part.n_keys) for part in parts}
        if len(shapes) != 1:
            raise ValueError(f"parts have (batch, heads, keys) = {sorted(shapes)}; expected one shape for all of them")
        self.parts = tuple(parts)
        self.mask, self.probe = mask, probe
        self._starts = np.cumsum([0, *(part.n_queries for part in parts)])

    @property
    def n_examples(self) -> int:
        """Examples in the batch."""
        return self.parts[0].n_examples

    @property
    def n_heads(self) -> int:
        """Query heads."""
        return self.parts[0].n_heads

    @property
    def n_key_heads(self) -> int:
        """Key-value heads."""
        return self.parts[0].n_key_heads

    @property
    def head_size(self) -> int:
        """Numbers in a query of one head."""
        return self.parts[0].head_size

    @property
    def n_queries(self) -> int:
        """Rows, padding included."""
        return int(self._starts[-1])

    @property
    def n_keys(self) -> int:
        """Columns, padding included."""
        return self.parts[0].n_keys

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at; None where nothing bounds them."""
        return None if self.mask is None else self.mask.window

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are."""
        held = Counter({MEMORY: sum(part.nbytes for part in (self.mask, self.probe) if part is not None)})
        for part in self.parts:
            held.update(part.held)
        return held

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""
        return not_on_disk(self.held)

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        dtypes = dict.fromkeys(str(part.q.dtype).removeprefix("torch.") for part in self.parts)
        words = [f"q k {'/'.join(dtypes)}", f"keys in {len(self.parts)} versions"]
        if self.mask is not None and self.mask.describe():
            words.append(self.mask.describe())
        return ", ".join(words)

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights after the softmax, (h, q, k)."""
        return self._rows(lambda part, rows: part.weights(example, heads, rows, keys), heads, queries, keys)

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Scores before the softmax, scale and soft cap applied, mask and bias not, (h, q, k)."""
        return self._rows(lambda part, rows: part.scores(example, heads, rows, keys), heads, queries, keys)

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row goes to an attention sink that is no token, (h, q)."""
        found = self._rows(
            lambda part, rows: part.sink_share(example, heads, rows)[:, :, None], heads, queries, slice(0, 1)
        )
        return found[:, :, 0]

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask allows, broadcastable to (h, q, k)."""
        if self.mask is None:
            return np.ones((1, 1, 1), dtype=np.bool_)
        return self.mask.allowed(example, heads, queries, keys)

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:
        """How one weight came about, from the key as its row saw it."""
        number = int(np.searchsorted(self._starts, query, side="right")) - 1
        return self.parts[number].pair_detail(example, head, query - int(self._starts[number]), key)

    def probe_errors(self) -> Floats | None:
        """(B, H, r), how far softmax(...) v is from the output of the run; None without a probe."""
        return None if self.probe is None else self.probe.errors(self)

    def has_nan(self) -> bool:
        """Whether weights that the mask allows are not numbers."""
        return any(part.has_nan() for part in self.parts)

    def _rows(
        self, question: Callable[[FactoredAttention, Index], Floats], heads: Index, queries: Index, keys: Index
    ) -> Floats:
        """Ask each part for the rows that are its own."""
        rows = positions_of(queries, self.n_queries)
        shape = length_of(heads, self.n_heads), len(rows), length_of(keys, self.n_keys)
        answer = np.empty(shape, dtype=np.float32)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(owners):
            mine = owners == number
            answer[:, mine] = question(self.parts[number], rows[mine] - self._starts[number])
        return answer

    def __repr__(self) -> str:
        size = f"{self.n_examples} x {self.n_heads} heads, {self.n_queries} x {self.n_keys}"
        return f"SegmentedAttention({size}, {self.detail})"
