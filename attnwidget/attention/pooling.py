"""A rectangle of one head, pooled to a pixel size, a bounded block at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Attention, Floats
    from attnwidget.attention.stack import Span

Reduce: TypeAlias = Literal["max", "mean"]
BLOCK_BYTES = 16 << 20
"""The largest block of weights held while pooling."""


@dataclass(frozen=True, eq=False)
class Tile:
    """A pooled rectangle of one head.

    Attributes:
        values: (height, width) float32; NaN where every pair under the cell is masked, infinity where a weight under
            it is not a number.
        queries: the rows covered, [a, b).
        keys: the columns covered, [c, d).
        reduce: "max" or "mean" over the allowed pairs of a cell.
        exact: every pair was looked at.
    """

    values: Floats
    queries: Span
    keys: Span
    reduce: Reduce
    exact: bool = True

    @property
    def height(self) -> int:
        """Rows of cells."""
        return len(self.values)

    @property
    def width(self) -> int:
        """Columns of cells."""
        return int(self.values.shape[1])


def bin_starts(start: int, stop: int, count: int) -> NDArray[np.intp]:
    """Where each of `count` bins over [start, stop) begins."""
    return start + np.arange(count, dtype=np.intp) * (stop - start) // count


def check_pooling(height: object, width: object, reduce: object) -> None:
    """Refuse sizes below 1, and ways to reduce that do not exist."""
    for what, size in (("height", height), ("width", width)):
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{what} is {size!r}; expected an int of at least 1")
    if reduce not in get_args(Reduce):
        raise ValueError(f"reduce is {reduce!r}; expected 'max' or 'mean'")


def pool(
    layer: Attention, head: int, *, example: int, queries: Span, keys: Span, height: int, width: int, reduce: Reduce
) -> Floats:
    """Pool a rectangle.

    Args:
        layer: whose weights.
        head: which head.
        example: of the batch.
        queries: rows [a, b).
        keys: columns [c, d).
        height: rows of cells, at most b - a.
        width: columns of cells, at most d - c.
        reduce: over the allowed pairs under a cell.

    Returns:
        (height, width), NaN where every pair under the cell is masked, infinity where a weight is not a number.
    """
    elsewhere = getattr(layer, "pooled", None)  # a layer whose heads are not here pools them where they are
    if elsewhere is not None:
        found: Floats = elsewhere(
            head, example=example, queries=queries, keys=keys, height=height, width=width, reduce=reduce
        )
        return found
    row_bins, column_starts = bin_starts(*queries, height), bin_starts(*keys, width) - keys[0]
    pooled = np.full((height, width), -np.inf if reduce == "max" else 0, dtype=np.float64)
    counts = np.zeros((height, width), dtype=np.int64)
    step = max(1, BLOCK_BYTES // (4 * max(1, keys[1] - keys[0])))
    for start in range(*queries, step):
        rows = slice(start, min(start + step, queries[1]))
        block = _block(layer, example, head, rows, slice(*keys))
        first = int(np.searchsorted(row_bins, rows.start, side="right")) - 1
        last = int(np.searchsorted(row_bins, rows.stop - 1, side="right"))
        starts = np.maximum(row_bins[first:last] - rows.start, 0), column_starts
        if reduce == "max":
            pooled[first:last] = np.maximum(pooled[first:last], _reduce(np.maximum, block, *starts))
        else:
            seen = block != -np.inf
            counts[first:last] += _reduce(np.add, seen.astype(np.int32), *starts)
            pooled[first:last] += _reduce(np.add, np.where(seen, block, 0).astype(np.float64), *starts)
    if reduce == "mean":
        pooled = np.where(counts > 0, pooled / np.maximum(counts, 1), -np.inf)
    pooled[np.isnan(pooled)] = np.inf
    pooled[pooled == -np.inf] = np.nan
    return pooled.astype(np.float32)


def _block(layer: Attention, example: int, head: int, queries: slice, keys: slice) -> Floats:
    """Weights (q, k); -infinity where masked, so that no sum or maximum takes them for zero."""
    heads = slice(head, head + 1)
    weights = layer.weights(example, heads, queries, keys)[0]
    allowed = layer.allowed(example, heads, queries, keys)
    return weights if allowed.all() else np.where(allowed[0], weights, np.float32(-np.inf))


def _reduce(
    how: np.ufunc, block: NDArray[Any], row_starts: NDArray[np.intp], column_starts: NDArray[np.intp]
) -> NDArray[Any]:
    """(q, k) -> (bins, width). Rows first: whole rows at a time are what NumPy is fast at."""
    if len(row_starts) != block.shape[0]:
        block = how.reduceat(block, row_starts, axis=0)
    if len(column_starts) != block.shape[1]:
        block = how.reduceat(block, column_starts, axis=1)
    return block
