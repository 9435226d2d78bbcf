"""The part of vectors along one random direction, which `Probe` keeps of values and outputs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_SEED = 20170612
_ROWS = 8
"""Queries of each layer that can be checked against the output."""


def rows_of(n_queries: int) -> slice:
    """The queries that can be checked, the last among them."""
    step = max(1, -(-n_queries // _ROWS))
    return slice((n_queries - 1) % step, None, step)


def along(vectors: torch.Tensor) -> torch.Tensor:
    """(..., d) -> (...) float32, the part of each vector along the direction of its size."""
    return (vectors * direction(vectors.shape[-1], vectors.device)).sum(-1, dtype=torch.float32)


def along_each(value: torch.Tensor) -> Callable[[], torch.Tensor]:
    """As `along`, of values (B, Hkv, Tk, dv): multiplied at once, and seen as (B, Hkv, Tk) when it is asked for.

    A product with four axes is nine operations. As values mostly lie in memory it can be two.
    """
    n_examples, n_heads, n_tokens, size = value.shape
    order, device = value.stride(), value.device
    made: torch.Tensor
    if value.dtype == torch.float32:
        each = n_heads * n_tokens * size
        if order == (each, size, n_heads * size, 1):  # token by token
            made = torch.mv(value.as_strided((each * n_examples // size, size), (size, 1)), direction(size, device))
            return lambda: made.view(n_examples, n_tokens, n_heads).transpose(1, 2)
        if n_examples == 1:  # as where one map makes queries, keys and values
            made = torch.bmm(value[0], _columns(n_heads, size, device))
            return lambda: made.view(1, n_heads, n_tokens)
    made = along(value)
    return lambda: made


@lru_cache(maxsize=16)
def direction(size: int, device: torch.device) -> torch.Tensor:
    """(size,), of unit length, always the same; the generators of the run are left alone."""
    direction: torch.Tensor = torch.randn(size, generator=torch.Generator().manual_seed(_SEED), device="cpu")
    return direction.div_(direction.norm()).to(device)


@lru_cache(maxsize=16)
def _columns(n_heads: int, size: int, device: torch.device) -> torch.Tensor:
    """(H, size, 1), the direction for each head, in the memory of one."""
    return direction(size, device)[:, None].expand(n_heads, size, 1)
