"""What stands in for a view where none can live: a small picture of the head grid, and a text.

GitHub, mail, a notebook that is not trusted, and VS Code after a reload show the richest part of an output that they
can: of a widget that is this picture. It is drawn by Pillow, since a cell must not wait for matplotlib to load.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from attnwidget.export.cells import pooled, sized
from attnwidget.export.drawing import Look
from attnwidget.export.look import colours_of
from attnwidget.export.page import summary_of
from attnwidget.export.words import counted, label, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from attnwidget.export.shown import Shown

_WIDTH, _HEIGHT = 640, 640
_LARGEST, _SMALLEST = 44, 2
"""Dots a side of one head."""
_ROOM = 18
"""A head from which there is a gap beside it that is seen."""
_STEPS = 48
"""Of a colour map: few colours make a small file."""
_ALIKE = 7
_SHADES = 4
"""Between the colour of a text and that of the page, so that letters are smooth."""
_SIZE = 11
"""Of the text, in dots."""
_NAMED = 16
"""So many tokens are named."""


@dataclass(frozen=True)
class _Plan:
    """Where heads stand, in dots: each `wide` by `high`, `gap` between them."""

    wide: int
    high: int
    gap: int
    left: int
    top: int

    def corner(self, layer: int, head: int) -> tuple[int, int]:
        return self.left + head * (self.wide + self.gap), self.top + layer * (self.high + self.gap)


def preview_text(shown: Shown) -> str:
    """Which model, tokens and shape a view shows, and how to see it again."""
    tokens = shown.query_tokens
    named = " ".join(label(*each) for each in zip(tokens.text[:_NAMED], tokens.pieces[:_NAMED], strict=True))
    more = f" … ({counted(len(tokens), 'token')})" if len(tokens) > _NAMED else ""
    place = f"{shown.stack}, {shown.head_words}"
    if shown.reading is not None:
        place += f", {shown.reading.words}"
    return f"{summary_of(shown.capture)}\n{named}{more}\nShown: {place}. Run the cell again for the view itself."


def preview_png(shown: Shown, tiles: Mapping[tuple[int, int], NDArray[np.floating]], most: int) -> bytes | None:
    """Draw the heads of the stack shown: layers down, heads across, each over its own range.

    Args:
        shown: what the view shows.
        tiles: a small picture of the whole head by (layer, head), as `AttentionCapture.tile` has it; a head without
            one is drawn as missing.
        most: bytes that the picture may have.

    Returns:
        PNG; None where there are no heads or tokens, or where even the smallest picture has
        more bytes.
    """
    stack = shown.attention
    if not (tiles and stack.n_layers and stack.n_heads):
        return None
    ratio = max(1 / 4, min(4, len(shown.key_tokens) / len(shown.query_tokens)))
    across, down = (_WIDTH - 40) / stack.n_heads, (_HEIGHT - 40) / stack.n_layers
    side = min(_LARGEST, across / max(1, ratio), down * min(1, ratio), across, down)
    while side >= _SMALLEST:
        picture = _draw(shown, tiles, side, ratio)
        file = io.BytesIO()
        picture.quantize(palette=_table(shown), dither=Image.Dither.NONE).save(file, "png", optimize=True)
        if file.tell() <= most:
            return file.getvalue()
        side *= max(0.5, 0.95 * math.sqrt(most / file.tell()))
    return None


def _draw(
    shown: Shown, tiles: Mapping[tuple[int, int], NDArray[np.floating]], side: float, ratio: float
) -> Image.Image:
    look, stack = Look(shown), shown.attention
    colours = look.palette
    font = ImageFont.load_default(_SIZE)
    wide, high = max(1, round(side * min(1, ratio))), max(1, round(side * min(1, 1 / ratio)))
    plan = _Plan(wide, high, 3 if side >= _ROOM else 1, 4 + round(font.getlength(str(stack.n_layers))) + 6, 46)
    right, bottom = plan.corner(stack.n_layers, stack.n_heads)
    title, size = _titles(shown, stack.n_layers * stack.n_heads - len(tiles))
    width = max(right + 4, *(round(font.getlength(line)) + 12 for line in (title, size)))
    picture = Image.new("RGB", (min(width, _WIDTH), bottom + 4), colours.page)
    draw = ImageDraw.Draw(picture)
    draw.text((6, 3), title, colours.ink, font)
    draw.text((6, 3 + _SIZE + 2), size, colours.muted, font)
    for layer in range(stack.n_layers):
        for head in range(stack.n_heads):
            x, y = plan.corner(layer, head)
            tile = tiles.get((layer, head))
            if tile is None:
                draw.rectangle((x, y, x + wide - 1, y + high - 1), colours.missing)
                continue
            pixels = look.ramp_over(tile).paint(pooled(tile, high, wide, shown.reading), masked=colours.masked)
            picture.paste(Image.fromarray(sized(pixels, wide, high)[..., :3]), (x, y))
            if plan.gap > 1:
                draw.rectangle((x - 1, y - 1, x + wide, y + high), outline=colours.rule)
    x, y = plan.corner(shown.layer, shown.head)
    draw.rectangle((x - 1, y - 1, x + wide, y + high), outline=colours.accent)
    for head in _spread(stack.n_heads, wide + plan.gap, font.getlength(str(stack.n_heads)) + 4):
        draw.text((plan.corner(0, head)[0] + wide / 2, plan.top - 3), str(head), colours.muted, font, anchor="mb")
    for layer in _spread(stack.n_layers, high + plan.gap, _SIZE + 2):
        middle = plan.corner(layer, 0)[1] + high / 2
        draw.text((plan.left - 5, middle), str(layer), colours.muted, font, anchor="rm")
    return picture


def _table(shown: Shown) -> Image.Image:
    """The colours of the picture."""
    look = Look(shown)
    colours = look.palette
    page = np.array(ImageColor.getrgb(colours.page))
    inks = [np.array(ImageColor.getrgb(colour)) for colour in (colours.ink, colours.muted)]
    shades = [page + (ink - page) * step // _SHADES for ink in inks for step in range(1, _SHADES + 1)]
    plain = [ImageColor.getrgb(each) for each in (colours.rule, colours.accent, colours.missing, colours.masked)]
    every = colours_of(look.ramp_over(np.zeros((1, 1))).colormap, dark=shown.dark)
    steps = every[np.linspace(0, len(every) - 1, _STEPS).round().astype(int)]
    # What is as good as the page is the page: Pillow finds the nearest colour by its upper bits.
    steps = steps[np.abs(steps - page).max(axis=1) > _ALIKE]
    table = Image.new("P", (1, 1))
    table.putpalette(np.vstack([page, *shades, *plain, steps]).astype(np.uint8).tobytes())
    return table


def _titles(shown: Shown, lacking: int) -> tuple[str, str]:
    stack = shown.attention
    name = "" if shown.stack == "self" else f"{shown.stack} · "
    measure = "lift over uniform" if shown.kind == "lift" else "attention weights"
    if shown.reading is not None:
        measure = shown.reading.words
    # Pillow's own font knows Latin letters alone.
    title = visible(f"{name}{shown.capture.model}").encode("ascii", "replace").decode()
    across = f", {counted(stack.n_heads, 'head')} across" if shown.one == "head" else ""
    shape = f"{counted(stack.n_layers, 'layer')} down{across}, {stack.size_text()}"
    return title, f"{measure}: {shape}" + (f"; {counted(lacking, shown.one)} not drawn" if lacking else "")


def _spread(count: int, pitch: float, room: float) -> range:
    return range(0, count, max(1, -int(-room // pitch)))
