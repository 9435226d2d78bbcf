"""A rectangle of one head, pooled to a pixel size, a bounded block at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from attnwidget.attention.bins import Picks
from attnwidget.attention.blockwise import pool_by_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from attnwidget.attention.bins import Bins
    from attnwidget.attention.blockwise import Block
    from attnwidget.attention.protocol import Attention, Floats
    from attnwidget.attention.stack import Span

Reduce: TypeAlias = Literal["max", "mean", "extreme"]
_PAIRS_ELSEWHERE = 1 << 24
"""How many pairs are asked for at once where heads are in other places."""


@dataclass(frozen=True, eq=False)
class Tile:
    """A pooled rectangle of one head.

    Attributes:
        values: (height, width) float32; NaN where every pair under the cell is masked, infinity where a weight under
            it is not a number.
        queries: the rows covered, [a, b).
        keys: the columns covered, [c, d).
        reduce: "max", "extreme" or "mean" over the allowed pairs of a cell.
        rows: how many queries were looked at under each cell, where not all of them were; None for all.
    """

    values: Floats
    queries: Span
    keys: Span
    reduce: Reduce
    rows: int | None = None

    @property
    def exact(self) -> bool:
        """Whether every pair was looked at."""
        return self.rows is None

    @property
    def height(self) -> int:
        """Rows of cells."""
        return len(self.values)

    @property
    def width(self) -> int:
        """Columns of cells."""
        return int(self.values.shape[1])


@runtime_checkable
class PoolsItself(Protocol):
    """Attention that has a faster way to pool than through its weights."""

    def pool(self, example: int, head: int, rows: Picks, keys: Picks, reduce: Reduce) -> Iterator[Block]:
        """Pool a rectangle of one head, block by block."""


class Pooling:
    """The work of pooling one rectangle, in steps of a few milliseconds.

    Args:
        layer: whose weights.
        head: which head.
        example: of the batch.
        queries: bins of rows.
        keys: bins of columns.
        reduce: "max", "extreme" or "mean" over the allowed pairs under a cell.
        rows: queries looked at under each cell, at most; None for all of them.

    Attributes:
        rows: what `Tile.rows` says.
        pairs: how many there are to look at.
        looked: how many were.
        cells: of the tile.
    """

    def __init__(
        self,
        layer: Attention,
        head: int,
        *,
        example: int,
        queries: Bins,
        keys: Bins,
        reduce: Reduce,
        rows: int | None = None,
    ) -> None:
        # Of numbers that are never below 0 the one of largest size is the largest, for which layers have fast ways.
        plain = reduce == "extreme" and not getattr(layer, "signed", False)
        self._layer, self._head, self._example, self._reduce = layer, head, example, "max" if plain else reduce
        self._queries, self._keys, self._most = queries, keys, rows
        # A layer whose heads are not here pools them where they are.
        self._elsewhere: Callable[..., Floats] | None = getattr(layer, "pooled", None)
        self._picks = Picks(queries, rows)
        self.rows = None if self._picks.are_all else rows
        self.pairs, self.looked = self._picks.total * keys.length, 0
        self.cells = len(queries) * len(keys)
        shape = len(queries), len(keys)
        if reduce != "mean":
            self._values: NDArray[np.floating] = np.full(shape, -np.inf, dtype=np.float32)
        else:
            self._values = np.zeros(shape, dtype=np.float64)
            self._counts = np.zeros(shape, dtype=np.int64)

    def steps(self) -> Iterator[None]:
        """Do it, once. What comes between two of these may be interrupted."""
        if self._elsewhere is not None:
            yield from self._ask(self._elsewhere)
            return
        for block in self._blocks():
            self.looked += block.pairs
            if block.values is not None:
                self._add(block)
            yield

    def finish(self) -> Floats:
        """Do it all at once; the result."""
        for _ in self.steps():
            pass
        return self.result()

    def result(self) -> Floats:
        """(height, width), NaN where every pair is masked, infinity where a weight is not a number; once it is done."""
        values = self._values
        if self._elsewhere is not None:  # they have said so already
            return values.astype(np.float32)
        if self._reduce == "mean":
            values = np.where(self._counts > 0, values / np.maximum(self._counts, 1), -np.inf)
        result = np.where(np.isnan(values), np.inf, np.where(values == -np.inf, np.nan, values))
        return result.astype(np.float32)

    def _blocks(self) -> Iterator[Block]:
        keys = Picks(self._keys)
        if isinstance(self._layer, PoolsItself):
            return self._layer.pool(self._example, self._head, self._picks, keys, self._reduce)
        return pool_by_weights(self._layer, self._example, self._head, self._picks, keys, self._reduce)

    def _add(self, block: Block) -> None:
        assert block.values is not None  # noqa: S101 - the caller has looked; this is for the type checker
        height, width = block.values.shape
        place = slice(block.rows, block.rows + height), slice(block.columns, block.columns + width)
        if block.counts is not None:
            self._values[place] += block.values
            self._counts[place] += block.counts
        elif self._reduce == "max":
            np.maximum(self._values[place], block.values, out=self._values[place])
        else:
            known, new = self._values[place], block.values
            # Nothing yet is -infinity, and a number that is none stays in sight.
            larger = (known == -np.inf) | (np.abs(new) > np.abs(known)) | np.isnan(new)
            np.copyto(known, new.astype(np.float32), where=larger & (new != -np.inf))

    def _ask(self, elsewhere: Callable[..., Floats]) -> Iterator[None]:
        """Some rows of cells at a time."""
        first = 0
        while first < len(self._queries):
            looked = np.cumsum(self._picks.counts[first:]) * self._keys.length
            last = first + max(1, int(np.searchsorted(looked, _PAIRS_ELSEWHERE, side="right")))
            part = self._queries.part(first, last)
            self._values[first:last] = elsewhere(
                self._head, example=self._example, queries=part, keys=self._keys, reduce=self._reduce, rows=self._most
            )
            self.looked += int(looked[last - first - 1])
            first = last
            yield
