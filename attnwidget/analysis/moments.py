"""Mean and spread of many maps of heads, of which none is kept.

One map at a time is taken in by Welford 1962 ("Note on a method for calculating corrected sums of squares and
products"), and two such sums are joined by Chan, Golub and LeVeque 1979 ("Updating Formulae and a Pairwise Algorithm
for Computing Sample Variances"), of which the first is the case of a sum of one. Unlike sums of squares, these lose no
digits where the spread is small beside the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over maps, entry by entry. What is NaN in a map is not counted there. Never changed: `plus` makes new ones.

    Attributes:
        count: int64, how many numbers there were.
        centre: float64, their mean; 0 where there was none.
        squares: float64, the sum of their squared distances from it.
    """

    count: NDArray[np.int64]
    centre: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Moments:
        """Before the first map."""
        return cls(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))

    @classmethod
    def one(cls, values: NDArray[np.floating]) -> Moments:
        """Of a single map."""
        there = ~np.isnan(values)
        return cls(there.astype(np.int64), np.where(there, values, 0).astype(np.float64), np.zeros(values.shape))

    def plus(self, other: Moments) -> Moments:
        """Those of both."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = other.centre - self.centre
        squares = self.squares + other.squares + apart**2 * self.count * share
        return Moments(count, self.centre + apart * share, squares)

    @property
    def mean(self) -> NDArray[np.float64]:
        """NaN where nothing was counted."""
        return np.where(self.count > 0, self.centre, np.nan)

    @property
    def std(self) -> NDArray[np.float64]:
        """The standard deviation of a sample, with n - 1; NaN of fewer than two numbers."""
        found: NDArray[np.float64] = np.sqrt(self.squares / np.where(self.count > 1, self.count - 1, np.nan))
        return found
