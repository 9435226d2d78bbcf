"""From a tile to so many cells or dots: pooled where it has more, repeated where it has fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.reading import Reading


def pooled(
    values: NDArray[np.floating], height: int, width: int, reading: Reading | None = None
) -> NDArray[np.floating]:
    """A tile again, with at most so many cells a side; the largest under a cell, of signed numbers in size."""
    if reading is not None and reading.signed:
        numbers = reading.numbers(values)
        high, low = pooled(numbers, height, width), -pooled(-numbers, height, width)
        return reading.shares(np.where(-low > high, low, high))
    for axis, most in enumerate((height, width)):
        count = values.shape[axis]
        bins = min(count, most)
        values = np.fmax.reduceat(values, np.arange(bins) * count // bins, axis=axis)
    return values


def sized(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A picture in another size, cell by cell."""
    down = np.arange(height) * pixels.shape[0] // height
    across = np.arange(width) * pixels.shape[1] // width
    found: NDArray[np.uint8] = pixels[down[:, None], across]
    return found
