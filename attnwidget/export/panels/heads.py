"""Which hue is which head, over the lines and arcs of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.export.sheet import SIZE
from attnwidget.export.words import format_cell

if TYPE_CHECKING:
    from attnwidget.export.drawing import Area, Look
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Shown

_SQUARE = 7.0


def draw_heads(sheet: Sheet, shown: Shown, look: Look, area: Area) -> float:
    """A square and a name for each head, and its weight of the locked pair; returns where that ends."""
    if len(shown.drawn) == 1:
        return area.top
    x, y = area.left, area.top + SIZE / 2
    for head in shown.drawn:
        name, weight = f"head {head}", shown.pair_weight(head)
        value = "" if weight is None else format_cell(shown.number(weight), shown.kind, "not allowed")
        width = sheet.text_width(name) + (sheet.text_width(value, weight="bold") + 5 if value else 0)
        if x + _SQUARE + 3 + width > area.right:
            x, y = area.left, y + 1.5 * SIZE
        sheet.box(x, y - _SQUARE / 2, _SQUARE, _SQUARE, fill=look.hue(head), round_by=1.5)
        sheet.text(x + _SQUARE + 3, y, name, look.palette.ink)
        if value:
            sheet.text(x + _SQUARE + 3 + width, y, value, look.palette.accent, weight="bold", align="right")
        x += _SQUARE + 15 + width
    return y + 1.5 * SIZE
