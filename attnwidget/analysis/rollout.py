"""Attention rollout (Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.analysis.mixing import Mixing
from attnwidget.attention.memory import check_fits
from attnwidget.attention.protocol import positions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.choosing import Choice
    from attnwidget.attention.protocol import Floats


def rollout(choice: Choice) -> Floats:
    """A_l A_(l-1) ... A_0, rows of it, for the chosen layers l: (L, q, k) float32.

    The rows of the chosen queries are carried down from the top, layer by layer, by blocks of matrices that are made
    and forgotten. So it holds (L, q, T) numbers twice, and nothing that grows with the square of T unless all queries
    are asked for. Then each layer is made of the one below it, which takes L products instead of L (L - 1) / 2.

    Args:
        choice: what is asked for.

    Raises:
        CaptureError: only some layers or heads were kept.
        MemoryError: the rows would take more than half of the free memory.
        ValueError: queries and keys are not the same tokens.
    """
    mixing = Mixing(choice.stack, choice.example, "rollout")
    queries = positions_of(choice.queries, choice.stack.layers[0].n_queries) - mixing.start
    keys = positions_of(choice.keys, choice.stack.layers[0].n_keys) - mixing.start
    shape = (len(choice.layers), len(queries), mixing.n_tokens)
    check_fits(2 * 4 * int(np.prod(shape, dtype=np.int64)), shape)
    if np.array_equal(queries, np.arange(mixing.n_tokens)):
        return _of_keys(_upwards(mixing, choice.layers), keys)
    found = np.zeros(shape, dtype=np.float32)
    for layer in reversed(range(choice.layers.stop)):
        # Rows that began in a layer above; those of this one begin here.
        above = found[max(0, layer + 1 - choice.layers.start) :].reshape(-1, mixing.n_tokens)
        if len(above):
            mixed = np.zeros_like(above)
            for rows, block in mixing.blocks(layer):
                mixed += above[:, rows] @ block
            above[:] = mixed
        if layer >= choice.layers.start:
            found[layer - choice.layers.start] = mixing.rows(layer, queries)
    return _of_keys(found, keys)


def _upwards(mixing: Mixing, layers: range) -> Floats:
    """Of all queries, from the bottom to the top."""
    size = mixing.n_tokens
    found = np.empty((len(layers), size, size), dtype=np.float32)
    below: Floats | None = None
    for layer in range(layers.stop):
        now = found[layer - layers.start] if layer >= layers.start else np.empty((size, size), dtype=np.float32)
        for rows, block in mixing.blocks(layer):
            now[rows] = block if below is None else block @ below
        below = now
    return found


def _of_keys(found: Floats, keys: NDArray[np.intp]) -> Floats:
    whole = len(keys) == found.shape[2] and (np.diff(keys) == 1).all()
    return found if whole else found[:, :, keys]
