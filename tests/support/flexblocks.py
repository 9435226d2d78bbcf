"""Attention of no library, by flex_attention."""

from __future__ import annotations

from torch import nn

HEADS, SIZE, TOKENS = 4, 8, 24


class Block(nn.Module):
    def __init__(self, call=None, kv_heads=HEADS, **options):
        from torch.nn.attention.flex_attention import flex_attention  # torch 2.4 has none

        super().__init__()
        self.mix = nn.Linear(HEADS * SIZE, (HEADS + 2 * kv_heads) * SIZE)
        self.call, self.kv_heads, self.options = call or flex_attention, kv_heads, options

    def forward(self, x):
        mixed = self.mix(x).unflatten(-1, (-1, SIZE)).transpose(1, 2)
        q, k, v = mixed.split([HEADS, self.kv_heads, self.kv_heads], dim=1)
        self.seen = q, k
        result = self.call(q, k, v, **self.options)
        result = result[0] if isinstance(result, tuple) else result
        return result.transpose(1, 2).flatten(-2)
