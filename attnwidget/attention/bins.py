"""Bins along one axis, and the positions that are looked at under each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Index

    Places = NDArray[np.intp]

_GOLDEN = 40503
"""2^16 divided by the golden ratio: multiples of it, taken modulo 2^16, are spread as evenly as can be."""
_FRACTION = 16


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins that lie one after another over [start, stop).

    Attributes:
        starts: (n,) where each begins.
        stop: where the last one ends.
    """

    starts: Places
    stop: int

    @classmethod
    def even(cls, start: int, stop: int, count: int) -> Bins:
        """As even as they can be: bin r begins at start + floor(r * (stop - start) / count)."""
        return cls(start + np.arange(count, dtype=np.intp) * (stop - start) // count, stop)

    @classmethod
    def of_level(cls, start: int, stop: int, level: int) -> Bins:
        """2^level positions each, the last one cut short where they end."""
        return cls(np.arange(start, stop, 1 << level, dtype=np.intp), stop)

    @property
    def start(self) -> int:
        """Where the first one begins."""
        return int(self.starts[0]) if len(self.starts) else self.stop

    @property
    def length(self) -> int:
        """Positions in all."""
        return self.stop - self.start

    @property
    def sizes(self) -> Places:
        """(n,) positions of each."""
        return np.diff(self.starts, append=self.stop)

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, first: int, last: int) -> Bins:
        """Bins `first` to `last`, not included."""
        return Bins(self.starts[first:last], int(self.starts[last]) if last < len(self) else self.stop)

    def shifted(self, offset: int) -> Bins:
        """The same, counted from `offset` before the axis' start."""
        return Bins(self.starts + offset, self.stop + offset)


@dataclass(frozen=True, eq=False)
class Panel:
    """Positions of some bins, in a rectangle: where a bin has fewer than others its last one stands several times.

    Attributes:
        first: number of the first bin.
        positions: (m, w).
        counts: (m,) how many of a row are there for the first time.
    """

    first: int
    positions: Places
    counts: Places

    @property
    def shape(self) -> tuple[int, int]:
        """Bins, and positions of each."""
        return self.positions.shape

    @cached_property
    def index(self) -> Index:
        """All of them in a row; a slice where they are one."""
        flat = self.positions.reshape(-1)
        first, last = int(flat[0]), int(flat[-1])
        whole = last - first + 1 == len(flat) and (self.counts == self.positions.shape[1]).all()
        return slice(first, last + 1) if whole else flat

    @cached_property
    def repeats(self) -> Places:
        """Where in that row the positions are that stood before."""
        return np.flatnonzero(np.arange(self.positions.shape[1]) >= self.counts[:, None])


class Picks:
    """The positions looked at under each bin: all of them, or at most so many.

    A sample takes one position of each of `most` parts of its bin. Where in the parts differs from bin to bin, so that
    a text that repeats itself is not always met at the same place, and depends on nothing but where the bin begins:
    the same question has the same answer.

    Args:
        bins: the bins.
        most: positions under each, at most; None for all of them.
    """

    def __init__(self, bins: Bins, most: int | None = None) -> None:
        self.bins, self._sizes = bins, bins.sizes
        self.counts = self._sizes if most is None else np.minimum(self._sizes, most)
        """(n,) positions looked at."""

    @property
    def are_all(self) -> bool:
        """Whether no position is left out."""
        return bool((self.counts == self._sizes).all())

    @property
    def total(self) -> int:
        """Positions looked at in all."""
        return int(self.counts.sum())

    def panels(self, most: int, first: int = 0, last: int | None = None) -> Iterator[Panel]:
        """Those of bins `first` to `last` in panels of at most `most` positions, a bin in parts where it has more."""
        last = len(self.bins) if last is None else last
        while first < last:
            width = int(self.counts[first])
            if width > most:
                for start in range(0, width, most):
                    yield self._panel(first, first + 1, start, min(start + most, width))
                first += 1
                continue
            stop = min(last, first + max(1, most // max(1, width)))
            width = int(self.counts[first:stop].max())
            stop = min(stop, first + max(1, most // width))
            yield self._panel(first, stop, 0, int(self.counts[first:stop].max()))
            first = stop

    def _panel(self, first: int, last: int, start: int, stop: int) -> Panel:
        begins, counts = self.bins.starts[first:last, None], self.counts[first:last, None]
        turns = np.minimum(np.arange(start, stop), counts - 1)  # (m, w)
        shift = begins * _GOLDEN % (1 << _FRACTION)
        picked = ((turns << _FRACTION) + shift) * self._sizes[first:last, None] // (counts << _FRACTION)
        sampled = counts < self._sizes[first:last, None]
        positions = begins + np.where(sampled, picked, turns)
        return Panel(first, positions, np.minimum(counts[:, 0], stop) - start)
