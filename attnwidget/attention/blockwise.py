"""What pooling adds up, and the way to it that every kind of attention has: through its weights, a block at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.limits import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from attnwidget.attention.bins import Picks
    from attnwidget.attention.protocol import Attention, Floats, Index

_PAIR_BYTES = 64
"""What a pair of a block takes at most: its weight, masks, copies in double precision, what a layer itself needs."""
_MOST_PAIRS = 1 << 20


@dataclass(frozen=True, eq=False)
class Block:
    """What one block adds to a pooled rectangle.

    Attributes:
        pairs: how many were looked at, or need not be.
        rows: number of the first bin of queries.
        columns: number of the first bin of keys.
        values: (m, n), the largest weights, or those of largest size, -infinity where nothing is allowed, or sums; None
            for nothing.
        counts: (m, n) allowed pairs, with sums.
    """

    pairs: int
    rows: int = 0
    columns: int = 0
    values: NDArray[np.floating] | None = None
    counts: NDArray[np.int64] | None = None


def pool_by_weights(
    layer: Attention, example: int, head: int, rows: Picks, keys: Picks, reduce: str
) -> Iterator[Block]:
    """Pool a rectangle of one head, block by block.

    Args:
        layer: whose weights.
        example: of the batch.
        head: which head.
        rows: of queries.
        keys: of keys; all of them are looked at.
        reduce: "max", "extreme" or "mean".

    Yields:
        What each block adds.
    """
    return pool_blocks(
        lambda queries, columns: iter((_block(layer, example, head, queries, columns),)), rows, keys, reduce
    )


def pool_blocks(
    make: Callable[[Index, Index], Iterator[Floats | None]],
    rows: Picks,
    keys: Picks,
    reduce: str,
    most: int = _MOST_PAIRS,
) -> Iterator[Block]:
    """Pool a rectangle, whatever its weights come from.

    Args:
        make: the weights (q, k) of some queries and keys, -infinity where masked, as the last of what it yields; None
            before that, whenever some of the work is done.
        rows: of queries.
        keys: of keys; all of them are looked at.
        reduce: "max", "extreme" or "mean".
        most: pairs of a block.

    Yields:
        What each block adds, and parts that took time and add nothing.
    """
    most = max(1, min(most, limits.block_bytes // _PAIR_BYTES))
    columns = min(most, keys.total)
    for row_panel in rows.panels(max(1, most // columns)):
        for key_panel in keys.panels(columns):
            places, width = key_panel.index, key_panel.shape[1]
            block = None
            for block in make(row_panel.index, places):
                if block is None:
                    yield Block(0)
            assert block is not None  # noqa: S101 - the last one always is; this is for the type checker
            # Repeated positions change no maximum, and count for nothing in a sum.
            block[row_panel.repeats] = -np.inf
            block[:, key_panel.repeats] = -np.inf
            cells = block.reshape(len(row_panel.counts), -1, len(key_panel.counts), width)
            pairs = int(row_panel.counts.sum()) * int(key_panel.counts.sum())
            if reduce == "max":
                values, counts = cells.max(axis=1).max(axis=2), None
            elif reduce == "extreme":
                values, counts = _extreme(cells), None
            else:
                seen = cells != -np.inf
                counts = seen.sum(axis=(1, 3), dtype=np.int64)
                values = np.where(seen, cells, 0).sum(axis=1, dtype=np.float64).sum(axis=2)
            yield Block(pairs, row_panel.first, key_panel.first, values, counts)


def _extreme(cells: Floats) -> Floats:
    """Of each cell the number of largest size, with its sign."""
    high = cells.max(axis=1).max(axis=2)
    low = np.where(cells == -np.inf, np.float32(np.inf), cells).min(axis=1).min(axis=2)
    found: Floats = np.where(-low > high, low, high)
    return found


def _block(layer: Attention, example: int, head: int, queries: Index, keys: Index) -> Floats:
    """Weights (q, k); -infinity where masked, so that no sum or maximum takes them for zero."""
    heads = slice(head, head + 1)
    weights = layer.weights(example, heads, queries, keys)[0]
    allowed = layer.allowed(example, heads, queries, keys)
    return np.where(allowed[0], weights, np.float32(-np.inf))
