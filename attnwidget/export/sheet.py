"""A page to draw on with matplotlib: lengths are points, y grows downwards, text is measured before it is placed."""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from attnwidget.export.fonts import families

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from numpy.typing import NDArray

Points: TypeAlias = "Sequence[tuple[float, float]]"
SIZE = 8.0
"""Of the text, in points."""
_RENDERING = threading.Lock()
"""matplotlib reads some options of its file formats from a global table, so figures are written one at a time."""
_OPTIONS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "attnwidget",
    "hatch.linewidth": 0.6,
    "path.simplify": False,
    # Verdana is as wide as DejaVu Sans: text still fits where it stands in.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
}


def matplotlib_is_here() -> None:
    """Say what to install where figures cannot be drawn.

    Raises:
        ImportError: there is no matplotlib.
    """
    try:
        import matplotlib as mpl  # noqa: F401 - whether it is there
    except ImportError as error:
        raise ImportError(
            'figures are drawn with matplotlib, which is not installed: pip install "attnwidget[figures]"'
        ) from error


class Sheet:
    """An empty page that grows downwards while one draws.

    Args:
        width: in points.
        page: the colour of the page.
        dpi: dots an inch that the page will be written with; pictures are made for it.
    """

    def __init__(self, width: float, page: str, dpi: float) -> None:
        from matplotlib.figure import Figure

        self.dpi = dpi
        self.width = self.dots(width) * 72 / dpi
        self._figure = Figure(figsize=(self.width / 72, 1), dpi=dpi, facecolor=page)
        # What measures text; the page itself is drawn anew by whatever writes it.
        self._measure = self._renderer()
        self._axes: Any = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._family = families()
        self._widths: dict[tuple[str, float, str], float] = {}
        self._order = 0

    def _renderer(self) -> Any:  # noqa: ANN401 - matplotlib does not name its type
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas: Any = FigureCanvasAgg(self._figure)
        return canvas.get_renderer()

    def text_width(self, text: str, size: float = SIZE, weight: str = "normal") -> float:
        """How wide a text is, in points."""
        known = (text, size, weight)
        if known not in self._widths:
            from matplotlib.font_manager import FontProperties

            font = FontProperties(family=self._family, size=size, weight=weight)
            pixels = self._measure.get_text_width_height_descent(text, font, ismath=False)[0]
            self._widths[known] = pixels * 72 / self.dpi
        return self._widths[known]

    def elided(self, text: str, room: float, size: float = SIZE, weight: str = "normal") -> str:
        """The text, or as much of it as there is room for and "…"."""
        if self.text_width(text, size, weight) <= room:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self.text_width(f"{text[:middle]}…", size, weight) <= room:
                low = middle
            else:
                high = middle - 1
        return f"{text[:low]}…"

    def wrapped(self, parts: Sequence[str], room: float, size: float = SIZE, between: str = " · ") -> Iterator[str]:
        """The parts one after another, on as many lines as they need; one that fills more than a line between words."""
        line = ""
        for part in parts:
            longer = f"{line}{between}{part}" if line else part
            if self.text_width(longer, size) > room:
                if line:
                    yield line
                *full, longer = self._broken(part, room, size)
                yield from full
            line = longer
        if line:
            yield line

    def _broken(self, text: str, room: float, size: float) -> list[str]:
        lines = [""]
        for word in text.split(" "):
            longer = f"{lines[-1]} {word}".lstrip()
            if lines[-1] and self.text_width(longer, size) > room:
                lines.append(word)
            else:
                lines[-1] = longer
        return [self.elided(line, room, size) for line in lines]

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: str,
        *,
        size: float = SIZE,
        weight: str = "normal",
        align: str = "left",
        angle: float = 0,
    ) -> None:
        """Text whose middle line is at y; turned around its start where it has an angle, in degrees to the left."""
        self._axes.text(
            x, y, text,
            color=colour, fontsize=size, fontweight=weight, family=self._family, ha=align, va="center_baseline",
            rotation=angle, rotation_mode="anchor", parse_math=False, zorder=self._next(),
        )  # fmt: skip

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str | None = None,
        edge: str | None = None,
        line: float = 0.6,
        hatch: str | None = None,
        round_by: float = 0,
        alpha: float = 1,
    ) -> None:
        """A rectangle; `hatch` is the colour of diagonal lines in it."""
        from matplotlib.patches import FancyBboxPatch, Rectangle

        style: dict[str, Any] = {
            "facecolor": fill or "none",
            "edgecolor": hatch or edge or "none",
            "linewidth": 0 if edge is None else line,
            "hatch": "/////" if hatch else None,
            "alpha": alpha,
            "zorder": self._next(),
        }
        if round_by:
            style["boxstyle"] = f"round,pad=0,rounding_size={round_by}"
            self._axes.add_patch(FancyBboxPatch((x, y), width, height, **style))
        else:
            self._axes.add_patch(Rectangle((x, y), width, height, **style))

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 0.6) -> None:
        """A line through some points."""
        from matplotlib.lines import Line2D

        xs, ys = zip(*points, strict=True)
        self._axes.add_line(Line2D(xs, ys, color=colour, linewidth=width, zorder=self._next()))

    def shape(self, points: Sequence[tuple[float, float]], fill: str) -> None:
        """A filled polygon."""
        from matplotlib.patches import Polygon

        self._axes.add_patch(Polygon(points, closed=True, facecolor=fill, edgecolor="none", zorder=self._next()))

    def shapes(self, shapes: Sequence[Points], colours: Sequence[str], alphas: Sequence[float]) -> None:
        """Filled polygons, each over those before it."""
        from matplotlib.collections import PolyCollection
        from matplotlib.colors import to_rgba

        faces = [to_rgba(colour, alpha) for colour, alpha in zip(colours, alphas, strict=True)]
        drawn = PolyCollection(shapes, facecolors=faces, edgecolors="none", zorder=self._next())
        self._axes.add_collection(drawn, autolim=False)

    def curves(
        self, curves: Sequence[Points], colours: Sequence[str], alphas: Sequence[float], widths: Sequence[float]
    ) -> None:
        """Cubic curves, each over those before it: start, two control points, end."""
        from matplotlib.collections import PathCollection
        from matplotlib.colors import to_rgba
        from matplotlib.path import Path

        kinds = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
        drawn = PathCollection(
            [Path(points, kinds) for points in curves], facecolors="none",
            edgecolors=[to_rgba(colour, alpha) for colour, alpha in zip(colours, alphas, strict=True)],
            linewidths=widths, zorder=self._next(), transform=self._axes.transData,
        )  # fmt: skip
        self._axes.add_collection(drawn, autolim=False)

    def image(self, pixels: NDArray[np.uint8], x: float, y: float, width: float, height: float) -> None:
        """A picture, RGBA (rows, columns, 4), its cells as sharp as they are."""
        from matplotlib.image import AxesImage

        picture = AxesImage(
            self._axes, extent=(x, x + width, y + height, y), origin="upper", interpolation="none",
            zorder=self._next(),
        )  # fmt: skip
        picture.set_data(pixels)
        self._axes.add_image(picture)

    def narrow(self, width: float) -> None:
        """Cut the page off at a width."""
        self.width = min(self.width, self.dots(width) * 72 / self.dpi)

    def snapped(self, length: float) -> float:
        """A length in whole dots."""
        return round(length * self.dpi / 72) * 72 / self.dpi

    def dots(self, length: float) -> int:
        """How many dots a length has."""
        return max(1, round(length * self.dpi / 72))

    def write(self, target: str | PathLike[str] | IO[bytes], kind: str, height: float, title: str) -> None:
        """Cut the page off at a height and write it as "png" or "svg"."""
        import matplotlib as mpl

        # Whole dots, or the page would be drawn a fraction of a dot off.
        high = int(np.ceil(height * self.dpi / 72 - 1e-6)) * 72 / self.dpi
        self._figure.set_size_inches(self.width / 72, high / 72)
        self._axes.set_xlim(0, self.width)
        self._axes.set_ylim(high, 0)
        about = {"Title": title, "Date": None} if kind == "svg" else {"Title": title, "Software": "attnwidget"}
        with _RENDERING, mpl.rc_context(_OPTIONS):
            self._figure.savefig(target, format=kind, dpi=self.dpi, metadata=about)

    def _next(self) -> int:
        # Later is over what was before.
        self._order += 1
        return self._order
