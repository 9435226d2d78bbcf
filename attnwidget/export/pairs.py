"""The strongest pairs of a window, found block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.export.shown import Shown

_BLOCK = 2**20
"""Weights looked at at a time."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of tokens, weakest first.

    Attributes:
        queries: their queries.
        keys: their keys.
        weights: their weights, float32.
        total: how many are at or over the threshold; the arrays hold the strongest of them.
    """

    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    weights: NDArray[np.float32]
    total: int


def strongest_pairs(shown: Shown, head: int, limit: int) -> Pairs:
    """The strongest pairs of one head that are in the window, above zero, and not under the threshold.

    Args:
        shown: what is shown.
        head: a head of the layer shown.
        limit: how many to find, at most.
    """
    (first, end), keys = shown.queries, shown.keys
    height = max(1, _BLOCK // max(1, keys[1] - keys[0]))
    best: tuple[NDArray[Any], ...] = tuple(np.empty(0, dtype=kind) for kind in (np.int64, np.int64, np.float32))
    total = 0
    for start in range(first, end, height):
        weights = shown.weights((start, min(end, start + height)), keys, head)
        with np.errstate(invalid="ignore"):
            rows, columns = np.nonzero((weights > 0) & (weights >= np.float32(shown.threshold)) & (weights <= 1))
        total += len(rows)
        found: tuple[NDArray[Any], ...] = (rows + start, columns + keys[0], weights[rows, columns])
        queries, keys_found, values = (np.concatenate([old, new]) for old, new in zip(best, found, strict=True))
        # Of equal ones the first: a stable order, strongest first, and then turned around.
        order = np.argsort(-values, kind="stable")[:limit]
        best = (queries[order], keys_found[order], values[order])
    return Pairs(best[0][::-1], best[1][::-1], best[2][::-1], total)
