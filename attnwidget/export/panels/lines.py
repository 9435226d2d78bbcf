"""Two columns of tokens, one line per pair: opacity is the weight over the top of the range, hue is the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.drawing import Area, Drawn
from attnwidget.export.look import head_colour
from attnwidget.export.pairs import Pairs, strongest_pairs
from attnwidget.export.panels.axes import Axis
from attnwidget.export.sheet import SIZE
from attnwidget.export.words import format_end, grouped

if TYPE_CHECKING:
    from attnwidget.export.drawing import Look
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Gaze, Shown

MAX_LINES = 2000
"""Drawn at most, of one head; the strongest."""
MAX_PAIRS = 2**24
"""Looked at, at most, to find them."""
_FAINTEST = 1 / 255
"""A line of less opacity than this would change no pixel."""
_PITCH, _HIGHEST = 14.0, 620.0
_WIDEST = 430.0
_LABEL_MOST = 100.0
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

    def inside(self, query: int, key: int) -> bool:
        """Whether both tokens are in the window."""
        return self.queries.start <= query < self.queries.stop and self.keys.start <= key < self.keys.stop


def draw_lines(sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
    """Draw the lines of the locked token, or the strongest of the window.

    Raises:
        ValueError: too many pairs to choose from.
    """
    heads = shown.heads or (shown.head,)
    area = Area(area.left, area.top, min(area.width, _WIDEST))
    top = area.top if len(heads) == 1 else _draw_heads(sheet, heads, look, area)
    notes: list[str] = []
    gazes = {head: shown.gaze(head) for head in heads}
    columns = _columns(sheet, shown, Area(area.left, top, area.width), list(filter(None, gazes.values())))
    for head in heads:
        gaze = gazes[head]
        pairs = _all_pairs(shown, head) if gaze is None else _pairs_of(gaze, shown.threshold, columns)
        _draw_curves(sheet, columns, pairs, look, head, gaze)
        if gaze is None:
            drawn = min(pairs.total, MAX_LINES)
            strongest = f"strongest {grouped(drawn)} of " if pairs.total > drawn else ""
            lines = f"{grouped(pairs.total)} line{'' if pairs.total == 1 else 's'} ≥ {format_end(shown.threshold)}"
            notes.append((f"head {head}: " if len(heads) > 1 else "") + strongest + lines)
        else:
            notes = [f"lines ≥ {format_end(shown.threshold)} of {gaze.side} {gaze.index}"]
    for axis, side in ((columns.queries, "query"), (columns.keys, "key")):
        shades = {head: gaze for head, gaze in gazes.items() if gaze is not None and gaze.side != side}
        _draw_column(sheet, columns, axis, side, look, shades)
    bottom = max(axis.at + len(axis) * axis.cell for axis in (columns.queries, columns.keys))
    note = ", ".join(filter(None, [shown.window_words, *notes]))
    colour = head_colour(heads[0], dark=shown.dark)
    return Drawn(columns.area.right, bottom, note, opacity=colour)


def _draw_heads(sheet: Sheet, heads: tuple[int, ...], look: Look, area: Area) -> float:
    """Which hue is which head; returns where that ends."""
    x, y = area.left, area.top + SIZE / 2
    for head in heads:
        text = f"head {head}"
        width = sheet.text_width(text) + 22
        if x + width > area.right:
            x, y = area.left, y + 1.5 * SIZE
        sheet.box(x, y - 3.5, 7, 7, fill=head_colour(head, dark=look.shown.dark), round_by=1.5)
        sheet.text(x + 10, y, text, look.palette.ink)
        x += width
    return y + 1.5 * SIZE


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


def _all_pairs(shown: Shown, head: int) -> Pairs:
    sides = [span[1] - span[0] for span in (shown.queries, shown.keys)]
    if sides[0] * sides[1] > MAX_PAIRS:
        raise ValueError(
            f"the lines of {grouped(sides[0])} × {grouped(sides[1])} tokens cannot be told apart: lock a query or a "
            "key (`view.query = 7`), or look at a part of the head (`view.window`), and draw it again"
        )
    return strongest_pairs(shown, head, MAX_LINES)


def _pairs_of(gaze: Gaze, threshold: float, columns: _Columns) -> Pairs:
    """The pairs of one token, the strongest last."""
    fits = (gaze.values > 0) & (gaze.values >= np.float32(threshold)) & (gaze.values <= 1)
    others = np.flatnonzero(fits)
    others = others[np.argsort(gaze.values[others], kind="stable")][-MAX_LINES:]
    own = np.full(len(others), gaze.index)
    queries, keys = (own, others) if gaze.side == "query" else (others, own)
    seen = np.array([columns.inside(q, k) for q, k in zip(queries, keys, strict=True)], dtype=bool)
    return Pairs(queries[seen], keys[seen], gaze.values[others][seen], int(seen.sum()))


def _draw_curves(sheet: Sheet, columns: _Columns, pairs: Pairs, look: Look, head: int, gaze: Gaze | None) -> None:
    alphas = np.minimum(1, pairs.weights / look.ramp.high)
    seen = np.flatnonzero(alphas >= _FAINTEST)
    other = None if gaze is None else gaze.other
    ends, widths = [], []
    for place in seen:
        query, key = int(pairs.queries[place]), int(pairs.keys[place])
        ends.append((columns.queries.middle(query), columns.keys.middle(key)))
        widths.append(1.9 if gaze is not None and other == (key if gaze.side == "query" else query) else 1.05)
    between = columns.left + 2.5, columns.right - 2.5
    sheet.curves(ends, between, head_colour(head, dark=look.shown.dark), alphas[seen].tolist(), widths)


def _draw_column(sheet: Sheet, columns: _Columns, axis: Axis, side: str, look: Look, shades: dict[int, Gaze]) -> None:
    """The tokens of one side, each shaded by its weights from or to the locked token of the other."""
    colours, left = look.palette, side == "query"
    edge, outer = (columns.left, columns.area.left) if left else (columns.right, columns.area.right)
    start, width = min(edge, outer), abs(edge - outer)
    stripe = min(3.0, width / 3 / max(1, len(shades)))
    for number, (head, gaze) in enumerate(shades.items()):
        hue = head_colour(head, dark=look.shown.dark)
        weights = np.nan_to_num(np.minimum(1, gaze.values / look.ramp.high), nan=0, posinf=0)
        for token in range(axis.start, axis.stop):
            weight = float(weights[token])
            if weight <= 0.005:  # noqa: PLR2004 - nobody would see it
                continue
            y = axis.middle(token) - axis.cell / 2
            # Under half of the hue at most, so that the label on it stays readable.
            sheet.box(start, y, width, axis.cell * 0.96, fill=hue, alpha=weight * 0.45 / len(shades))
            x = edge - stripe * (number + 1) if left else edge + stripe * number
            sheet.box(x, y, stripe, axis.cell * 0.96, fill=hue, alpha=weight)
    inner = edge - stripe * max(1, len(shades)) - 4 if left else edge + stripe * max(1, len(shades)) + 4
    index = sheet.text_width(str(axis.stop)) + 6
    for token in axis.marks():
        y = axis.middle(token)
        ink, faint, bold = colours.ink, colours.muted, "normal"
        if token == axis.lock:
            high = max(axis.cell, SIZE * 1.5)
            sheet.box(start, y - high / 2, width, high, fill=colours.accent, round_by=2)
            ink, faint, bold = colours.page, colours.page, "bold"
        text = sheet.elided(axis.labels[token], abs(inner - outer) - index, weight=bold)
        sheet.text(inner, y, text, ink, align="right" if left else "left", weight=bold)
        near = outer + 3 if left else outer - 3
        sheet.text(near, y, str(token), faint, size=SIZE - 1, align="left" if left else "right")
