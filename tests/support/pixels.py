"""What a heatmap must look like, computed without our own code: NumPy scales, matplotlib and cmcrameri colour."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from cmcrameri import cm
from PIL import Image

if TYPE_CHECKING:
    from colabhost import Colab
    from document import Document
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


def weights_of(document: Document | Colab, expression: str) -> NDArray[np.float64]:
    """What an expression in the kernel gives, as an array."""
    return np.array(document.evaluate(f"{expression}.tolist()"), dtype=float)


def domain_of(view: Locator) -> tuple[float, float]:
    """The weights at the two ends of the colour map."""
    low, high = map(float, (view.get_attribute("data-domain") or "").split(","))
    return low, high


def check_pixels(
    view: Locator,
    weights: NDArray[np.floating],
    scale: str = "sqrt",
    name: str = "oslo",
    *,
    dark: bool = False,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.int_]:
    """Hold every allowed cell of the heatmap against its weight, and return the colours: (queries, keys, 3).

    A code is right to 0.02 %, so a weight between two of the 256 colours may fall to either side, by one step.
    """
    colours = read_cells(view, *weights.shape).astype(int)
    domain = domain_of(view)
    candidates = [
        expected_colours(np.clip(weights + sign * 2e-4 * weights, 0, 1), domain, scale, name, dark=dark).astype(int)
        for sign in (-1, 0, 1)
    ]
    right = np.any([(colours == candidate).all(axis=-1) for candidate in candidates], axis=0)
    if allowed is not None:
        right |= ~allowed
    assert right.all(), f"{(~right).sum()} of {right.size} cells have another colour than their weight"
    return colours
