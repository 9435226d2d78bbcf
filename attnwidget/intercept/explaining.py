"""Whether factors are what a model computed with, told from what it computed: its weights, or its output.

Where every step from the factors to there is known, a few rows tell whether it was understood. Where somebody else's
code had a hand in it every row is looked at: it may cut out a single edge, or change one example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention import FactoredAttention
from attnwidget.attention.blocks import torch_index
from attnwidget.attention.limits import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.attention import Attention
    from attnwidget.attention.protocol import Index

_SMALLEST = 1e-5
"""A weight that matters."""
_PAIR_BYTES = 32
"""What a pair takes on the way: two weights, their difference, its bound, and what the mask needs."""


def gives_weights(attention: FactoredAttention, weights: torch.Tensor, *, every: bool) -> bool:
    """Whether the factors give weights, up to rounding.

    A score is rounded relative to |q| |k| (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1),
    and that turns into a relative error of its weight.

    Args:
        attention: what is to be believed.
        weights: (B, H, Tq, Tk) as the model computed them; rows that may look at nothing do not count.
        every: look at every row, not only at a few of two examples.
    """
    if not weights.numel():
        return True
    rounding = _rounding(attention, weights.dtype)  # (B, H)
    coarse = _coarsest(attention, weights.dtype)
    for example, heads, rows in _blocks(attention, every=every):
        expected, empty = attention.whole_rows(example, heads, rows)
        actual = _picked(weights[example], heads, rows)
        relative = rounding[min(example, len(rounding) - 1), heads, None, None]
        near = (expected.sub_(actual).abs_() <= relative * actual.abs() + 4 * coarse).logical_or_(empty)
        if not bool(near.all()):  # nor is NaN near to anything
            return False
    return True


def gives_output(attention: Attention, value: torch.Tensor, output: torch.Tensor, *, every: bool) -> bool:
    """Whether softmax(...) v is the output.

    Args:
        attention: what is to be believed.
        value: (B | 1, Hkv, Tk, dv), more keys than there are weights for being left out.
        output: (B, Tq, H, dv) as the model computed it; rows that may look at nothing do not count.
        every: look at every row, not only at a few of two examples.
    """
    n_queries, n_keys, n_heads = attention.n_queries, attention.n_keys, attention.n_heads
    if tuple(output.shape[:3]) != (attention.n_examples, n_queries, n_heads) or value.shape[2] < n_keys:
        return False
    group = n_heads // value.shape[1]
    near_to = max(1e-4, 16 * torch.finfo(output.dtype).eps)
    if every and isinstance(attention, FactoredAttention) and attention.q.numel() and attention.k.numel():
        # No more than rounding explains: an edge that was cut out may have weighed little.
        near_to = min(near_to, max(_SMALLEST, float(_rounding(attention, output.dtype).max())))
    for example, heads, rows in _blocks(attention, every=every):
        values = value[example if value.shape[0] > 1 else 0, :, :n_keys].detach().float()
        values = values.repeat_interleave(group, dim=0)[heads]
        weights, empty = _whole_rows(attention, example, heads, rows, output.device)
        actual = _picked(output[example].transpose(0, 1), heads, rows)  # (h, q, dv)
        error = (torch.matmul(weights, values) - actual).abs_()
        near = (error <= near_to * values.abs().amax().clamp(min=1e-6)).logical_or_(empty)
        if not bool(near.all()):
            return False
    return True


def gives_survivors(attention: FactoredAttention, dropped: torch.Tensor, dropout: float, *, every: bool) -> bool:
    """Whether weights that dropout left over are those of the factors.

    Args:
        attention: what is to be believed.
        dropped: (B, H, Tq, Tk), after dropout: 0, or 1 / (1 - dropout) of what they were.
        dropout: probability with which they were dropped.
        every: look at every row, not only at a few of two examples.
    """
    if dropped.shape[3] != attention.n_keys or dropout >= 1:
        return False
    tolerance = max(1e-4, 16 * torch.finfo(dropped.dtype).eps)
    for example, heads, rows in _blocks(attention, every=every):
        expected, empty = attention.whole_rows(example, heads, rows)
        left = _picked(dropped[example], heads, rows)
        # Rows that may look at nothing are padding, and eager attention spreads them evenly.
        near = ((left * (1 - dropout) - expected).abs_() <= tolerance).logical_or_(left == 0).logical_or_(empty)
        if not bool(near.all()):
            return False
    return True


def _picked(tensor: torch.Tensor, heads: slice, rows: Index) -> torch.Tensor:
    """Some rows of some heads of (H, Tq, n), float32."""
    return tensor[heads][:, torch_index(rows, tensor.device)].detach().float()


def _whole_rows(
    attention: Attention, example: int, heads: slice, rows: Index, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (h, q, Tk), and which rows may look at nothing (h, q, 1)."""
    if isinstance(attention, FactoredAttention):
        return attention.whole_rows(example, heads, rows)
    keys = slice(0, attention.n_keys)
    weights = attention.weights(example, heads, rows, keys)
    seen = np.broadcast_to(attention.allowed(example, heads, rows, keys), weights.shape).any(-1, keepdims=True)
    return torch.from_numpy(weights).to(device), torch.from_numpy(~seen).to(device)


def _blocks(attention: Attention, *, every: bool) -> Iterator[tuple[int, slice, Index]]:
    """Examples, heads and queries, a block of pairs at a time."""
    n_queries = attention.n_queries
    if not every:
        rows = np.unique([0, n_queries // 3, n_queries // 2, n_queries - 1])
        yield from ((example, slice(0, attention.n_heads), rows) for example in {0, attention.n_examples - 1})
        return
    pairs = max(1, limits.block_bytes // _PAIR_BYTES)
    n_rows = max(1, min(n_queries, pairs // max(1, attention.n_keys)))
    n_heads = max(1, pairs // max(1, n_rows * attention.n_keys))
    for example in range(attention.n_examples):
        for head in range(0, attention.n_heads, n_heads):
            for row in range(0, n_queries, n_rows):
                yield example, slice(head, head + n_heads), slice(row, min(row + n_rows, n_queries))


def _rounding(attention: FactoredAttention, dtype: torch.dtype) -> torch.Tensor:
    """(B | 1, H), how far rounding may have moved a weight, relative to it, in a run that computed in a type.

    No score is larger than scale times the largest |q| times the largest |k|, before what is added to it.
    """
    q, k = (part.detach().float().norm(dim=-1).amax(dim=-1) for part in (attention.q, attention.k))
    sizes: torch.Tensor = abs(attention.scale) * q * k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    return 4 * _coarsest(attention, dtype) * (2 + sizes)


def _coarsest(attention: FactoredAttention, dtype: torch.dtype) -> float:
    return max(torch.finfo(kind).eps for kind in (dtype, attention.q.dtype, attention.k.dtype, torch.float32))
