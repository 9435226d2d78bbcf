"""The running text as it reads, each token shaded by its weight from or to the locked token."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.drawing import Drawn
from attnwidget.export.look import hex_of, ink_on
from attnwidget.export.sheet import SIZE
from attnwidget.export.words import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import Tokens
    from attnwidget.export.drawing import Area, Look
    from attnwidget.export.sheet import Sheet
    from attnwidget.export.shown import Shown, Span

MOST = 1200
"""Tokens of one figure, at most."""
_TEXT, _SMALL = 9.5, 8.0
_LINE = 17.0


@dataclass(frozen=True)
class _Side:
    """One text: its tokens, which of them are in sight, which are locked, and what shades them."""

    role: str
    tokens: Tokens
    labels: tuple[str, ...]
    spans: tuple[Span, ...]
    locked: tuple[int, ...]
    weights: NDArray[np.float32] | None


@dataclass(frozen=True)
class _Piece:
    """Something on a line: a token, or words between tokens where `token` is None."""

    text: str
    width: float
    size: float
    token: int | None = None
    boxed: bool = False
    faint: bool = False


_BREAK = _Piece("\n", 0, _TEXT)


def draw_text(sheet: Sheet, shown: Shown, look: Look, area: Area) -> Drawn:
    """Draw what of the text is in the window."""
    gaze = shown.gaze()
    y = area.top
    masked, right = False, area.left
    for side in _sides(shown):
        if side.role != "both":
            sheet.text(area.left, y + SIZE / 2, f"{side.role}", look.palette.muted)
            y += 1.6 * SIZE
        wide, y = _draw_side(sheet, side, look, area, y)
        right = max(right, wide)
        y += SIZE if side.role == "queries" else 0
        masked = masked or (side.weights is not None and any(np.isnan(side.weights[a:b]).any() for a, b in side.spans))
    what = {"weight": "weights", "lift": "lift"}.get(shown.kind, "measure")
    note = (
        f"shaded by the {what} {'from query' if gaze.side == 'query' else 'to key'} {gaze.index}"
        if gaze
        else "lock a query or a key to see its weights"
    )
    note = ", ".join(filter(None, [shown.window_words, note]))
    return Drawn(right, y, note, ranges=shown.ranges, masked="hatched" if masked else "")


def _sides(shown: Shown) -> list[_Side]:
    gaze = shown.gaze()

    def shade(role: str) -> NDArray[np.float32] | None:
        return None if gaze is None or gaze.side == role else gaze.values

    def side(role: str, ends: Sequence[int | None], spans: Sequence[Span]) -> _Side:
        keys = role == "keys"
        tokens, labels = (shown.key_tokens, shown.key_labels) if keys else (shown.query_tokens, shown.query_labels)
        locked = tuple(end for end in ends if end is not None)
        most = MOST if role == "both" else MOST // 2
        weights = shade("neither" if role == "both" else role.replace("queries", "query").replace("keys", "key"))
        return _Side(role, tokens, labels, _parts(spans, locked, most), locked, weights)

    if shown.one_text:
        return [side("both", (shown.query, shown.key), (shown.queries, shown.keys))]
    return [side("queries", (shown.query,), (shown.queries,)), side("keys", (shown.key,), (shown.keys,))]


def _parts(spans: Sequence[Span], anchors: Sequence[int], most: int) -> tuple[Span, ...]:
    """Spans that touch become one; where they are too long, what is around an anchor of each, or its start."""
    merged: list[Span] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    if sum(stop - start for start, stop in merged) <= most:
        return tuple(merged)
    room = most // len(merged)
    cut = []
    for start, stop in merged:
        here = [anchor for anchor in anchors if start <= anchor < stop] or [start]
        first = max(start, min(stop - room, here[0] - room // 2))
        cut.append((first, min(stop, first + room)))
    return tuple(cut)


def _draw_side(sheet: Sheet, side: _Side, look: Look, area: Area, top: float) -> tuple[float, float]:
    """One text, line by line, in its own direction; returns how far it reaches to the right and down."""
    backwards = _right_to_left(side.tokens)
    lines: list[list[tuple[float, _Piece]]] = [[]]
    x = 0.0
    for piece in _pieces(sheet, side):
        if piece is _BREAK or (x and x + piece.width > area.width and piece.text.strip()):
            lines.append([])
            x = 0.0
        if piece is _BREAK or (x == 0 and not piece.text.strip()):
            continue
        if piece.width > area.width:
            text = sheet.elided(piece.text, area.width, piece.size)
            piece = _Piece(text, area.width, piece.size, piece.token, piece.boxed, piece.faint)  # noqa: PLW2901
        lines[-1].append((x, piece))
        x += piece.width
    for number, line in enumerate(lines):
        y = top + (number + 0.5) * _LINE
        for at, piece in line:
            start = area.right - at - piece.width if backwards else area.left + at
            _draw_piece(sheet, side, look, piece, start, y)
    longest = max((at + piece.width for line in lines for at, piece in line), default=0.0)
    return area.right if backwards else area.left + longest, top + len(lines) * _LINE


def _pieces(sheet: Sheet, side: _Side) -> Iterator[_Piece]:
    """What stands on the lines, one after another."""
    end = 0
    segment: int | None = None
    for start, stop in side.spans:
        if start > end:
            yield _words(sheet, f"… {start - end:,} tokens left out … ", faint=True)
        for token in range(start, stop):
            now = side.tokens.segment[token]
            if 1 in side.tokens.segment and not side.tokens.special[token] and now != segment:
                segment = now
                yield _words(sheet, f" {'B' if now else 'A'}: ", faint=True)
            yield from _broken(sheet, side.tokens.gap[token])
            yield _token(sheet, side, token)
            if "\n" in side.tokens.text[token]:
                yield _BREAK
        end = stop
    if end < len(side.tokens):
        yield _words(sheet, f" … {len(side.tokens) - end:,} tokens left out …", faint=True)


def _words(sheet: Sheet, text: str, *, faint: bool = False) -> _Piece:
    # The width of blanks at an end counts too.
    width = sheet.text_width(f"x{text}x", _TEXT) - sheet.text_width("xx", _TEXT)
    return _Piece(text, width, _TEXT, faint=faint)


def _broken(sheet: Sheet, gap: str) -> Iterator[_Piece]:
    for number, part in enumerate(gap.split("\n")):
        if number:
            yield _BREAK
        if part:
            yield _words(sheet, part)


def _token(sheet: Sheet, side: _Side, token: int) -> _Piece:
    special, text, label = side.tokens.special[token], side.tokens.text[token], side.labels[token]
    as_it_is = text != "" and not special and label == text == visible(text)
    size = _SMALL if special else _TEXT
    width = sheet.text_width(label, size) + (6 if special else 0.8)
    return _Piece(label, width, size, token, boxed=special, faint=not as_it_is)


def _draw_piece(sheet: Sheet, side: _Side, look: Look, piece: _Piece, x: float, y: float) -> None:
    colours, high = look.palette, _LINE - 3
    ink = colours.muted if piece.faint else colours.ink
    if piece.token is not None:
        inset = 1.0 if piece.boxed else 0.0
        place = (x + inset, y - high / 2, piece.width - 2 * inset, high)
        weight = None if side.weights is None else float(side.weights[piece.token])
        if weight is not None and np.isnan(weight):
            sheet.box(*place, fill=colours.page, hatch=colours.hatch)
        elif weight is not None and weight <= 1:
            colour = look.ramp.colours(np.array(weight))
            ink = ink_on(colour)
            sheet.box(*place, fill=hex_of(colour), round_by=1.5)
        if piece.boxed:
            sheet.box(*place, edge=colours.rule, round_by=1.5)
        if piece.token in side.locked:
            sheet.box(*place, edge=colours.accent, line=1.5, round_by=1.5)
    if piece.text.strip():
        sheet.text(x + piece.width / 2, y, piece.text, ink, size=piece.size, align="center")


def _right_to_left(tokens: Tokens) -> bool:
    """Whether the first character that has a direction is written from the right (the first strong one, UAX 9)."""
    for text, special in zip(tokens.text, tokens.special, strict=True):
        for char in "" if special else text:
            kind = unicodedata.bidirectional(char)
            if kind in ("L", "R", "AL"):
                return kind != "L"
    return False
