"""Every head of the stack as a small heatmap: layers down, heads across."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.cells import pooled, sized
from attnwidget.export.drawing import Drawn
from attnwidget.export.sheet import SIZE
from attnwidget.export.words import grouped

if TYPE_CHECKING:
    from attnwidget.export.drawing import Area, Look
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Shown

_CELLS = 48
"""Cells a side from which the range of a small head is read, as on the screen."""
_FINE = 2 * _CELLS
"""Cells a side of what is printed: twice as many, so that the others are pooled from them exactly."""
_EXACT_PAIRS = 2**24
_SAMPLE = 2
"""Queries looked at under each cell of heads with more pairs than that."""
_MOST = 63.0
_ASPECT = 4.0
_NARROW = 18.0
"""Points a head, under which the gaps are narrower too."""


def draw_grid(sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
    """Draw all heads, each over its own range, as one picture."""
    stack, colours = shown.attention, look.palette
    n_queries, n_keys = len(shown.query_tokens), len(shown.key_tokens)
    if n_queries == 0 or n_keys == 0:
        sheet.text(area.left, area.top + SIZE, "no tokens", colours.muted)
        return Drawn(area.right, area.top + 2 * SIZE)
    gap = 3.0 if area.width / stack.n_heads >= _NARROW else 1.5
    left, top = area.left + 2.2 * SIZE, area.top + 1.8 * SIZE
    ratio = max(1 / _ASPECT, min(_ASPECT, n_keys / n_queries))
    wide = min(_MOST, _MOST * ratio, (area.right - left) / stack.n_heads - gap)
    dots = sheet.dots(wide), sheet.dots(wide / ratio)
    step = dots[0] + sheet.dots(gap), dots[1] + sheet.dots(gap)
    picture = np.zeros((step[1] * stack.n_layers, step[0] * stack.n_heads, 4), dtype=np.uint8)
    rows, masked = None, False
    for layer in range(stack.n_layers):
        for head in range(stack.n_heads):
            tile = shown.thumbnail(layer, head, _FINE, _SAMPLE if n_queries * n_keys > _EXACT_PAIRS else None)
            rows = rows or tile.rows
            masked = masked or bool(np.isnan(tile.values).any())
            ramp = look.ramp_over(pooled(tile.values, _CELLS, _CELLS, shown.reading))
            pixels = ramp.paint(pooled(tile.values, *dots[::-1], shown.reading), masked=colours.masked)
            y, x = layer * step[1], head * step[0]
            picture[y : y + dots[1], x : x + dots[0]] = sized(pixels, *dots)
    point = 72 / sheet.dpi
    left, top = sheet.snapped(left), sheet.snapped(top)
    height, width = picture.shape[0] * point, picture.shape[1] * point
    sheet.image(picture, left, top, width, height)
    for layer in range(stack.n_layers):
        for head in range(stack.n_heads):
            corner = left + head * step[0] * point, top + layer * step[1] * point
            sheet.box(*corner, dots[0] * point, dots[1] * point, edge=colours.rule, line=0.4)
    for layer, head in _marked(shown):
        corner = left + head * step[0] * point, top + layer * step[1] * point
        sheet.box(*corner, dots[0] * point, dots[1] * point, edge=colours.accent, line=1.6)
    for head in _numbers(stack.n_heads, step[0] * point, sheet.text_width(str(stack.n_heads)) + 4):
        middle = left + (head * step[0] + dots[0] / 2) * point
        colour = colours.accent if head == shown.head else colours.muted
        sheet.text(middle, top - SIZE, str(head), colour, align="center")
    for layer in _numbers(stack.n_layers, step[1] * point, 1.2 * SIZE):
        middle = top + (layer * step[1] + dots[1] / 2) * point
        colour = colours.accent if layer == shown.layer else colours.muted
        sheet.text(left - 5, middle, str(layer), colour, align="right")

    words = _words(shown, (_under(n_queries, dots[1]), _under(n_keys, dots[0])), rows)
    note = "layers down, heads across"
    return Drawn(left + width, top + height, note, words, ranges="each head", masked="plain" if masked else "")


def _words(shown: Shown, under: tuple[int, int], rows: int | None) -> tuple[str, ...]:
    """How heads came to their pixels, and what of the view's grid is not drawn."""
    words = [f"max of up to {grouped(under[0])} × {grouped(under[1])}"] if max(under) > 1 else []
    if rows is not None:
        looked = _under(len(shown.query_tokens), _FINE)
        words.append(f"sampled: {grouped(rows)} of {grouped(looked)} queries looked at")
    if shown.arranged:
        words.append("all heads, as the model has them: order, filter and colours by measure are not drawn")
    return tuple(words)


def _marked(shown: Shown) -> list[tuple[int, int]]:
    """The head that the other panels show, or the heads that they show as one."""
    many = shown.aggregate
    if many is None:
        return [(shown.layer, shown.head)]
    if many.count == shown.attention.n_layers * shown.attention.n_heads:
        return []  # all are
    return [(layer, head) for layer in many.layers for head in many.heads]


def _under(tokens: int, cells: int) -> int:
    """How many tokens lie under one of at most so many cells."""
    return -(-tokens // min(tokens, cells))


def _numbers(count: int, pitch: float, room: float) -> range:
    return range(0, count, max(1, -int(-room // pitch)))
