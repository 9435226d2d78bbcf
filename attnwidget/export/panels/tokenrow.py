"""Tokens side by side along a line: as they read where there is room, else upright, else as many as fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnwidget.export.sheet import SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attnwidget.export.look import Palette
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Span

_AROUND = 9.0
"""Points around a word; what is left out takes as much."""
_WORD_MOST, _UPRIGHT_MOST = 76.0, 66.0
_PITCH, _PITCH_MOST = SIZE * 1.35, 20.0
"""Points that an upright word needs beside the next one; so far apart words are at most."""
_LEFT_OUT = -1


@dataclass(frozen=True)
class TokenRow:
    """Where the tokens stand.

    Attributes:
        labels: of all tokens of the text.
        indices: the tokens in the row; -1 where some between them are out of the window.
        starts: where each begins, and where the last one ends, in points.
        upright: whether words are turned.
        high: points that the row takes.
    """

    labels: tuple[str, ...]
    indices: tuple[int, ...]
    starts: tuple[float, ...]
    upright: bool
    high: float

    @property
    def right(self) -> float:
        """Where the row ends."""
        return self.starts[-1]

    def middles(self) -> dict[int, float]:
        """Where the middle of each token is."""
        return {
            index: (self.starts[place] + self.starts[place + 1]) / 2
            for place, index in enumerate(self.indices)
            if index != _LEFT_OUT
        }


def token_row(sheet: Sheet, labels: tuple[str, ...], spans: Sequence[Span], left: float, width: float) -> TokenRow:
    """Lay tokens out.

    Args:
        sheet: what measures them.
        labels: of all tokens of the text.
        spans: which of them, half-open.
        left: where the row starts.
        width: the most that it may take.
    """
    indices = _indices(spans)
    n = max(1, len(indices))
    widths = [_AROUND] * n
    upright = n * 2 * _AROUND > width
    if not upright:
        index = [_index_width(sheet, one) for one in indices]
        words = [min(_WORD_MOST, sheet.text_width(_label(labels, one), weight="bold")) for one in indices]
        widths = [_AROUND + max(word, number) for word, number in zip(words, index, strict=True)]
        upright = sum(widths) > width
    if upright:
        widths = [min(_PITCH_MOST, width / n)] * n
        seen = [_label(labels, one) for one in indices[:: _step(widths[0])]]
        longest = max((sheet.text_width(word, weight="bold") for word in seen), default=0.0)
        digits = sheet.text_width(str(len(labels)), SIZE - 1) + 8
        high = min(_UPRIGHT_MOST, longest) + digits + 6
    else:
        high = 2.9 * SIZE
    starts = [left]
    for one in widths:
        starts.append(starts[-1] + one)
    return TokenRow(labels, tuple(indices), tuple(starts), upright, high)


def draw_row(
    sheet: Sheet,
    row: TokenRow,
    top: float,
    colours: Palette,
    locked: Sequence[int | None],
    wanted: Iterable[int],
    shades: dict[int, tuple[str, float]],
) -> None:
    """Write the tokens.

    Args:
        sheet: where.
        row: which, and where they stand.
        top: of the row.
        colours: of everything that is no weight.
        locked: the locked tokens.
        wanted: tokens that have a label first where not all have one.
        shades: colour and strength, 0 to 1, behind a token.
    """
    places = {index: place for place, index in enumerate(row.indices)}
    for index, (hue, strength) in shades.items():
        if index in places:
            x, right = row.starts[places[index]], row.starts[places[index] + 1]
            # Under half of the hue at most, so that the label on it stays readable.
            sheet.box(x + 0.3, top + 1, right - x - 0.6, row.high - 2, fill=hue, alpha=strength * 0.45, round_by=1.5)
    for place in _marks(row, [index for index in locked if index is not None], wanted):
        index = row.indices[place]
        x, right = row.starts[place], row.starts[place + 1]
        middle, ink, faint, weight = (x + right) / 2, colours.ink, colours.muted, "normal"
        if index != _LEFT_OUT and index in locked:
            wide = max(right - x, _PITCH)
            sheet.box(middle - wide / 2, top + 0.5, wide, row.high - 1, fill=colours.accent, round_by=2)
            ink, faint, weight = colours.page, colours.page, "bold"
        word, number = _label(row.labels, index), "" if index == _LEFT_OUT else str(index)
        if row.upright:
            room = row.high - 6 - sheet.text_width(str(len(row.labels)), SIZE - 1) - 5
            bottom = top + row.high - 3
            sheet.text(middle, bottom, number, faint, size=SIZE - 1, angle=90)
            text = sheet.elided(word, room, weight=weight)
            up = top + 3 + sheet.text_width(text, weight=weight)
            sheet.text(middle, up, text, ink, angle=90, weight=weight)
        else:
            text = sheet.elided(word, right - x - 3, weight=weight)
            sheet.text(middle, top + SIZE * 0.85, text, ink, align="center", weight=weight)
            sheet.text(middle, top + SIZE * 2.1, number, faint, size=SIZE - 1, align="center")


def _marks(row: TokenRow, locked: Sequence[int], wanted: Iterable[int]) -> list[int]:
    """Places of the row that have a label: all, or the locked and wanted ones, and others as they fit."""
    if not row.upright:
        return list(range(len(row.indices)))
    pitch = row.starts[1] - row.starts[0]
    found: list[int] = []

    def clear(place: int) -> bool:
        return all(abs(place - other) * pitch >= _PITCH - 1e-6 for other in found)

    known = {index: place for place, index in enumerate(row.indices) if index != _LEFT_OUT}
    first = [known[index] for index in (*locked, *wanted) if index in known]
    for place in (*first, *range(0, len(row.indices), _step(pitch))):
        if clear(place):
            found.append(place)  # noqa: PERF401 - the next ones look at it
    return found


def _step(pitch: float) -> int:
    return max(1, math.ceil(_PITCH / pitch - 1e-6))


def _indices(spans: Sequence[Span]) -> list[int]:
    """The tokens of spans in order, and a mark between those that do not touch."""
    found: list[int] = []
    for start, stop in sorted(spans):
        first = max(start, found[-1] + 1) if found else start
        if found and first > found[-1] + 1:
            found.append(_LEFT_OUT)
        found.extend(range(first, stop))
    return found


def _label(labels: tuple[str, ...], index: int) -> str:
    return "…" if index == _LEFT_OUT else labels[index]


def _index_width(sheet: Sheet, index: int) -> float:
    return sheet.text_width(str(index), SIZE - 1)
