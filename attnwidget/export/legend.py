"""Title and legend of a figure: everything that says what its colours and numbers mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.look import hex_of
from attnwidget.export.sheet import SIZE
from attnwidget.export.words import format_end, format_weight

if TYPE_CHECKING:
    from attnwidget.export.drawing import Drawn, Look
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Shown

TITLE_SIZE = 10.0
_BAR, _BAR_HIGH = 130.0, 8.0
_LINE = 1.4 * SIZE
_WORDS = 190.0
"""Points that the words need beside the bar; with less they stand under it."""


def title_height(shown: Shown) -> float:
    """Points that the title takes."""
    return TITLE_SIZE + _LINE * (2 if shown.pair_words else 1) + 14


def draw_title(sheet: Sheet, look: Look, panel: str, note: str, left: float, top: float, width: float) -> None:
    """Model, stack, layer and head; the panel and what it shows; the locked pair and its weight."""
    shown, colours = look.shown, look.palette
    y = top + TITLE_SIZE / 2
    # The head is the end of the title and must not be what is cut off.
    *front, head = shown.title.split(" · ")
    end = f" · {head}"
    room = width - sheet.text_width(end, TITLE_SIZE, "bold")
    title = sheet.elided(" · ".join(front), room, TITLE_SIZE, "bold") + end
    sheet.text(left, y, title, colours.ink, size=TITLE_SIZE, weight="bold")
    y += TITLE_SIZE / 2 + _LINE / 2 + 3
    sheet.text(left, y, sheet.elided(" · ".join(filter(None, [panel, note])), width), colours.muted)
    if shown.pair_words:
        value = f"   {_value(shown.pair_weight)}" if shown.pair_weight is not None else ""
        room = width - sheet.text_width(value, weight="bold")
        words = sheet.elided(shown.pair_words, room)
        sheet.text(left, y + _LINE, words, colours.accent)
        sheet.text(left + sheet.text_width(words), y + _LINE, value, colours.accent, weight="bold")


def _value(weight: float) -> str:
    if math.isnan(weight):
        return "not allowed by the mask"
    return format_weight(weight) if math.isfinite(weight) else "not a number: the model overflowed"


def draw_legend(sheet: Sheet, look: Look, drawn: Drawn, left: float, top: float, width: float) -> float:
    """The colour bar and the words; returns where the legend ends."""
    colours, ramp = look.palette, look.ramp
    each = drawn.ranges == "each head" and look.shown.domain is None
    _draw_bar(sheet, look, drawn, left, top)
    clipped = drawn.ranges == "this head" and look.head.largest > ramp.high * 1.01
    if clipped:
        x = left + _BAR + 1.5
        last = drawn.opacity or hex_of(ramp.colours(np.array(ramp.high)))
        sheet.shape([(x, top), (x + 5.5, top + _BAR_HIGH / 2), (x, top + _BAR_HIGH)], last)
    y = top + _BAR_HIGH + SIZE
    for place, align in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
        value = ramp.high * place if drawn.opacity else ramp.weight_at(place)
        text = format_end(value)
        if place == 0 and ramp.scale == "log" and not drawn.opacity:
            text = f"≤ {text}"
        if each:
            text = {0.0: "0" if ramp.scale != "log" else "least", 1.0: "most"}.get(place, "")
        sheet.text(left + place * _BAR, y, text, colours.ink, size=SIZE - 1, align=align)

    scale = "weight as opacity" if drawn.opacity else f"weight, {ramp.scale} scale"
    where = "fixed range" if look.shown.domain else f"range of {drawn.ranges}"
    ends = "" if each else f" {format_end(0 if drawn.opacity else ramp.low)} – {format_end(ramp.high)}"
    words = [scale, where + ends, *([f"clipped above, up to {format_end(look.head.largest)}"] if clipped else [])]
    beside = width >= _BAR + 18 + _WORDS
    x, y = (left + _BAR + 18, top + _BAR_HIGH / 2) if beside else (left, top + _BAR_HIGH + 2.8 * SIZE)
    for line in sheet.wrapped([*words, *drawn.words], left + width - x):
        sheet.text(x, y, line, colours.muted)
        y += _LINE
    if drawn.masked:
        plain = drawn.masked == "plain"
        fill, hatch = (colours.masked, None) if plain else (colours.page, colours.hatch)
        sheet.box(x, y - 4, 11, 8, fill=fill, hatch=hatch, edge=colours.rule, line=0.4)
        sheet.text(x + 15, y, "not allowed by the mask", colours.muted)
        y += _LINE
    return max(y - _LINE / 2, top + _BAR_HIGH + 1.5 * SIZE)


def _draw_bar(sheet: Sheet, look: Look, drawn: Drawn, left: float, top: float) -> None:
    ramp = look.ramp
    if drawn.opacity:
        row = np.zeros((1, 256, 4), dtype=np.uint8)
        row[..., :3] = tuple(bytes.fromhex(drawn.opacity[1:]))
        row[..., 3] = np.arange(256)
    else:
        row = ramp.paint(np.array([[ramp.weight_at(step / 255) for step in range(256)]]))
    sheet.image(row, left, top, _BAR, _BAR_HIGH)
    sheet.box(left, top, _BAR, _BAR_HIGH, edge=look.palette.rule, line=0.4)
