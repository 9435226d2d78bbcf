"""Pooling of full weights by NumPy, cell by cell: what tiles are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def even_edges(start: int, stop: int, count: int) -> list[int]:
    """Bin r begins at start + floor(r * length / count)."""
    count = min(count, stop - start)
    return [start + r * (stop - start) // count for r in range(count)] + [stop]


def level_edges(start: int, stop: int, level: int) -> list[int]:
    """2^level tokens each."""
    return [*range(start, stop, 2**level), stop]


def pooled(
    weights: NDArray[np.floating],
    allowed: NDArray[np.bool_],
    rows: Sequence[int],
    columns: Sequence[int],
    reduce: str,
    looked_at: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Max or mean over the allowed pairs of each cell; NaN where there are none.

    Args:
        weights: (Tq, Tk).
        allowed: (Tq, Tk).
        rows: edges.
        columns: edges.
        reduce: "max" or "mean".
        looked_at: the queries that count; all of them if None.
    """
    shown = np.where(allowed, weights, np.nan).astype(np.float64)
    if looked_at is not None:
        others = np.setdiff1d(np.arange(len(shown)), looked_at)
        shown[others] = np.nan
    result = np.full((len(rows) - 1, len(columns) - 1), np.nan)
    for r in range(len(rows) - 1):
        for c in range(len(columns) - 1):
            cell = shown[rows[r] : rows[r + 1], columns[c] : columns[c + 1]]
            cell = cell[~np.isnan(cell)]
            if cell.size:
                result[r, c] = cell.max() if reduce == "max" else cell.mean()
    return result
