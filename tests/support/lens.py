"""Activations with the names and shapes that TransformerLens gives them, made by hand."""

from __future__ import annotations

import torch

BATCH, HEADS, KEY_HEADS, TOKENS, SIZE = 2, 4, 2, 6, 8


def lens_layer(
    number: int,
    *,
    path: str = "blocks.{}.attn",
    causal: bool = True,
    key_heads: int = KEY_HEADS,
    scale: float = SIZE**-0.5,
    keys: int = TOKENS,
) -> dict[str, torch.Tensor]:
    """hook_q, hook_k, hook_attn_scores and hook_pattern of a layer: positions stand before heads in q and k."""
    generator = torch.Generator().manual_seed(number)
    q = torch.randn(BATCH, TOKENS, HEADS, SIZE, generator=generator)
    k = torch.randn(BATCH, keys, key_heads, SIZE, generator=generator)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k.repeat_interleave(HEADS // key_heads, dim=2)) * scale
    if causal:
        scores = scores.masked_fill(torch.ones(TOKENS, keys).triu(1).bool(), -torch.inf)
    parts = {"hook_q": q, "hook_k": k, "hook_attn_scores": scores, "hook_pattern": scores.softmax(-1)}
    return {f"{path.format(number)}.{name}": value for name, value in parts.items()}
