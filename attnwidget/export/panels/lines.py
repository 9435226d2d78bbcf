"""Two columns of tokens, one line per pair: opacity is the weight over the top of the range, hue is the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.drawing import Area, Drawn
from attnwidget.export.pairs import pair_note, pairs_of
from attnwidget.export.panels.axes import Axis
from attnwidget.export.panels.heads import draw_heads
from attnwidget.export.sheet import SIZE

if TYPE_CHECKING:
    from attnwidget.export.drawing import Look
    from attnwidget.export.pairs import Pairs
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Gaze, Shown

_FAINTEST = 1 / 255
"""A line of less opacity than this would change no pixel."""
_PITCH, _HIGHEST = 14.0, 620.0
_WIDEST = 430.0
_LABEL_MOST = 100.0
_STRIPE = 2.0
"""Height of the part of a stripe that no label covers."""
_FAINT = 0.005
"""Nobody would see less."""
_NAMED = 8
"""Ends of the strongest lines that have a label first."""


@dataclass(frozen=True)
class _Columns:
    """Where the two columns of tokens are."""

    queries: Axis
    keys: Axis
    left: float
    right: float
    area: Area


def draw_lines(sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
    """Draw the lines of the locked token, or the strongest of the window.

    Raises:
        ValueError: too many pairs to choose from.
    """
    area = Area(area.left, area.top, min(area.width, _WIDEST))
    gazes = tuple(shown.gaze(head) for head in shown.drawn)
    pairs = pairs_of(shown, gazes, "line")
    top = draw_heads(sheet, shown, look, area)
    columns = _columns(sheet, shown, Area(area.left, top, area.width), list(filter(None, gazes)))
    _draw_curves(sheet, columns, pairs, look, gazes[0])
    for axis, side in ((columns.queries, "query"), (columns.keys, "key")):
        shades = [(look.hue(head), gaze) for head, gaze in zip(shown.drawn, gazes, strict=True) if gaze is not None]
        _draw_column(sheet, columns, axis, side, look, [one for one in shades if one[1].side != side])
    bottom = max(axis.at + len(axis) * axis.cell for axis in (columns.queries, columns.keys))
    many = len(shown.drawn) > 1
    return Drawn(
        columns.area.right, bottom, pair_note(shown, gazes, pairs, "line"),
        ranges="these heads" if many else shown.ranges,
        opacity=look.palette.ink if many else look.hue(shown.drawn[0]),
        of="" if shown.drawn_words == shown.head_words else shown.drawn_words,
    )  # fmt: skip


def _columns(sheet: Sheet, shown: Shown, area: Area, gazes: list[Gaze]) -> _Columns:
    # Where there is no room for all labels, those that the lines lead to come first.
    ends: dict[str, tuple[int, ...]] = {"query": (), "key": ()}
    for gaze in gazes:
        best = np.argsort(-np.nan_to_num(gaze.values, nan=0, posinf=0), kind="stable")[:_NAMED]
        ends["key" if gaze.side == "query" else "query"] += tuple(best.tolist())
    rows = max(shown.queries[1] - shown.queries[0], shown.keys[1] - shown.keys[0], 1)
    pitch = min(_PITCH, _HIGHEST / rows)
    queries = Axis(shown.query_labels, *shown.queries, shown.query, area.top, pitch, ends["query"])
    keys = Axis(shown.key_labels, *shown.keys, shown.key, area.top, pitch, ends["key"])
    most = min(_LABEL_MOST, area.width * 0.3)
    index = sheet.text_width(str(max(queries.stop, keys.stop)))
    widths = [
        max((sheet.text_width(axis.labels[token]) for token in axis.marks()), default=0) if len(axis) else 0
        for axis in (queries, keys)
    ]
    label = max(20.0, min(most, *[max(widths)])) + index + 16
    return _Columns(queries, keys, area.left + label, area.right - label, area)


def _draw_curves(sheet: Sheet, columns: _Columns, pairs: Pairs, look: Look, gaze: Gaze | None) -> None:
    alphas = look.drawn_ramp.opacities(pairs.weights)
    seen = np.flatnonzero(alphas >= _FAINTEST)
    start, end = columns.left + 2.5, columns.right - 2.5
    bend = (end - start) * 0.45
    curves, widths = [], []
    for query, key in zip(pairs.queries[seen].tolist(), pairs.keys[seen].tolist(), strict=True):
        a, b = columns.queries.middle(query), columns.keys.middle(key)
        curves.append([(start, a), (start + bend, a), (end - bend, b), (end, b)])
        locked = gaze is not None and gaze.other == (key if gaze.side == "query" else query)
        widths.append(1.9 if locked else 1.05)
    hues = [look.hue(head) for head in look.shown.drawn]
    sheet.curves(curves, [hues[place] for place in pairs.heads[seen]], alphas[seen].tolist(), widths)


def _draw_column(
    sheet: Sheet, columns: _Columns, axis: Axis, side: str, look: Look, shades: list[tuple[str, Gaze]]
) -> None:
    """The tokens of one side, each with a stripe per head: its weight from or to the locked token of the other."""
    colours, left = look.palette, side == "query"
    edge, outer = (columns.left, columns.area.left) if left else (columns.right, columns.area.right)
    start, width = min(edge, outer), abs(edge - outer) / max(1, len(shades))
    under = min(_STRIPE, axis.cell / 4)
    for number, (hue, gaze) in enumerate(shades):
        weights = np.nan_to_num(look.drawn_ramp.opacities(gaze.values), nan=0, posinf=0)
        for token in (np.flatnonzero(weights[axis.start : axis.stop] > _FAINT) + axis.start).tolist():
            place = start + number * width, axis.middle(token) - axis.cell / 2
            weight = float(weights[token])
            # Under half of the hue at most, so that the label on it stays readable; below it, all of it.
            sheet.box(*place, width, axis.cell * 0.94, fill=hue, alpha=weight * 0.45)
            sheet.box(place[0], place[1] + axis.cell * 0.94 - under, width, under, fill=hue, alpha=weight)
    inner = edge - 5 if left else edge + 5
    index = sheet.text_width(str(axis.stop)) + 6
    for token in axis.marks():
        y = axis.middle(token)
        ink, faint, bold = colours.ink, colours.muted, "normal"
        if token == axis.lock:
            high = max(axis.cell, SIZE * 1.5)
            sheet.box(min(edge, outer), y - high / 2, abs(edge - outer), high, fill=colours.accent, round_by=2)
            ink, faint, bold = colours.page, colours.page, "bold"
        text = sheet.elided(axis.labels[token], abs(inner - outer) - index, weight=bold)
        sheet.text(inner, y, text, ink, align="right" if left else "left", weight=bold)
        near = outer + 3 if left else outer - 3
        sheet.text(near, y, str(token), faint, size=SIZE - 1, align="left" if left else "right")
