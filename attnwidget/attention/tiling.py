"""The questions of a capture that are answered with a pooled rectangle of a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from attnwidget.attention.marginals import Marginals, marginals
from attnwidget.attention.refining import Cells, Refinement, refinement

if TYPE_CHECKING:
    from attnwidget.attention.pooling import Reduce, Tile
    from attnwidget.attention.selection import Select
    from attnwidget.attention.stack import AttentionStack


class Tiles(ABC):
    """What `AttentionCapture` offers for heads that are too long to be looked at whole."""

    @abstractmethod
    def _place(self, batch: int, stack: str | None) -> tuple[AttentionStack, int]:
        """The stack and the example, checked."""

    def tile(
        self,
        layer: int,
        head: int,
        *,
        queries: Select = None,
        keys: Select = None,
        height: int | None = None,
        width: int | None = None,
        level: int | None = None,
        reduce: Reduce = "max",
        rows: int | None = None,
        progress: bool = False,
        batch: int = 0,
        stack: str | None = None,
    ) -> Tile:
        """A rectangle of one head, pooled to `height` x `width` cells, never holding the whole of it.

        No more than `aw.limits.block_bytes` of weights are held at a time, whatever the size of the rectangle.

        Args:
            layer: which layer.
            head: which head.
            queries: rows, a range (start, stop) or a slice; all of them if None.
            keys: columns, likewise.
            height: rows of cells, at least 1, 256 if None; no more than there are rows. Bin r over [a, b) begins at
                a + floor(r * (b - a) / height).
            width: columns of cells, likewise.
            level: instead of both, cells of 2^level tokens a side, counted from the start of the ranges; the last ones
                may be cut short.
            reduce: "max" or "mean" over the allowed pairs under a cell; or "extreme", the one of largest size with its
                sign, of numbers that have one.
            rows: look at no more than so many queries under each cell, spread over it, always the same ones: a sample,
                in a fraction of the time. All of them if None.
            progress: show a progress bar.
            batch: which example.
            stack: name of a stack; the first one if None.

        Returns:
            The tile. Its `values` are float32 (height, width): the raw weight, NaN where the mask forbids every pair
            that was looked at under the cell, 0 where it allows some and their weights are 0, infinity where a weight
            is not a number because the model overflowed. Its `exact` tells a sample from the whole.

        Raises:
            IndexError: no such layer, head, example or range.
            KeyError: no such stack.
            ValueError: sizes or rows below 1, a level below 0 or beside sizes, or another way to reduce.
        """
        work = self.refine(
            layer, head, queries=queries, keys=keys, height=height, width=width, level=level, reduce=reduce, rows=rows,
            batch=batch, stack=stack,
        )  # fmt: skip
        return work.finish(progress=progress)

    def refine(
        self,
        layer: int,
        head: int,
        *,
        queries: Select = None,
        keys: Select = None,
        height: int | None = None,
        width: int | None = None,
        level: int | None = None,
        reduce: Reduce = "max",
        rows: int | None = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Refinement:
        """A tile made in slices, for whoever has something else to do in between. Takes and raises what `tile` does.

        Returns:
            Work that has not begun; `step()` does a tenth of a second of it, `done` tells how much is done, `tile` is
            the tile once it is.

        Examples:
            >>> import numpy as np
            >>> import attnwidget as aw
            >>> work = aw.AttentionCapture.from_weights(np.full((1, 1, 3, 3), 1 / 3)).refine(0, 0)
            >>> while not work.step():
            ...     print(f"{work.done:.0%}")
            >>> work.tile.values.shape
            (3, 3)
        """
        shown, example = self._place(batch, stack)
        return refinement(
            shown, example, layer, head, queries=queries, keys=keys,
            cells=Cells(height, width, level), reduce=reduce, rows=rows,
        )  # fmt: skip

    def marginals(
        self,
        layer: int,
        head: int,
        *,
        queries: Select = None,
        keys: Select = None,
        height: int | None = None,
        width: int | None = None,
        rows: int | None = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Marginals:
        """What runs along the edges of a tile: how much each key receives, and how broadly each query looks.

        Args:
            layer: which layer.
            head: which head.
            queries: rows, a range (start, stop) or a slice; all of them if None.
            keys: columns, likewise.
            height: bins of queries, 256 if None; no more than there are queries.
            width: bins of keys, likewise.
            rows: look at about so many queries for each of the two, and at least one under each bin; all of them if
                None.
            batch: which example.
            stack: name of a stack; the first one if None.

        Returns:
            `received` (width,), the mean weight of the allowed pairs of a key of the bin and any query of the head;
            `entropy` (height,), the mean entropy of the whole rows of the bin's queries, in bits; both float32, NaN
            where there is nothing to average.

        Raises:
            IndexError: no such layer, head, example or range.
            KeyError: no such stack.
            ValueError: sizes or rows below 1.
        """
        shown, example = self._place(batch, stack)
        return marginals(shown, example, layer, head, queries=queries, keys=keys, cells=Cells(height, width), rows=rows)
