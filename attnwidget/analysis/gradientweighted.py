"""Gradient x attention: what a target would change by, to first order, if a weight fell to zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from attnwidget.analysis.valueweighted import finite
from attnwidget.attention.blocks import of_example, plain_maths, torch_index
from attnwidget.attention.limits import limits
from attnwidget.attention.protocol import length_of, part_of, positions_of

if TYPE_CHECKING:
    from attnwidget.attention import Attention, Carried
    from attnwidget.attention.protocol import Floats, Index

_NUMBER_BYTES = 12


def largest_product(carried: Carried, example: int) -> float:
    """|dt/do[h, i]| |v[h, j]| at the most, over all heads, queries and keys: no w dt/dw is larger in size.

    What overflowed is passed over.
    """
    both = carried.gradient[example], of_example(carried.values, example)
    return math.prod(float(finite(part.float().norm(dim=-1)).max()) for part in both)


def gradient_times_weight(
    layer: Attention, carried: Carried, example: int, heads: Index, queries: Index, keys: Index
) -> Floats:
    """w[h, i, j] dt/dw[h, i, j], (h, q, k) float32, t the target.

    A head puts out o[h, i] = sum over j of w[h, i, j] v[h, j], so that dt/dw[h, i, j] = dt/do[h, i] . v[h, j]: no
    gradient of the size of the weights was ever made. The weight counts as a number of its own, as it does where
    automatic differentiation is asked for the gradient of a softmax's result.

    Args:
        layer: whose weights.
        carried: its values and gradient, both known.
        example: of the batch.
        heads: which.
        queries: which.
        keys: which.
    """
    found: Floats = layer.weights(example, heads, queries, keys)
    numbers, n_queries = positions_of(heads, layer.n_heads), length_of(queries, layer.n_queries)
    gradient, values = carried.gradient[example], of_example(carried.values, example)
    device = gradient.device
    with plain_maths(device):
        own = torch.from_numpy(numbers // (layer.n_heads // values.shape[0])).to(values.device)
        seen = values[:, torch_index(keys, values.device)][own].to(device).float().transpose(1, 2)  # (h, dv, k)
        asked = gradient[torch.from_numpy(numbers).to(device)]  # (h, Tq, dv)
        step = max(1, limits.block_bytes // (_NUMBER_BYTES * max(1, len(numbers) * seen.shape[2])))
        for first in range(0, n_queries, step):
            rows = part_of(queries, layer.n_queries, first, min(first + step, n_queries))
            change = torch.matmul(asked[:, torch_index(rows, device)].float(), seen)
            found[:, first : first + step] *= change.cpu().numpy()
    return found
