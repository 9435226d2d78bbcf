"""The head grid as a browser shows it: what it says, and the colours of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from heatmap import panel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Locator


def said(view: Locator, text: str) -> None:
    """Wait until the grid says so under its controls."""
    panel(view, "grid").locator(".said").get_by_text(text).wait_for()


def cell_colours(view: Locator, rows: int, columns: int) -> NDArray[np.int_]:
    """(rows, columns, 3) the colour near a corner of each cell of the matrix, found by the gaps between the cells."""
    canvas = panel(view, "grid").locator("canvas.base")
    width, height, data = canvas.evaluate(
        """canvas => {
            const {width, height} = canvas;
            return [width, height, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]];
        }"""
    )
    image = np.array(data, dtype=int).reshape(height, width, 4)

    def starts(line: NDArray[np.int_], count: int) -> NDArray[np.int_]:
        """Where the last `count` runs of at least 8 pixels that something was drawn on begin."""
        ink = np.r_[0, line[:, 3] > 0, 0].astype(int)
        begin, end = np.flatnonzero(np.diff(ink) == 1), np.flatnonzero(np.diff(ink) == -1)
        return begin[end - begin >= 8][-count:]

    top = starts(image[:, -8], rows)
    left = starts(image[top[0] + 3], columns)
    assert (len(top), len(left)) == (rows, columns)
    return np.array([[image[y + 2, x + 2, :3] for x in left] for y in top])
