"""Value-weighted norms: how long the vector is that a key adds to what its query gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention.blocks import of_example, plain_maths, torch_index
from attnwidget.attention.limits import limits
from attnwidget.attention.protocol import length_of, part_of, positions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.attention import Attention, Carried
    from attnwidget.attention.protocol import Floats, Index

_DOUBLE = 8


def head_norms(layer: Attention, carried: Carried, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
    """|w[h, i, j] f_h(x_j)| with f_h(x_j) = v[h, j] W_O[h], (h, q, k) float32.

    The length of f_h is worked out for each key, a block of keys at a time; nothing is kept.

    Args:
        layer: whose weights.
        carried: its values and projection, both known.
        example: of the batch.
        heads: which.
        queries: which.
        keys: which.
    """
    norms = [block.norm(dim=-1).cpu().numpy() for block in _projected(layer, carried, example, heads, keys)]
    empty = np.empty((length_of(heads, layer.n_heads), 0), dtype=np.float32)
    found: Floats = layer.weights(example, heads, queries, keys)
    found *= np.concatenate([empty, *norms], axis=1)[:, None, :]
    return found


def largest_norms(layer: Attention, carried: Carried, example: int) -> Floats:
    """The largest |f_h(x_j)| of each head over all keys, (H,): nothing that a head adds is longer.

    What overflowed is passed over.
    """
    heads, keys = slice(0, layer.n_heads), slice(0, layer.n_keys)
    found = np.zeros(layer.n_heads, dtype=np.float32)
    for block in _projected(layer, carried, example, heads, keys):
        np.maximum(found, finite(block.norm(dim=-1)).amax(dim=1).cpu().numpy(), out=found)
    return found


def finite(sizes: torch.Tensor) -> torch.Tensor:
    """With 0 in the place of what is not a number, or infinite."""
    return sizes.nan_to_num(nan=0, posinf=0)


def layer_norms(layer: Attention, carried: Carried, example: int, queries: Index, keys: Index) -> Floats:
    """|sum over h of w[h, i, j] f_h(x_j)|, (q, k) float32.

    With C_j[h, g] = f_h(x_j) . f_g(x_j), in double precision since heads may cancel, this is the root of w C_j w: H x H
    numbers a key instead of a vector for each pair.

    Args:
        layer: whose weights.
        carried: its values and projection, both known.
        example: of the batch.
        queries: which.
        keys: which.
    """
    heads = slice(0, layer.n_heads)
    n_queries, n_keys = length_of(queries, layer.n_queries), length_of(keys, layer.n_keys)
    found = np.empty((n_queries, n_keys), dtype=np.float32)
    start = 0
    for block in _projected(layer, carried, example, heads, keys):
        vectors = block.cpu().double().transpose(0, 1)  # (k, H, D)
        alike = torch.matmul(vectors, vectors.transpose(1, 2))  # (k, H, H)
        stop = start + len(alike)
        columns = part_of(keys, layer.n_keys, start, stop)
        step = max(1, limits.block_bytes // (3 * _DOUBLE * layer.n_heads * len(alike)))
        for first in range(0, n_queries, step):
            rows = part_of(queries, layer.n_queries, first, min(first + step, n_queries))
            weights = torch.from_numpy(layer.weights(example, heads, rows, columns)).double().permute(2, 1, 0)
            squares = (torch.matmul(weights, alike) * weights).sum(-1)  # (k, q)
            found[first : first + step, start:stop] = squares.clamp(min=0).sqrt().T.numpy()
        start = stop
    return found


def _projected(layer: Attention, carried: Carried, example: int, heads: Index, keys: Index) -> Iterator[torch.Tensor]:
    """f_h(x_j) of a block of keys at a time, (h, k, D) float32."""
    numbers, n_keys = positions_of(heads, layer.n_heads), length_of(keys, layer.n_keys)
    values, projection = of_example(carried.values, example), carried.projection
    device = values.device
    own = torch.from_numpy(numbers // (layer.n_heads // values.shape[0])).to(device)
    with plain_maths(device):
        maps = projection[torch.from_numpy(numbers).to(projection.device)].to(device).float()  # (h, dv, D)
    step = max(1, limits.block_bytes // (2 * _DOUBLE * max(1, len(numbers)) * maps.shape[-1]))
    for start in range(0, n_keys, step):
        columns = part_of(keys, layer.n_keys, start, min(start + step, n_keys))
        with plain_maths(device):
            block = torch.matmul(values[:, torch_index(columns, device)][own].float(), maps)
        yield block
