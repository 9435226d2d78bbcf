"""What the panels of a figure share: what they are given, and what they tell about what they drew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from attnwidget.export.look import Palette, Ramp, head_colour, palette
from attnwidget.export.quantiles import Ranks
from attnwidget.export.ranges import LEAST_LIFT, HeadRange, around_chance, around_zero, head_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Shown

RANGE_CELLS = 512
"""The range of a head is read from a picture of at most so many cells a side, as on the screen."""


@dataclass(frozen=True)
class Look:
    """The colours of one figure."""

    shown: Shown

    @property
    def palette(self) -> Palette:
        """The colours of everything that is no weight."""
        return palette(dark=self.shown.dark)

    @cached_property
    def _pictures(self) -> dict[int | None, NDArray[np.floating]]:
        return {}

    def picture(self, head: int | None = None) -> NDArray[np.floating]:
        """All of what is shown, or of another head of the layer, exact but pooled where it is long."""
        if head not in self._pictures:
            shown = self.shown
            height, width = len(shown.query_tokens), len(shown.key_tokens)
            tile = shown.tile(min(height, RANGE_CELLS), min(width, RANGE_CELLS), head) if height and width else None
            self._pictures[head] = np.zeros((1, 1)) if tile is None else tile.values
        return self._pictures[head]

    @cached_property
    def head(self) -> HeadRange:
        """The range of what is shown."""
        return head_range(self.picture())

    @cached_property
    def ramp(self) -> Ramp:
        """From a weight of what is shown to its colour."""
        return self.ramp_over(self.picture())

    def ramp_over(self, values: NDArray[np.floating]) -> Ramp:
        """From a weight to its colour, over the fixed range or that of a head: `js/src/ramp.ts` in Python.

        Args:
            values: a picture of the whole head.
        """
        shown, found = self.shown, head_range(values)
        said = None if shown.domain is None else (shown.share(shown.domain[0]), shown.share(shown.domain[1]))
        if shown.kind in ("lift", "signed"):
            if shown.kind == "lift":
                low, high = around_chance(max(LEAST_LIFT, shown.number(found.high)))
            else:
                low, high = around_zero(max(shown.number(found.largest), -shown.number(found.least)))
            ends = said or (shown.share(low), shown.share(high))
            colormap = ("berlin" if shown.dark else "vik") if shown.diverging == "auto" else shown.diverging
            if shown.kind == "lift":
                return Ramp(colormap, "log", *ends, shown.dark)
            return Ramp(colormap, "linear", *ends, shown.dark, reading=shown.reading)
        by_rank = shown.scale == "quantile"
        low, high = said or ((0.0, found.largest or 1.0) if by_rank else (found.low, found.high))
        return Ramp(shown.colormap, shown.scale, low, high, shown.dark, Ranks(values) if by_rank else None)

    def hue(self, head: int | None) -> str:
        """The colour of the lines of a head; of many heads as one that of the text."""
        if head is None and self.shown.aggregate:
            return self.palette.ink
        return head_colour(self.shown.head if head is None else head, dark=self.shown.dark)

    @cached_property
    def drawn_ramp(self) -> Ramp:
        """The ramp of the heads that are drawn together: that of the widest range."""
        return max((self.ramp_over(self.picture(head)) for head in self.shown.drawn), key=lambda ramp: ramp.high)

    @cached_property
    def drawn_largest(self) -> float:
        """The largest weight of these heads, which may lie above."""
        return max(head_range(self.picture(head)).largest for head in self.shown.drawn)


@dataclass(frozen=True)
class Area:
    """Where a panel is drawn: from `top` down as far as it needs, `width` wide at most. In points."""

    left: float
    top: float
    width: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width


@dataclass(frozen=True)
class Drawn:
    """What came of it.

    Attributes:
        right: where the panel ends, in points.
        bottom: likewise.
        note: what is shown and what is left out, said beside the title of the panel.
        words: what the legend says besides scale and range: how pairs were pooled, for example.
        ranges: what the range of the colours is of: "this head", "these heads" or "each head".
        opacity: a colour, where weights are shown as its opacity; None where they have the colours of the map.
        scaled: whether the opacity follows the scale; else it is the weight over the top of the range.
        masked: how what the mask forbids looks, "hatched" or "plain"; "" where there is nothing of the kind.
        of: which heads these are, where they are not what the title names.
        bare: whether nothing on the figure has the colour or opacity of a weight.
    """

    right: float
    bottom: float
    note: str = ""
    words: tuple[str, ...] = ()
    ranges: str = "this head"
    opacity: str | None = None
    scaled: bool = False
    masked: str = ""
    of: str = ""
    bare: bool = False


class Painter(Protocol):
    """Draws one panel on a sheet."""

    def __call__(self, sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
        """Draw it at the top of the area.

        Raises:
            ValueError: what is shown cannot be drawn this way; the text says what to do.
        """
        ...  # pragma: no cover
