"""A tile made in slices of time, so that nobody has to wait for all of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from attnwidget.attention.bins import Bins
from attnwidget.attention.pooling import Pooling, Reduce, Tile
from attnwidget.attention.selection import check_index, check_range, check_size, is_int

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from attnwidget.attention.selection import Select
    from attnwidget.attention.stack import AttentionStack, Span

_SIDE = 256
_MOST_LEVEL = 62
_NEARLY = 0.999


@dataclass(frozen=True)
class Cells:
    """How a rectangle is divided.

    Args:
        height: rows of cells; 256 if None.
        width: columns of cells; 256 if None.
        level: instead of both, cells of 2^level tokens a side.

    Raises:
        ValueError: a size below 1, a level below 0, or both.
    """

    height: int | None = None
    width: int | None = None
    level: int | None = None

    def __post_init__(self) -> None:
        if self.level is None:
            for what, size in (("height", self.height), ("width", self.width)):
                if size is not None:
                    check_size(what, size)
        elif self.height is not None or self.width is not None:
            raise ValueError(
                f"level is {self.level}, height {self.height} and width {self.width}; expected a level, or a height "
                "and a width"
            )
        elif not is_int(self.level) or not 0 <= self.level <= _MOST_LEVEL:
            raise ValueError(f"level is {self.level!r}; expected an int of at least 0: cells of 2^level tokens a side")

    def over(self, queries: Span, keys: Span) -> tuple[Bins, Bins]:
        """Bins over these ranges, no more than there are tokens."""
        return self._bins(queries, self.height), self._bins(keys, self.width)

    def _bins(self, span: Span, count: int | None) -> Bins:
        if self.level is not None:
            return Bins.of_level(*span, self.level)
        return Bins.even(*span, min(span[1] - span[0], _SIDE if count is None else int(count)))


class Refinement:
    """A tile in the making. What was done so far is kept from one step to the next; several threads may take them.

    Args:
        begin: makes the work to do.
        tile: makes the tile of it, once it is done.

    Attributes:
        tile: the tile, once it is done; None until then.
    """

    def __init__(self, begin: Callable[[], Pooling], tile: Callable[[Pooling], Tile]) -> None:
        self._begin, self._make = begin, tile
        self.tile: Tile | None = None
        self._lock = threading.Lock()
        self._restart()

    @property
    def pairs(self) -> int:
        """Weights there are to look at."""
        return self._work.pairs

    @property
    def cells(self) -> int:
        """Cells of the tile."""
        return self._work.cells

    @property
    def done(self) -> float:
        """The share of the weights that were looked at, from 0 to 1; below 1 until the tile is there."""
        return 1.0 if self.tile is not None else min(_NEARLY, self._work.looked / self._work.pairs)

    def step(self, seconds: float = 0.1) -> bool:
        """Go on for about so long.

        An exception, of the model's numbers or of a person who interrupts, leaves it as if it had not begun.

        Args:
            seconds: how long; a few milliseconds at least are done in any case.

        Returns:
            Whether the tile is there.
        """
        with self._lock:
            if self.tile is not None:
                return True
            until = time.perf_counter() + seconds
            try:
                for _ in self._steps:
                    if time.perf_counter() >= until:
                        return False
                self.tile = self._make(self._work)
            except BaseException:
                self._restart()
                raise
            return True

    def finish(self, *, progress: bool = False) -> Tile:
        """Do what is left.

        Args:
            progress: show a progress bar.

        Returns:
            The tile.
        """
        if not progress:
            self.step(np.inf)
        else:
            from tqdm.auto import tqdm

            with tqdm(total=self.pairs, unit=" weights", unit_scale=True, desc="tile") as bar:
                while not self.step():
                    bar.update(int(self.done * self.pairs) - bar.n)
                bar.update(self.pairs - bar.n)
        assert self.tile is not None  # noqa: S101 - the last step made it; this is for the type checker
        return self.tile

    def _restart(self) -> None:
        self._work = self._begin()
        self._steps: Iterator[None] = self._work.steps()

    def __repr__(self) -> str:
        return f"Refinement({self.done:.0%} of {self.pairs:,} weights)"


def refinement(
    shown: AttentionStack,
    example: int,
    layer: object,
    head: object,
    *,
    queries: Select,
    keys: Select,
    cells: Cells,
    reduce: Reduce,
    rows: int | None,
) -> Refinement:
    """The work that makes a tile; what is asked for is checked here, as `AttentionCapture.tile` says.

    Args:
        shown: the stack.
        example: of the batch.
        layer: which layer.
        head: which head.
        queries: a range; all of them if None.
        keys: likewise.
        cells: how they are divided.
        reduce: "max", "extreme" or "mean".
        rows: queries looked at under each cell, at most; None for all.

    Returns:
        Work that has not begun.
    """
    if reduce not in get_args(Reduce):
        raise ValueError(f"reduce is {reduce!r}; expected 'max', 'mean' or 'extreme'")
    if rows is not None:
        check_size("rows", rows)
    place = Place.of(shown, example, layer, head, queries, keys)
    row_bins, key_bins = cells.over(place.queries, place.keys)

    def begin() -> Pooling:
        return Pooling(
            shown.layers[place.layer],
            place.head,
            example=example,
            queries=row_bins.shifted(shown.query_spans[example][0]),
            keys=key_bins.shifted(shown.key_spans[example][0]),
            reduce=reduce,
            rows=None if rows is None else int(rows),
        )

    return Refinement(begin, lambda work: Tile(work.result(), place.queries, place.keys, reduce, work.rows))


@dataclass(frozen=True)
class Place:
    """A rectangle of one head that exists, padding cut off."""

    layer: int
    head: int
    queries: Span
    keys: Span

    @classmethod
    def of(
        cls, shown: AttentionStack, example: int, layer: object, head: object, queries: Select, keys: Select
    ) -> Place:
        """Check what is asked for."""
        where = f"stack {shown.name!r}"
        layer = check_index("layer", layer, shown.n_layers, where)
        head = check_index("head", head, shown.n_heads, where)
        where = f"example {example} of {where}"
        rows = check_range("query", queries, len(shown.query_tokens[example]), where)
        return cls(layer, head, rows, check_range("key", keys, len(shown.key_tokens[example]), where))
