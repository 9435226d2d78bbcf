"""One head as a heatmap, with its tokens along both axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.drawing import Drawn
from attnwidget.export.panels.axes import Axis, draw_keys, draw_queries, slant_height, slant_width
from attnwidget.export.sheet import SIZE
from attnwidget.export.words import grouped

if TYPE_CHECKING:
    from attnwidget.export.drawing import Area, Look
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Shown

_LABEL_MOST = 96.0
"""Points of a token's label; longer ones are cut off."""
_CELL_MOST = 30.0
_THIN, _LEAST_SIDE = 36.0, 90.0
"""A plot that square cells would make thinner than the first gets cells that make it as wide as the second."""
_PAD = 5.0
_CORNER = ("queries ↓", "keys →")


@dataclass(frozen=True)
class Plot:
    """Where the cells are, in points."""

    left: float
    top: float
    width: float
    height: float


def draw_heatmap(sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
    """Draw the window of the shown head, at the resolution of the figure."""
    colours = look.palette
    rows, columns = shown.queries[1] - shown.queries[0], shown.keys[1] - shown.keys[0]
    if rows == 0 or columns == 0:
        sheet.text(area.left, area.top + SIZE, "no tokens", colours.muted)
        return Drawn(area.right, area.top + 2 * SIZE)
    queries = Axis(shown.query_labels, *shown.queries, shown.query)
    keys = Axis(shown.key_labels, *shown.keys, shown.key)
    plot = _plot(sheet, area, queries, keys)
    queries, keys = queries.over(plot.top, plot.height), keys.over(plot.left, plot.width)

    height, width = min(rows, sheet.dots(plot.height)), min(columns, sheet.dots(plot.width))
    tile = shown.tile(height, width, queries=shown.queries, keys=shown.keys)
    masked = bool(np.isnan(tile.values).any())
    if masked:
        sheet.box(plot.left, plot.top, plot.width, plot.height, fill=colours.page, hatch=colours.hatch)
    sheet.image(look.ramp.paint(tile.values), plot.left, plot.top, plot.width, plot.height)
    sheet.box(plot.left, plot.top, plot.width, plot.height, edge=colours.rule)
    _draw_lock(sheet, look, queries, keys, plot)
    draw_keys(sheet, keys, plot.top, colours)
    draw_queries(sheet, queries, plot.left, plot.left - area.left, colours)
    # Over the first label of the queries; a tick has its number in the middle of the edge.
    clear = 4.0 if queries.named else SIZE + 3
    for text, up in zip(_CORNER, (clear, clear + SIZE + 2), strict=True):
        sheet.text(plot.left - _PAD, plot.top - up, text, colours.muted, size=SIZE - 1, align="right")

    pooled = (math.ceil(rows / height), math.ceil(columns / width))
    words = (f"max of up to {grouped(pooled[0])} × {grouped(pooled[1])}",) if max(pooled) > 1 else ()
    right = plot.left + plot.width + max(0.0, slant_width(sheet, keys) - keys.cell / 2)
    return Drawn(
        right, plot.top + plot.height, shown.window_words, words,
        ranges=shown.ranges, masked="hatched" if masked else "",
    )  # fmt: skip


def _plot(sheet: Sheet, area: Area, queries: Axis, keys: Axis) -> Plot:
    """The plot that fits in the area with its labels, in whole dots."""
    rough = min(area.width / len(keys), area.width / len(queries))
    queries, keys = queries.over(0, rough * len(queries)), keys.over(0, rough * len(keys))
    corner = max(sheet.text_width(text, SIZE - 1) for text in _CORNER)
    left = max(corner, queries.label_width(sheet, _LABEL_MOST)) + 2 * _PAD
    top = max(slant_height(sheet, keys), 2 * SIZE + 4 if queries.named else 3 * SIZE + 4) + _PAD
    wide = area.width - left - slant_width(sheet, keys)
    cell = min(_CELL_MOST, wide / len(keys), area.width / len(queries))

    def side(count: int) -> float:
        square = cell * count
        return sheet.snapped(square if square >= _THIN else max(square, min(_LEAST_SIDE, _CELL_MOST * count)))

    return Plot(sheet.snapped(area.left + left), sheet.snapped(area.top + top), side(len(keys)), side(len(queries)))


def _draw_lock(sheet: Sheet, look: Look, queries: Axis, keys: Axis, plot: Plot) -> None:
    """The row and the column of the locked tokens, and the cell where they meet."""
    colours = look.palette
    bands = []
    row, column = queries.band(), keys.band()
    if row:
        bands.append((plot.left, row[0], plot.width, row[1], 0.7))
    if column:
        bands.append((column[0], plot.top, column[1], plot.height, 0.7))
    if row and column:
        bands.append((column[0], row[0], column[1], row[1], 1.4))
    for edge, extra in ((colours.halo, 1.4), (colours.accent, 0.0)):
        for x, y, width, height, line in bands:
            sheet.box(x, y, width, height, edge=edge, line=line + extra)
