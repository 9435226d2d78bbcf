"""The range of weights a head is coloured over when nobody has said one: `js/src/domain.ts` in Python."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SINK_SHARE = 0.3
"""A key that takes this share of all mass is a sink: it would flatten everything else to one colour."""
_LEAST = 1 / 8
"""A range never ends under this share of the largest weight: beside a strong sink the rest would be noise."""
_QUANTILE = 0.98
"""The share of queries whose strongest key stays inside the range."""
_ZERO = 2.0**-32
"""The page takes weights under this for zero."""


@dataclass(frozen=True)
class HeadRange:
    """Where the colours of a head begin and end.

    Attributes:
        low: the weight of the first colour.
        high: the weight of the last colour.
        largest: the largest weight, which may lie above.
        masked: whether the mask forbids some pair.
        sinks: columns of the picture that are left out of the range.
        least: the smallest weight above zero.
    """

    low: float
    high: float
    largest: float
    masked: bool
    sinks: tuple[int, ...] = ()
    least: float = 0.0


LEAST_LIFT = 8.0
"""Most weights are far below chance: a range of lift shows at least three octaves on either side of it."""


def around_chance(lift: float) -> tuple[float, float]:
    """A range of lift that is as far below chance as above it."""
    most = float(f"{max(1.1, lift):.3g}")
    return 1 / most, most


def around_zero(size: float) -> tuple[float, float]:
    """A range that is as far below 0 as above it."""
    most = float(f"{size:.3g}") or 1.0
    return -most, most


def head_range(values: NDArray[np.floating]) -> HeadRange:
    """From 0 to a high percentile of the strongest weights of the queries, sinks left out.

    A percentile of rows' maxima and not of all cells: a head that looks at one key only has one cell in T that matters,
    and it must not be clipped.

    Args:
        values: a tile of the whole head as `AttentionCapture.tile` has it, (height, width).
    """
    height, width = values.shape
    known = np.where(np.isfinite(values) & (values >= _ZERO), values, 0).astype(np.float64)
    share = max(_SINK_SHARE, min(4 / max(width, 1), 0.9))
    sink = known.sum(axis=0) / max(height, 1) > share
    best = np.where(sink, 0, known).max(axis=1, initial=0)
    best = np.sort(best[best > 0])
    largest = float(known.max(initial=0))
    high = float(best[min(len(best) - 1, math.ceil(len(best) * _QUANTILE) - 1)]) if len(best) else largest
    masked, sinks = bool(np.isnan(values).any()), tuple(np.flatnonzero(sink).tolist())
    least = float(np.min(known, where=known > 0, initial=np.inf))
    return HeadRange(0.0, max(high, largest * _LEAST) or 1.0, largest, masked, sinks, min(least, largest))
