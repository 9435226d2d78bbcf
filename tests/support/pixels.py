"""What a heatmap must look like, computed without our own code: NumPy scales, matplotlib and cmcrameri colour."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from cmcrameri import cm
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Locator


def colormap(name: str, *, dark: bool) -> NDArray[np.uint8]:
    """256 colours, from zero to the top of the range: the end nearest to the page's background comes first.

    Diverging maps are the same on every page.
    """
    table = getattr(cm, name) if name in ("oslo", "vik", "berlin") else mpl.colormaps[name]
    colours: NDArray[np.uint8] = table(np.arange(256), bytes=True)[:, :3]
    return colours if dark or name in ("vik", "berlin") else colours[::-1]


def expected_colours(
    weights: NDArray[np.floating], domain: tuple[float, float], scale: str, name: str, *, dark: bool
) -> NDArray[np.uint8]:
    """The colour of each weight: position on the range, scaled, looked up in the published table."""
    low, high = domain
    if scale == "log":
        low = low or high * 1e-4
        with np.errstate(divide="ignore"):
            position = np.log(weights / low) / np.log(high / low)
    else:
        position = np.clip((weights - low) / (high - low), 0, 1)
        if scale == "sqrt":
            position = np.sqrt(position)
    return colormap(name, dark=dark)[np.rint(np.clip(position, 0, 1) * 255).astype(int)]


def read_cells(view: Locator, queries: int, keys: int) -> NDArray[np.uint8]:
    """The colour at the middle of each cell of the heatmap's canvas, read back from the browser: (queries, keys, 3)."""
    values = view.locator('canvas[data-panel="heatmap"]').evaluate(
        """(canvas, [queries, keys]) => {
            const ratio = canvas.width / canvas.clientWidth;
            const [left, top] = canvas.dataset.origin.split(',').map(Number);
            const [width, height] = canvas.dataset.cell.split(',').map(Number);
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const colours = [];
            for (let query = 0; query < queries; query++)
                for (let key = 0; key < keys; key++) {
                    const x = Math.floor((left + (key + 0.5) * width) * ratio);
                    const y = Math.floor((top + (query + 0.5) * height) * ratio);
                    const at = 4 * (y * canvas.width + x);
                    colours.push(...pixels.data.slice(at, at + 3));
                }
            return colours;
        }""",
        [queries, keys],
    )
    return np.array(values, dtype=np.uint8).reshape(queries, keys, 3)


def screenshot(view: Locator) -> NDArray[np.uint8]:
    """The view as it is on screen: (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(view.screenshot())).convert("RGB"))
