"""Reading figures back: pictures inside an SVG, its texts, squares of one colour in a PNG."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


def svg_of(view: Any, **options: Any) -> ET.Element:
    """A figure of a view as a parsed SVG."""
    file = io.BytesIO()
    view.to_svg(file, **options)
    return ET.fromstring(file.getvalue())  # noqa: S314 - our own


def png_of(view: Any, **options: Any) -> NDArray[np.uint8]:
    """A figure of a view as pixels, (height, width, 3)."""
    file = io.BytesIO()
    view.to_png(file, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def texts(svg: ET.Element) -> list[str]:
    """Everything that is written on a figure."""
    return ["".join(element.itertext()) for element in svg.iter(f"{SVG}text")]


def pictures(svg: ET.Element) -> list[NDArray[np.uint8]]:
    """The pictures inside a figure, RGBA: the panel's first, the colour bar's last."""
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(element.attrib[HREF].split(",", 1)[1]))).convert("RGBA"))
        for element in svg.iter(f"{SVG}image")
    ]


def squares(pixels: NDArray[np.uint8], colour: NDArray[np.uint8], least: int) -> list[tuple[int, int, int, int]]:
    """Rectangles of one colour, at least so many dots a side, from top to bottom: (top, left, height, width)."""
    mask = (pixels == colour).all(axis=-1)
    found, y = [], 0
    while y < len(mask):
        runs = _runs(mask[y], least)
        height = 1
        while runs and y + height < len(mask) and _runs(mask[y + height], least) == runs:
            height += 1
        found += [(y, start, height, width) for start, width in runs if height >= least]
        y += height
    return found


def _runs(row: NDArray[np.bool_], least: int) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]
