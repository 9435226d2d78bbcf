"""Along the edges of a tile: how much each key receives, and how broadly each query looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from attnwidget.attention.bins import Bins, Picks
from attnwidget.attention.limits import limits
from attnwidget.attention.pooling import Pooling
from attnwidget.attention.refining import Place
from attnwidget.attention.selection import check_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Attention, Floats
    from attnwidget.attention.refining import Cells
    from attnwidget.attention.selection import Select
    from attnwidget.attention.stack import AttentionStack

_PAIR_BYTES = 40
"""What a weight takes while the entropy of its row is computed: copies in double precision, and what a layer needs."""
_MOST_PAIRS = 1 << 20
_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Marginals:
    """What runs along the edges of a tile.

    Attributes:
        received: (width,) float32, per bin of keys the mean weight of its pairs with queries of the whole head that may
            look at them; NaN where there are none, or where a weight is not a number.
        entropy: (height,) float32, per bin of queries the mean entropy of their whole rows in bits; NaN where they may
            look at nothing.
        rows: from how many queries `received` comes, where not from all of them; None for all.
    """

    received: Floats
    entropy: Floats
    rows: int | None


@runtime_checkable
class KnowsEntropy(Protocol):
    """Attention that has a faster way to the entropy of rows than through their weights."""

    def entropies(self, example: int, head: int, rows: NDArray[np.intp]) -> Floats:
        """Entropy of whole rows in bits, (q,); NaN where nothing is allowed."""


def marginals(
    shown: AttentionStack,
    example: int,
    layer: object,
    head: object,
    *,
    queries: Select,
    keys: Select,
    cells: Cells,
    rows: int | None,
) -> Marginals:
    """The marginals of a rectangle; what is asked for is checked here, as `AttentionCapture.marginals` says.

    Args:
        shown: the stack.
        example: of the batch.
        layer: which layer.
        head: which head.
        queries: a range; all of them if None.
        keys: likewise.
        cells: how they are divided.
        rows: about how many queries are looked at for each of the two; None for all.

    Returns:
        Both.
    """
    if rows is not None:
        check_size("rows", rows)
    place = Place.of(shown, example, layer, head, queries, keys)
    asked, span = shown.layers[place.layer], shown.query_spans[example]
    query_bins, key_bins = cells.over(place.queries, place.keys)
    sampled = rows is not None and rows < span[1] - span[0]
    received = Pooling(
        asked,
        place.head,
        example=example,
        queries=Bins.even(*span, 1),
        keys=key_bins.shifted(shown.key_spans[example][0]),
        reduce="mean",
        rows=rows,
    ).finish()
    under_each = None if rows is None else max(1, int(rows) // len(query_bins))
    entropy = _mean_entropy(asked, place.head, example, Picks(query_bins.shifted(span[0]), under_each))
    received = np.where(np.isinf(received[0]), np.float32(np.nan), received[0])  # a weight that is not a number
    return Marginals(received, entropy, rows if sampled else None)


def _mean_entropy(layer: Attention, head: int, example: int, rows: Picks) -> Floats:
    sums, counts = np.zeros(len(rows.bins)), np.zeros(len(rows.bins), dtype=np.intp)
    for panel in rows.panels(_ROWS):
        places = np.delete(panel.positions.reshape(-1), panel.repeats)
        owners = np.repeat(np.arange(len(panel.counts)), panel.counts) + panel.first
        entropies = row_entropies(layer, example, head, places)
        seen = ~np.isnan(entropies)
        np.add.at(sums, owners[seen], entropies[seen])
        np.add.at(counts, owners[seen], 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def row_entropies(layer: Attention, example: int, head: int, rows: NDArray[np.intp]) -> Floats:
    """Entropy of whole rows in bits, (q,); NaN where nothing is allowed, or where a weight is not a number."""
    if isinstance(layer, KnowsEntropy):
        return layer.entropies(example, head, rows)
    return entropies_by_weights(layer, example, head, rows)


def entropies_by_weights(layer: Attention, example: int, head: int, rows: NDArray[np.intp]) -> Floats:
    """Entropy of whole rows in bits, (q,), through their weights; NaN where nothing is allowed."""
    heads, keys = slice(head, head + 1), slice(0, layer.n_keys)
    entropies = np.full(len(rows), np.nan, dtype=np.float32)
    step = max(1, min(_MOST_PAIRS, limits.block_bytes // _PAIR_BYTES) // max(1, layer.n_keys))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        weights = layer.weights(example, heads, part, keys)[0].astype(np.float64)
        allowed = layer.allowed(example, heads, part, keys)[0]
        logs = np.log2(weights, where=weights > 0, out=np.zeros_like(weights))
        bits = np.where(np.isfinite(weights).all(axis=1), np.abs((weights * logs).sum(axis=1)), np.nan)
        some = np.broadcast_to(allowed, weights.shape).any(axis=1)
        entropies[start : start + len(part)] = np.where(some, bits, np.nan)
    return entropies
