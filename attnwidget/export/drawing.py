"""What the panels of a figure share: what they are given, and what they tell about what they drew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from attnwidget.export.look import Palette, Ramp, palette
from attnwidget.export.ranges import HeadRange, head_range

if TYPE_CHECKING:
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
    def head(self) -> HeadRange:
        """The range of the shown head, exact at any length."""
        shown = self.shown
        height, width = len(shown.query_tokens), len(shown.key_tokens)
        if not height or not width:
            return HeadRange(0.0, 1.0, 0.0, masked=False)
        tile = shown.capture.tile(
            shown.layer, shown.head, height=min(height, RANGE_CELLS), width=min(width, RANGE_CELLS),
            batch=shown.batch, stack=shown.stack,
        )  # fmt: skip
        return head_range(tile.values)

    @cached_property
    def ramp(self) -> Ramp:
        """From a weight of the shown head to its colour."""
        return self.ramp_over(self.head)

    def ramp_over(self, found: HeadRange) -> Ramp:
        """From a weight to its colour, over the fixed range or that of a head."""
        shown = self.shown
        low, high = shown.domain or (found.low, found.high)
        return Ramp(shown.colormap, shown.scale, low, high, shown.dark)


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
        ranges: what the range of the colours is of: "this head" or "each head".
        opacity: a colour, where weights are shown as its opacity; None where they have the colours of the map.
        masked: how what the mask forbids looks, "hatched" or "plain"; "" where there is nothing of the kind.
    """

    right: float
    bottom: float
    note: str = ""
    words: tuple[str, ...] = ()
    ranges: str = "this head"
    opacity: str | None = None
    masked: str = ""


class Painter(Protocol):
    """Draws one panel on a sheet."""

    def __call__(self, sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
        """Draw it at the top of the area.

        Raises:
            ValueError: what is shown cannot be drawn this way; the text says what to do.
        """
        ...  # pragma: no cover
