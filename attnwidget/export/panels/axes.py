"""Token labels along the sides of a plot: all of them, every n-th, or ticks with indices, by the room a token has."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from attnwidget.export.sheet import SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.export.look import Palette
    from attnwidget.export.sheet import Sheet

_PITCH = SIZE * 1.3
"""Points a label needs beside the next one."""
_LEAST = 4.5
"""Points a token must have for every n-th to have a label; under it axes have ticks."""
_ANGLE = 60.0
_SLANT_MOST = 80.0
_PAD = 4.0


@dataclass(frozen=True)
class Axis:
    """The tokens along one side.

    Attributes:
        labels: of all tokens of the text.
        start: the first token on the axis.
        stop: where they end.
        locked: the locked token, or None.
        at: where the axis starts, in points.
        cell: points a token.
        wanted: tokens that should have a label where not all have one, the most wanted first.
    """

    labels: tuple[str, ...]
    start: int
    stop: int
    locked: int | None
    at: float = 0.0
    cell: float = 0.0
    wanted: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.stop - self.start

    def over(self, at: float, length: float) -> Axis:
        """The same axis at its place."""
        return replace(self, at=at, cell=length / len(self))

    @property
    def named(self) -> bool:
        """Whether tokens have labels; else there are ticks with indices."""
        return self.cell >= _LEAST

    @property
    def lock(self) -> int | None:
        """The locked token, if it is on the axis."""
        return self.locked if self.locked is not None and self.start <= self.locked < self.stop else None

    def middle(self, token: int) -> float:
        """Where the middle of a token is."""
        return self.at + (token - self.start + 0.5) * self.cell

    def band(self) -> tuple[float, float] | None:
        """Start and length of the locked token, at least as long as a line can show."""
        if self.lock is None:
            return None
        length = max(self.cell, 1.5)
        return self.middle(self.lock) - length / 2, length

    def text(self, token: int) -> str:
        """What stands at a token."""
        return self.labels[token] if self.named else str(token)

    def marks(self, pitch: float = _PITCH) -> Iterator[int]:
        """The tokens that are named: evenly spread, and those that must be, in the place of their neighbours."""

        def clear(token: int) -> bool:
            return all(abs(token - other) * self.cell >= pitch - 1e-6 for other in must)

        must: list[int] = []
        for token in (self.lock, *self.wanted):
            if token is not None and self.start <= token < self.stop and clear(token):
                must.append(token)  # noqa: PERF401 - the next ones look at it
        step = math.ceil(pitch / self.cell - 1e-6) if self.named else _round_step(pitch / self.cell)
        for token in range(math.ceil(self.start / step) * step, self.stop, step):
            if clear(token):
                yield token
        yield from must

    def label_width(self, sheet: Sheet, most: float) -> float:
        """Points of the widest label, or `most`."""
        return min(most, max((sheet.text_width(self.text(token), weight="bold") for token in self.marks()), default=0))


def _round_step(least: float) -> int:
    """The first of 1, 2, 5, 10, 20, 50 ... that is not less."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step >= least:
                return step
        power *= 10


def slant_height(sheet: Sheet, keys: Axis) -> float:
    """Points that the labels over a plot need."""
    if not keys.named:
        return 2 * SIZE
    return keys.label_width(sheet, _SLANT_MOST) * math.sin(math.radians(_ANGLE)) + _PAD + SIZE / 2


def slant_width(sheet: Sheet, keys: Axis) -> float:
    """Points that the label of the last key reaches to the right of its middle."""
    if not keys.named:
        return SIZE
    return keys.label_width(sheet, _SLANT_MOST) * math.cos(math.radians(_ANGLE)) + SIZE / 2


def draw_keys(sheet: Sheet, keys: Axis, top: float, colours: Palette) -> None:
    """Slanted labels over the columns, or ticks."""
    # Indices stand side by side, so they need their width and not their height.
    pitch = _PITCH if keys.named else sheet.text_width(str(keys.stop), weight="bold") + SIZE
    for token in keys.marks(pitch):
        x = keys.middle(token)
        colour, weight = _style(keys, token, colours)
        if keys.named:
            text = sheet.elided(keys.text(token), _SLANT_MOST, weight=weight)
            sheet.text(x + 1, top - _PAD, text, colour, angle=_ANGLE, weight=weight)
        else:
            sheet.line([(x, top - 3), (x, top)], colour)
            sheet.text(x, top - _PAD - SIZE / 2, keys.text(token), colour, align="center", weight=weight)


def draw_queries(sheet: Sheet, queries: Axis, left: float, room: float, colours: Palette) -> None:
    """Labels beside the rows, or ticks, in so much room."""
    room -= _PAD + 1
    for token in queries.marks(_PITCH if queries.named else 2.5 * SIZE):
        y = queries.middle(token)
        colour, weight = _style(queries, token, colours)
        if not queries.named:
            sheet.line([(left - 3, y), (left, y)], colour)
        text = sheet.elided(queries.text(token), room, weight=weight)
        sheet.text(left - _PAD - 1, y, text, colour, align="right", weight=weight)


def _style(axis: Axis, token: int, colours: Palette) -> tuple[str, str]:
    return (colours.accent, "bold") if token == axis.lock else (colours.muted, "normal")
