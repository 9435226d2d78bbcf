"""The short table of layers that `repr` prints."""

from __future__ import annotations

import torch

from attnwidget.attention import AttentionStack, FactoredAttention, LayerInfo, Mask, ranges


def layer(key_heads=2, **options):
    return FactoredAttention(torch.zeros(1, 4, 9, 8), torch.zeros(1, key_heads, 9, 8), **options)


def stack(*layers):
    infos = [LayerInfo(f"layers.{number}.attn", "Attention", "sdpa") for number in range(len(layers))]
    return AttentionStack("self", layers, infos=infos)


WINDOW, CAUSAL = Mask(9, 9, lowest=-3, highest=0), Mask.causal(9, 9)


def test_layers_that_are_alike_share_a_row():
    lines = stack(*[layer(mask=WINDOW if number % 2 else CAUSAL) for number in range(5)]).summary()
    assert lines[1:] == [
        "layers   heads  key heads  head size  by    kept                           module",
        "0, 2, 4  4      2          8          sdpa  q k float32, causal            layers.*.attn (Attention)",
        "1, 3     4      2          8          sdpa  q k float32, causal, window 4  layers.*.attn (Attention)",
    ]


def test_one_layer_is_named_in_full_and_empty_columns_are_left_out():
    lines = stack(layer(key_heads=4)).summary()
    assert lines[1:] == [
        "layers  heads  head size  by    kept         module",
        "0       4      8          sdpa  q k float32  layers.0.attn (Attention)",
    ]


def test_each_layer_knows_what_it_is():
    info = stack(layer(mask=WINDOW)).infos[0]
    assert info == LayerInfo("layers.0.attn", "Attention", "sdpa", 0, heads=4, key_heads=2, head_size=8, window=4)
    assert stack(layer(mask=CAUSAL)).infos[0].window is None
    assert Mask(9, 9, lowest=-2, highest=2).window == 5


def test_ranges():
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert ranges(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, ..."
    assert ranges([]) == ""
