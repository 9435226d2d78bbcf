"""How the weight of the locked pair came about: the steps in words, and q, k and q * k by component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.drawing import Drawn
from attnwidget.export.sheet import SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention import PairDetail
    from attnwidget.export.drawing import Area, Look
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Shown

_BELOW = {False: "#1f64a8", True: "#74b3f0"}
"""Of bars under zero, by whether the page is dark: as far from the accent for eyes that see red and green alike."""
_LEFT, _TALL, _BETWEEN = 50.0, 40.0, 6.0
_WIDEST_BAR, _LEAST_GAPPED = 18.0, 2.2
_NUMBER = 17.0
"""Points that the number of a component takes."""
_LINE = 1.7 * SIZE


def draw_detail(sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
    """Draw the steps and the strips, or say why there are none."""
    try:
        found = _found(shown)
    except ValueError as error:
        y = area.top + SIZE / 2
        for line in sheet.wrapped(str(error).split(), area.width, between=" "):
            sheet.text(area.left, y, line, look.palette.muted)
            y += _LINE
        return Drawn(area.right, y - _LINE / 2, bare=True)
    y = _draw_steps(sheet, found, look, area) + 0.6 * SIZE
    products = found.products
    order = np.arange(len(products))
    if shown.components == "size":
        order = np.argsort(-np.nan_to_num(np.abs(products)), kind="stable")
    pitch = min(_WIDEST_BAR, (area.width - _LEFT) / len(order))
    top = y
    for name, values in (("q", found.q), ("k", found.k), ("q × k", products)):
        _draw_strip(sheet, look, (area.left, y, pitch), name, values[order])
        y += _TALL + _BETWEEN
    few = found.components() if shown.components == "size" else 0
    if 0 < few < len(order):
        x = area.left + _LEFT + few * pitch
        sheet.line([(x, top), (x, y - _BETWEEN)], look.palette.ink, width=0.8)
    step = int(np.ceil(_NUMBER / pitch))
    for place in range(0, len(order), step):
        x = area.left + _LEFT + (place + 0.5) * pitch
        sheet.text(x, y, str(order[place]), look.palette.muted, size=SIZE - 1, align="center")
    words = [
        "components in order" if shown.components == "index" else "components by size of q × k",
        found.share + (": those left of the line" if 0 < few < len(order) else ""),
        "each strip over its own largest",
    ]
    right = max(area.left + _LEFT + len(order) * pitch, min(area.right, area.left + 300))
    return Drawn(right, y + SIZE / 2, "how the weight came about", tuple(words), bare=True)


def _found(shown: Shown) -> PairDetail:
    if shown.query is None or shown.key is None:
        raise ValueError("Lock a query and a key to see how their weight came about.")
    if shown.aggregate:
        raise ValueError(f"Scores, q and k belong to one head, and this is the {shown.head_words}.")
    return shown.capture.detail(shown.layer, shown.head, shown.query, shown.key, batch=shown.batch, stack=shown.stack)


def _draw_steps(sheet: Sheet, found: PairDetail, look: Look, area: Area) -> float:
    """The steps one after another, their numbers bold; returns where they end."""
    colours = look.palette
    x, y = area.left, area.top + SIZE / 2
    for before, number, after in found.steps:
        parts = [(f"{before} ", "normal"), (number, "bold"), (f" {after}" if after else "", "normal")]
        # Blanks at an end have no width of their own.
        gap = sheet.text_width("x x") - sheet.text_width("xx")
        widths = [sheet.text_width(text.strip(), weight=weight) for text, weight in parts]
        whole = sum(widths) + gap * (2 if after else 1)
        if x > area.left and x + whole > area.right:
            x, y = area.left, y + _LINE
        for (text, weight), width in zip(parts, widths, strict=True):
            if text.strip():
                sheet.text(x, y, text.strip(), colours.ink if weight == "bold" else colours.muted, weight=weight)
                x += width + gap
        x += 2 * SIZE
    return y + _LINE / 2


def _draw_strip(
    sheet: Sheet, look: Look, place: tuple[float, float, float], name: str, values: NDArray[np.float32]
) -> None:
    """Bars around zero: up and in the accent above it, down and blue below."""
    colours, (left, top, pitch) = look.palette, place
    start, middle = left + _LEFT, top + _TALL / 2
    known = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    most = float(np.abs(known).max(initial=0))
    sheet.text(left, middle - SIZE * 0.7, name, colours.ink, weight="bold")
    sheet.text(left, middle + SIZE * 0.7, f"± {most:#.2g}".rstrip("."), colours.muted, size=SIZE - 1)
    wide = pitch - (0.7 if pitch > _LEAST_GAPPED else 0)
    shapes, hues = [], []
    for number, value in enumerate(known.tolist()):
        if value:
            x, high = start + number * pitch, value / most * _TALL / 2
            shapes.append([(x, middle), (x + wide, middle), (x + wide, middle - high), (x, middle - high)])
            hues.append(colours.accent if value > 0 else _BELOW[look.shown.dark])
    sheet.line([(start, middle), (start + len(known) * pitch, middle)], colours.rule)
    if shapes:
        sheet.shapes(shapes, hues, [1.0] * len(shapes))
