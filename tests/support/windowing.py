"""Windows of images and sequences by their definition, on arrays of positions, and weights put back by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def image_windows(
    height: int, width: int, size: int, shift: int = 0, *, rolled_first: bool = False
) -> NDArray[np.int64]:
    """Positions in each window of an image: padded below and right with -1, rolled up and left, cut (Liu et al. 2021).

    Args:
        height: of the image.
        width: of the image.
        size: of a window.
        shift: how far it is rolled.
        rolled_first: it is rolled before it is padded.

    Returns:
        (windows, size * size).
    """
    image = np.arange(height * width).reshape(height, width)
    if rolled_first:
        image = np.roll(image, (-shift, -shift), (0, 1))
    image = np.pad(image, ((0, -height % size), (0, -width % size)), constant_values=-1)
    if not rolled_first:
        image = np.roll(image, (-shift, -shift), (0, 1))
    rows, columns = (length // size for length in image.shape)
    return np.array(
        [
            image[row * size : (row + 1) * size, column * size : (column + 1) * size].ravel()
            for row in range(rows)
            for column in range(columns)
        ]
    )


def put_back(weights, windows: NDArray[np.int64], length: int, keys: NDArray[np.int64] | None = None):
    """Weights of the windows (B * W, H, Tq, Tk) in a matrix of the whole sequence, and which pairs windows hold.

    Args:
        weights: of windows, those of one example beside each other.
        windows: (W, Tq) positions of the queries of each window.
        length: of the sequence.
        keys: (W, Tk) positions of its keys, those of the queries if None.

    Returns:
        (B, H, length, length) and (length, length).
    """
    weights = np.asarray(weights)
    keys = windows if keys is None else keys
    grouped = weights.reshape(-1, len(windows), *weights.shape[1:])
    whole = np.zeros((len(grouped), weights.shape[1], length, length), dtype=np.float32)
    held = np.zeros((length, length), dtype=bool)
    for number, (rows, columns) in enumerate(zip(windows, keys, strict=True)):
        for slot, row in enumerate(rows):
            for place, column in enumerate(columns):
                if row >= 0 and column >= 0:
                    whole[:, :, row, column] += grouped[:, number, :, slot, place]
                    held[row, column] = True
    return whole, held
