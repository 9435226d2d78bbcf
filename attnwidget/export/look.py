"""How the screen looks: its colours for light and dark, and the way from a weight to a colour.

The same as `js/src/theme.ts` and `js/src/colour.ts`, so that a figure is what one saw.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.reading import Reading
    from attnwidget.export.quantiles import Ranks

LOG_SPAN = 1e-4
"""On the log scale a range that starts at 0 starts four decades under its top instead."""
_DARKEST = 0.04045
"""Channels of sRGB up to this are linear (IEC 61966-2-1)."""
_MIDDLE = 0.179
"""The luminance that black and white are equally far from."""
_TABLES = Path(__file__).with_name("colormaps.json")
DIVERGING = ("vik", "berlin")
"""Colour maps with their neutral colour in the middle."""
_NOTHING = 1e-6
"""Of the top of a ramp: less is 0, and was made by rounding."""
_HUES = 11
_LIGHTNESS = {False: (0.52, 0.64, 0.4), True: (0.7, 0.86, 0.54)}
"""Of the colours of heads, medium, light and dark, by whether the page is dark."""
_CHROMA = 0.15


@dataclass(frozen=True)
class Palette:
    """The colours of everything that is no weight."""

    page: str
    ink: str
    muted: str
    rule: str
    raised: str
    accent: str
    halo: str
    hatch: str
    missing: str
    masked: str


LIGHT = Palette(
    page="#ffffff",
    ink="#1b1f24",
    muted="#5b6470",
    rule="#d9dee4",
    raised="#f3f5f7",
    accent="#b8430a",
    halo="#ffffffd9",
    hatch="#c9cfd6",
    missing="#e2dac8",
    masked="#eceef1",
)
DARK = Palette(
    page="#111418",
    ink="#e6e9ed",
    muted="#9aa4b0",
    rule="#2c333b",
    raised="#1b2026",
    accent="#ffb057",
    halo="#0a0c0fcc",
    hatch="#3b444e",
    missing="#484030",
    masked="#20252b",
)


def palette(*, dark: bool) -> Palette:
    """The colours of one theme."""
    return DARK if dark else LIGHT


@cache
def _tables() -> dict[str, NDArray[np.uint8]]:
    texts: dict[str, str] = json.loads(_TABLES.read_text(encoding="utf-8"))
    return {name: np.frombuffer(bytes.fromhex(text), dtype=np.uint8).reshape(256, 3) for name, text in texts.items()}


def colours_of(colormap: str, *, dark: bool) -> NDArray[np.uint8]:
    """The 256 colours of a map, uint8 (256, 3), from the end that zero has: the one nearest to the page.

    Diverging maps are the same on every page: what lies below the centre keeps its hue. Sources: oslo, vik and berlin
    from Crameri (2018), "Scientific colour maps", zenodo.1243862; the others from matplotlib.

    Raises:
        ValueError: no such colour map.
    """
    tables = _tables()
    if colormap not in tables:
        raise ValueError(f"there is no colour map {colormap!r} for figures: expected one of {', '.join(tables)}")
    return tables[colormap] if dark or colormap in DIVERGING else tables[colormap][::-1]


@dataclass(frozen=True)
class Ramp:
    """From weight to colour.

    Attributes:
        colormap: name of the colour map.
        scale: "linear", "sqrt", "log" or "quantile".
        low: the weight at the first colour.
        high: the weight at the last colour.
        dark: whether the page is dark.
        ranks: with the quantile scale, of the weights that are ranked.
        reading: of numbers that do not grow with their shares: these are what is even.
    """

    colormap: str
    scale: str
    low: float
    high: float
    dark: bool
    ranks: Ranks | None = None
    reading: Reading | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The two weights at the ends of the ramp, as the scale takes them."""
        return (self.low or self.high * LOG_SPAN) if self.scale == "log" else self.low, self.high

    def positions(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where weights fall on the ramp, from 0 to 1; NaN where they are not a number."""
        low, high = self.ends
        if self.reading is not None:
            first, last = self.reading.numbers([low, high])
            spread: NDArray[np.float64] = np.clip((self.reading.numbers(weights) - first) / (last - first), 0, 1)
            return spread
        if self.ranks is not None:
            return self.ranks.places(weights, low, high)
        clipped = np.clip(np.asarray(weights, dtype=np.float64), low, high)
        if self.scale == "log":
            found: NDArray[np.float64] = np.log(clipped / low) / math.log(high / low)
        else:
            found = (clipped - low) / (high - low)
        return np.sqrt(found) if self.scale == "sqrt" else found

    def weight_at(self, position: float) -> float:
        """The weight at a place of the ramp: the inverse of `positions`."""
        low, high = self.ends
        if self.reading is not None:
            first, last = self.reading.numbers([low, high])
            number = first + position * (last - first)
            # The ends are float32, and a ramp from -c to c has 0 in its middle.
            return float(self.reading.shares(0 if abs(number) < last * _NOTHING else number))
        if self.ranks is not None:
            return self.ranks.weight_at(position, low, high)
        if self.scale == "log":
            return float(low * (high / low) ** position)
        return float(low + (high - low) * (position**2 if self.scale == "sqrt" else position))

    def strengths(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """How strong a line is on the scale, from 0 to 1; of signed numbers those above 0 have a strength."""
        found = self.positions(weights)
        return found if self.reading is None else np.maximum(0, 2 * found - 1)

    def opacities(self, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """Weights over the top of the ramp, 1 at the most."""
        if self.reading is None:
            whole: NDArray[np.floating] = np.minimum(1, weights / self.high)
            return whole
        found: NDArray[np.floating] = np.clip(self.reading.numbers(weights) / self.reading.numbers(self.high), 0, 1)
        return found

    def colours(self, weights: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The colour of each weight: uint8, shaped as they are, with a last axis of 3."""
        steps = np.floor(np.nan_to_num(self.positions(weights)) * 255 + 0.5).astype(int)
        found: NDArray[np.uint8] = colours_of(self.colormap, dark=self.dark)[steps]
        return found

    def paint(self, values: NDArray[np.floating], masked: str | None = None) -> NDArray[np.uint8]:
        """A picture of a tile: uint8 RGBA, shaped as it is, with a last axis of 4.

        Args:
            values: as `AttentionCapture.tile` has them: NaN where masked, infinity where not a number.
            masked: the colour of masked cells; None: see-through.
        """
        picture = np.full((*values.shape, 4), 255, dtype=np.uint8)
        picture[..., :3] = self.colours(np.where(np.isfinite(values), values, 0))
        picture[np.isinf(values), :3] = _bytes(palette(dark=self.dark).missing)
        hidden = np.isnan(values)
        picture[hidden] = (0, 0, 0, 0) if masked is None else (*_bytes(masked), 255)
        return picture


def _bytes(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:7])
    return red, green, blue


