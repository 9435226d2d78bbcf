"""Title and legend of a figure: everything that says what its colours and numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.analysis.sinks import sinks_of_head
from attnwidget.export.look import colours_of, hex_of
from attnwidget.export.sheet import SIZE
from attnwidget.export.words import format_cell, format_end, named

if TYPE_CHECKING:
    from attnwidget.export.drawing import Drawn, Look
    from attnwidget.export.look import Ramp
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


def draw_title(sheet: Sheet, look: Look, panel: str, drawn: Drawn, left: float, top: float, width: float) -> None:
    """Model, stack, layer and head; the panel and what it shows; the locked pair and its weight."""
    shown, colours = look.shown, look.palette
    y = top + TITLE_SIZE / 2
    # The head is the end of the title and must not be what is cut off.
    *front, head = shown.title.split(" · ")
    end = f" · {drawn.of or head}"
    room = width - sheet.text_width(end, TITLE_SIZE, "bold")
    title = sheet.elided(" · ".join(front), room, TITLE_SIZE, "bold") + end
    sheet.text(left, y, title, colours.ink, size=TITLE_SIZE, weight="bold")
    y += TITLE_SIZE / 2 + _LINE / 2 + 3
    sheet.text(left, y, sheet.elided(" · ".join(filter(None, [panel, drawn.note])), width), colours.muted)
    if shown.pair_words:
        weight = None if drawn.of or drawn.bare else shown.pair_weight()
        value = "" if weight is None else f"   {format_cell(shown.number(weight), shown.kind, shown.forbidden_words)}"
        room = width - sheet.text_width(value, weight="bold")
        words = sheet.elided(shown.pair_words, room)
        sheet.text(left, y + _LINE, words, colours.accent)
        sheet.text(left + sheet.text_width(words), y + _LINE, value, colours.accent, weight="bold")


def draw_legend(sheet: Sheet, look: Look, drawn: Drawn, left: float, top: float, width: float) -> float:
    """The colour bar and the words; returns where the legend ends."""
    shown, colours = look.shown, look.palette
    words = [*_words(look, drawn), *drawn.words, *shown.made_words, *_sinks(look, drawn)]
    beside = not drawn.bare and width >= _BAR + 18 + _WORDS
    x, y = (left + _BAR + 18, top + _BAR_HIGH / 2) if beside else (left, top + SIZE / 2)
    if not drawn.bare:
        _draw_bar(sheet, look, drawn, left, top)
        y = y if beside else top + _BAR_HIGH + 2.8 * SIZE
    for line in sheet.wrapped(words, left + width - x):
        sheet.text(x, y, line, colours.muted)
        y += _LINE
    if drawn.masked:
        plain = drawn.masked == "plain"
        fill, hatch = (colours.masked, None) if plain else (colours.page, colours.hatch)
        sheet.box(x, y - 4, 11, 8, fill=fill, hatch=hatch, edge=colours.rule, line=0.4)
        sheet.text(x + 15, y, shown.forbidden_words, colours.muted)
        y += _LINE
    return max(y - _LINE / 2, top if drawn.bare else top + _BAR_HIGH + 1.5 * SIZE)


def _ramp(look: Look, drawn: Drawn) -> Ramp:
    return look.drawn_ramp if drawn.opacity else look.ramp


def _clipped(look: Look, drawn: Drawn) -> float:
    """The largest weight where it lies above the range, else 0."""
    if drawn.ranges == "each head":
        return 0.0
    largest = look.drawn_largest if drawn.opacity else look.head.largest
    return largest if largest > _ramp(look, drawn).high * 1.01 else 0.0


def _words(look: Look, drawn: Drawn) -> list[str]:
    """What the colours mean: the measure, the scale, the range."""
    if drawn.bare:
        return []
    shown, ramp, above = look.shown, _ramp(look, drawn), _clipped(look, drawn)
    number = shown.number
    what = "lift over uniform" if shown.kind == "lift" else "weight after softmax"
    if shown.reading is not None:
        what = shown.reading.words
    if not drawn.opacity:
        how = f"{what}, {ramp.scale} scale"
    elif drawn.scaled:
        how = f"{what} as opacity and thickness, {ramp.scale} scale"
    else:
        how = f"{what} as opacity"
    chance = ["1 = as much as by chance"] if shown.kind == "lift" else []
    where = "fixed range" if shown.domain else f"range of {drawn.ranges}"
    if shown.domain or drawn.ranges != "each head":
        to = "to" if shown.kind == "signed" else "–"
        low = shown.share(0) if drawn.opacity and not drawn.scaled else ramp.low
        where += f" {format_end(number(low))} {to} {format_end(number(ramp.high))}"
    clipped = [f"clipped above, up to {format_end(number(above))}"] if above else []
    return [how, *chance, where, *clipped]


def _sinks(look: Look, drawn: Drawn) -> list[str]:
    """Keys that take most of the mass of what is shown, where a cell of its picture is one of them."""
    shown, picture = look.shown, look.picture()
    if drawn.bare or drawn.of or drawn.ranges == "each head" or shown.kind != "weight":
        return []
    if picture.shape != (len(shown.query_tokens), len(shown.key_tokens)):
        return []
    capture, layer, head = shown.asked()
    left_out = look.head.sinks if not shown.domain and shown.scale != "quantile" else ()
    return [
        f"sink: key {named(shown.key_labels, key)}, about {round(share * 100)} % of the mass of {shown.ranges}"
        + (", left out of the range" if key in left_out else "")
        for key, share in sinks_of_head(capture.stacks[shown.stack], layer, head, example=shown.batch)
    ]


def _draw_bar(sheet: Sheet, look: Look, drawn: Drawn, left: float, top: float) -> None:
    shown, ramp = look.shown, _ramp(look, drawn)
    row = np.full((1, 256, 4), 255, dtype=np.uint8)
    if drawn.opacity:
        row[..., :3] = tuple(bytes.fromhex(drawn.opacity[1:]))
        row[..., 3] = np.arange(256)
    else:
        row[0, :, :3] = colours_of(ramp.colormap, dark=ramp.dark)
    sheet.image(row, left, top, _BAR, _BAR_HIGH)
    sheet.box(left, top, _BAR, _BAR_HIGH, edge=look.palette.rule, line=0.4)
    if _clipped(look, drawn):
        x = left + _BAR + 1.5
        last = drawn.opacity or hex_of(row[0, -1, :3])
        sheet.shape([(x, top), (x + 5.5, top + _BAR_HIGH / 2), (x, top + _BAR_HIGH)], last)
    y = top + _BAR_HIGH + SIZE
    linear = drawn.opacity is not None and not drawn.scaled
    each = drawn.ranges == "each head" and shown.domain is None
    for place, align in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
        text = format_end(shown.number(ramp.high) * place if linear else shown.number(ramp.weight_at(place)))
        if place == 0 and ramp.scale == "log" and not linear:
            text = f"≤ {text}"
        if each and shown.kind in ("lift", "signed"):
            text = {0.0: "less", 0.5: "1" if shown.kind == "lift" else "0", 1.0: "more"}[place]
        elif each:
            text = {0.0: "0" if ramp.scale != "log" else "least", 1.0: "most"}.get(place, "")
        sheet.text(left + place * _BAR, y, text, look.palette.ink, size=SIZE - 1, align=align)
