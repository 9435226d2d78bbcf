"""The order of a head's weights, for the quantile scale: `js/src/counts.ts` in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.widget.codes import decode, encode
from attnwidget.widget.protocol import CODE_FIRST

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX = 65535
_FORGIVEN = 1e-6
"""A place is a ratio of whole numbers: what is added forgives its rounding."""


class Ranks:
    """The weights of a picture in order, as far as codes tell them apart: from a weight to its rank and back.

    Args:
        values: as `AttentionCapture.tile` has them: NaN where masked, infinity where not a number.
    """

    def __init__(self, values: NDArray[np.floating]) -> None:
        counts = np.bincount(encode(values, "u16").ravel(), minlength=_MAX + 1)
        counts[:CODE_FIRST] = 0
        # By code: cells with a weight above zero that have a smaller one.
        self._below = np.concatenate([[0], np.cumsum(counts)[:-1]])

    def places(self, weights: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
        """The share of the weights between the ends that are smaller, from 0 to 1."""
        first, last = self._code(np.array([low, high]))
        codes = self._code(np.nan_to_num(weights))
        start = self._below[first]
        found = (self._below[codes] - start) / max(1, self._below[last] - start)
        return np.where(codes >= last, 1.0, np.where(codes <= first, 0.0, found))

    def weight_at(self, place: float, low: float, high: float) -> float:
        """The weight at a place: one that there is, exact to its code."""
        start, end = self._below[self._code(np.array([low, high]))]
        wanted = start + place * (end - start) + _FORGIVEN
        code = int(np.searchsorted(self._below[CODE_FIRST:], wanted, side="right")) - 1 + CODE_FIRST
        return float(decode(np.array([code], dtype=np.uint16))[0])

    @staticmethod
    def _code(weights: NDArray[np.floating]) -> NDArray[np.int64]:
        """As if none were zero."""
        return np.maximum(encode(weights, "u16").astype(np.int64), CODE_FIRST)