def hex_of(rgb: NDArray[np.uint8]) -> str:
    """A colour of three bytes as `#rrggbb`."""
    return "#" + rgb.tobytes().hex()


def ink_on(rgb: NDArray[np.uint8]) -> str:
    """Black or white, whichever reads better on a colour; the better one is always at least 4.5:1.

    Source: relative luminance of WCAG 2.1.
    """
    parts = rgb / 255
    linear = np.where(parts <= _DARKEST, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return "#000000" if float(linear @ (0.2126, 0.7152, 0.0722)) > _MIDDLE else "#ffffff"


def head_colour(head: int, *, dark: bool) -> str:
    """One colour per head as `#rrggbb`: neighbours far apart in hue, another lightness after every turn of the circle.

    Source of the conversion from Oklch: Ottosson (2020), "A perceptual color space for image processing". What lies
    outside of sRGB is clipped per channel, as browsers do on a canvas.
    """
    turn = head // _HUES
    lightness = _LIGHTNESS[dark][turn % 3]
    # Medium ones lie between the hues of the others; from the 34th head on, hues lie in between again.
    shift = (0 if turn % 3 else 0.5) + turn // 3 / 4
    hue = math.radians(round((31.5 + (head * 3 % _HUES + shift) * (360 / _HUES)) % 360, 1))
    a, b = _CHROMA * math.cos(hue), _CHROMA * math.sin(hue)
    cone = np.array([
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ]) ** 3  # fmt: skip
    linear = np.clip(
        np.array([
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]) @ cone,
        0,
        1,
    )  # fmt: skip
    srgb = np.where(linear <= _DARKEST / 12.92, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return hex_of(np.round(srgb * 255).astype(np.uint8))
