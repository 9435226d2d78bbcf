"""Tokens along a line, an arc from each query to the keys it looks at.

Thickness and opacity are the weight on the scale of the legend, hue is the head. In one text arcs above the tokens look
back and arcs below look ahead; keys of another text stand over the queries.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.drawing import Area, Drawn
from attnwidget.export.pairs import pair_note, pairs_of
from attnwidget.export.panels.heads import draw_heads
from attnwidget.export.panels.tokenrow import draw_row, token_row
from attnwidget.export.sheet import SIZE

if TYPE_CHECKING:
    from attnwidget.export.drawing import Look
    from attnwidget.export.pairs import Pairs
    from attnwidget.export.sheet import Points, Sheet
    from attnwidget.export.shown import Gaze, Shown

_APART, _LOOP = 2.2, 18.0
"""Ends of arcs in and out of one token stand so far apart; half of the height of an arc to a token itself."""
_SHARE, _HIGH_LEAST, _HIGH_MOST = 0.3, 56.0, 120.0
"""Height of the highest arc, over its width."""
_THICK, _MANY = 2.6, 150
"""Width of the strongest arc; of so many arcs and more they get thinner: they would be one patch of colour."""
_FAINTEST = 1 / 255
_NAMED = 12
"""Ends of the strongest arcs that have a label first."""


def draw_graph(sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
    """Draw the arcs of the locked token, or the strongest of the window.

    Raises:
        ValueError: too many pairs to choose from.
    """
    gazes = tuple(shown.gaze(head) for head in shown.drawn)
    pairs = pairs_of(shown, gazes, "arc")
    top = draw_heads(sheet, shown, look, area)
    one = shown.one_text
    if one:
        queries = keys = token_row(sheet, shown.query_labels, (shown.queries, shown.keys), area.left, area.width)
    else:
        queries = token_row(sheet, shown.query_labels, (shown.queries,), area.left, area.width)
        keys = token_row(sheet, shown.key_labels, (shown.keys,), area.left, area.width)
    starts, ends = _places(queries.middles(), pairs.queries), _places(keys.middles(), pairs.keys)
    wide = max(queries.right, keys.right) - area.left
    far = float(np.abs(ends - starts).max(initial=0)) or wide
    high = max(_HIGH_LEAST, min(_HIGH_MOST, _SHARE * far))
    # How high the arcs rise that look back, and those that look ahead.
    peaks = np.maximum(_LOOP * 3 / 4, high * np.sqrt(np.minimum(1, np.abs(ends - starts) / far)))
    back, ahead = (float(peaks[side].max(initial=0)) for side in (ends <= starts, ends > starts))
    muted = look.palette.muted
    if one:
        over = top + max(back + 6, 1.6 * SIZE if back else 2)
        under = over + keys.high
        bottom = under + (max(ahead + 6, 1.6 * SIZE) if ahead else 0)
        bends = [_arc(a, b, over, under, high, far) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        if back:
            sheet.text(area.left, top + SIZE / 2, "↑ looks back", muted, size=SIZE - 1)
        if ahead:
            sheet.text(area.left, bottom - SIZE / 2, "↓ looks ahead", muted, size=SIZE - 1)
    else:
        over, under = top + 1.4 * SIZE + keys.high, top + 1.4 * SIZE + keys.high + high + 30
        bottom = under + queries.high + 1.4 * SIZE
        bends = [_across(a, b, over, under) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        sheet.text(area.left, top + SIZE / 2, "keys", muted, size=SIZE - 1)
        sheet.text(area.left, bottom - SIZE / 2, "queries", muted, size=SIZE - 1)
    _draw_arcs(sheet, look, pairs, bends, gazes[0])
    ends_of = pairs.queries[::-1][:_NAMED].tolist(), pairs.keys[::-1][:_NAMED].tolist()
    for row, at, side in ((keys, over if one else over - keys.high, "key"), (queries, under, "query")):
        if one and side == "query":
            continue
        locked = (shown.query, shown.key) if one else (shown.query,) if side == "query" else (shown.key,)
        wanted = [*ends_of[0], *ends_of[1]] if one else ends_of[side == "key"]
        shades = {} if gazes[0] is None or (gazes[0].side == side and not one) else _shades(look, gazes[0])
        draw_row(sheet, row, at, look.palette, locked, wanted, shades)
    many = len(shown.drawn) > 1
    return Drawn(
        max(area.left + wide, min(area.right, area.left + 200)), bottom, pair_note(shown, gazes, pairs, "arc"),
        ranges="these heads" if many else shown.ranges,
        opacity=look.palette.ink if many else look.hue(shown.drawn[0]), scaled=True,
        of="" if shown.drawn_words == shown.head_words else shown.drawn_words,
    )  # fmt: skip


def _places(middles: dict[int, float], tokens: np.ndarray) -> np.ndarray:
    return np.array([middles[token] for token in tokens.tolist()], dtype=np.float64)


def _shades(look: Look, gaze: Gaze) -> dict[int, tuple[str, float]]:
    """How strongly each token on the other side is shaded."""
    known = np.isfinite(gaze.values) & (gaze.values > 0)
    strengths = np.where(known, look.drawn_ramp.strengths(np.where(known, gaze.values, 0)), 0)
    hue = look.hue(look.shown.drawn[0])
    return {token: (hue, float(strengths[token])) for token in np.flatnonzero(strengths > 0.005).tolist()}  # noqa: PLR2004 - nobody would see less


def _arc(start: float, end: float, over: float, under: float, high: float, far: float) -> tuple[Points, int]:
    """From a token to another one of the same row, and whether its end is entered from above (-1) or below (1)."""
    if start == end:
        a, b = start - _APART, start + _APART
        return ((a, over), (a - 8, over - _LOOP), (b + 8, over - _LOOP), (b, over)), -1
    out = -1 if end < start else 1
    y = over if out < 0 else under
    # A curve rises to three quarters of its control points.
    rise = out * max(_LOOP, high * math.sqrt(min(1.0, abs(end - start) / far)) * 4 / 3)
    a, b = start + out * _APART, end - out * _APART
    return ((a, y), (a, y + rise), (b, y + rise), (b, y)), out


def _across(start: float, end: float, over: float, under: float) -> tuple[Points, int]:
    """From a query up to a key of another text."""
    bend = (under - over) / 2
    return ((start, under), (start, under - bend), (end, over + bend), (end, over)), 1


def _draw_arcs(sheet: Sheet, look: Look, pairs: Pairs, bends: list[tuple[Points, int]], gaze: Gaze | None) -> None:
    """Each as thick and opaque as its weight is on the scale, with a head at the key."""
    strengths = look.drawn_ramp.strengths(pairs.weights)
    hues = [look.hue(head) for head in look.shown.drawn]
    thick = max(0.8, min(_THICK, _MANY / max(1, len(bends))))
    curves, heads, colours, alphas, widths = [], [], [], [], []
    for place in np.flatnonzero(strengths >= _FAINTEST).tolist():
        (first, bend, other, (x, y)), out = bends[place]
        strength = float(strengths[place])
        width = 0.4 + thick * strength
        if gaze is not None:
            locked = pairs.keys[place] if gaze.side == "query" else pairs.queries[place]
            width += 0.8 * (gaze.other == locked)
        size = 2.2 + width
        base = y + out * size
        curves.append((first, bend, other, (x, base)))
        heads.append(((x, y), (x - size * 0.6, base), (x + size * 0.6, base)))
        colours.append(hues[pairs.heads[place]])
        alphas.append(strength)
        widths.append(width)
    if not curves:
        return
    sheet.curves(curves, colours, alphas, widths)
    sheet.shapes(heads, colours, alphas)
