"""A panel of the view as a picture for a paper, drawn with matplotlib: the same look, without a browser.

PNG is made at a number of dots an inch, with the cells of the heatmap in exactly the colours of the screen. SVG keeps
text as text, so that it can be searched and edited; a heatmap in it is one picture and not a shape per cell. The text
of an SVG names the fonts it was measured with; where they are missing, the viewer takes another one. Both are the same
bytes whenever they are made from the same view by the same version of matplotlib.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

from attnwidget.export.drawing import Area, Look
from attnwidget.export.legend import draw_legend, draw_title, title_height
from attnwidget.export.sheet import Sheet, matplotlib_is_here

if TYPE_CHECKING:
    from typing import Literal

    from attnwidget.export.shown import Shown

WIDTH = 6.5
"""Inches: the text of a page."""
DPI = 300
_LEAST_WIDTH = 3.4
_MARGIN = 10.0
_SVG_DPI = 144
"""Cells an inch of the pictures inside an SVG, at most."""


def save_figure(
    shown: Shown,
    target: str | os.PathLike[str] | IO[bytes],
    kind: Literal["png", "svg"],
    *,
    panel: str = "heatmap",
    width: float | None = None,
    dpi: float = DPI,
) -> None:
    """Draw one panel and write it; a file that is there is overwritten.

    Args:
        shown: what the view shows.
        target: a path that ends in the kind, or a file open for writing bytes.
        kind: "png" or "svg".
        panel: the name of a panel.
        width: in inches; None: what the panel needs, 6.5 at most.
        dpi: dots an inch of a PNG.

    Raises:
        ImportError: there is no matplotlib.
        ValueError: the path ends otherwise, no such panel, a width or dpi that makes no sense, or what is shown cannot
            be drawn this way.
        OSError: the file cannot be written.
    """
    check_target(target, kind)
    matplotlib_is_here()
    from attnwidget.export.fonts import one_warning_for_glyphs
    from attnwidget.export.panels import PANELS

    if panel not in PANELS:
        raise ValueError(f"panel is {panel!r}: figures can be made of {', '.join(PANELS)}")
    if width is not None and not 2 <= width <= 50:  # noqa: PLR2004 - said in the text
        raise ValueError(f"width is {width}: expected inches, from 2 to 50")
    if not 30 <= dpi <= 1200:  # noqa: PLR2004 - said in the text
        raise ValueError(f"dpi is {dpi}: expected dots an inch, from 30 to 1200")
    look = Look(shown)
    sheet = Sheet(72 * (width or WIDTH), look.palette.page, _SVG_DPI if kind == "svg" else dpi)
    title, paint = PANELS[panel]
    room = sheet.width - 2 * _MARGIN
    with one_warning_for_glyphs(drawn=kind == "png"):
        drawn = paint(sheet, shown, look, Area(_MARGIN, _MARGIN + title_height(shown), room))
        if width is None:
            # What is shown is said beside the title, and must not be what is cut off.
            said = sheet.text_width(" · ".join(filter(None, [title, drawn.note])))
            sheet.narrow(max(72 * _LEAST_WIDTH, drawn.right + _MARGIN, said + 2 * _MARGIN + 1))
        room = sheet.width - 2 * _MARGIN
        draw_title(sheet, look, title, drawn, _MARGIN, _MARGIN, room)
        bottom = draw_legend(sheet, look, drawn, _MARGIN, drawn.bottom + 14, room)
        sheet.write(target, kind, bottom + _MARGIN, f"{shown.title} · {title}")


def check_target(target: object, kind: str) -> None:
    """A path that ends in the kind, or something to write to.

    Raises:
        TypeError: it is neither.
        ValueError: it ends otherwise.
    """
    if hasattr(target, "write"):
        return
    if not isinstance(target, (str, os.PathLike)):
        raise TypeError(f"path is {target!r}: expected a path that ends in .{kind}, or a file open for writing bytes")
    suffix = Path(target).suffix
    if suffix.lower() != f".{kind}":
        other = {".png": "to_png", ".svg": "to_svg", ".csv": "to_csv"}.get(suffix.lower())
        hint = f", or call {other}" if other else ""
        raise ValueError(f"path is {os.fspath(target)!r}: expected it to end in .{kind}{hint}")
