"""Caches with the names and shapes of TransformerLens, made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lens import BATCH, KEY_HEADS, TOKENS, lens_layer

import attnwidget as aw
from attnwidget.compat.transformer_lens import from_transformer_lens


def without(cache, *names):
    return {name: value for name, value in cache.items() if not name.endswith(names)}


@pytest.fixture
def cache():
    return {"hook_embed": torch.zeros(BATCH, TOKENS, 32), **lens_layer(0), **lens_layer(1), **lens_layer(2)}


def test_grouped_heads_and_tokens(cache):
    cap = from_transformer_lens(cache, ["<|endoftext|>", "The", " cat", "s", " sat", "."], model="own")
    assert (cap.model, cap.stacks["self"].infos[0].key_heads) == ("own", KEY_HEADS)
    assert cap.stacks["self"].query_tokens[0].running_text == "<|endoftext|>The cats sat."
    for number in range(3):
        wanted = cache[f"blocks.{number}.attn.hook_pattern"][1].numpy()
        np.testing.assert_allclose(cap.weights(number, batch=1), wanted, atol=1e-6)
    assert cap.detail(1, 3, query=4, key=2).weight == pytest.approx(
        float(cache["blocks.1.attn.hook_pattern"][0, 3, 4, 2])
    )


def test_no_batch_axis_and_no_pattern(cache):
    flat = {name: value[0] for name, value in without(cache, "hook_pattern", "hook_attn_scores").items()}
    cap = from_transformer_lens(flat, causal=True)
    np.testing.assert_allclose(cap.weights(2), cache["blocks.2.attn.hook_pattern"][0].numpy(), atol=1e-6)
    assert "layers 0, 1, 2 of stack 'self' are worked out from queries and keys, causal" in cap.notes[0]
    with pytest.raises(
        ValueError, match=r"nothing says which keys a query may see .causal=True or False would.; add hook"
    ):
        from_transformer_lens(flat)


def test_scale_and_padding_come_from_the_cache():
    padded = lens_layer(0, scale=1.0)
    allowed = (torch.arange(TOKENS) >= torch.tensor([[0], [2]]))[:, None, None] & torch.ones(
        TOKENS, TOKENS
    ).tril().bool()
    scores = torch.where(allowed, padded["blocks.0.attn.hook_attn_scores"], torch.finfo(torch.float32).min)
    padded["blocks.0.attn.hook_attn_scores"] = scores
    padded["blocks.0.attn.hook_pattern"] = scores.softmax(-1) * allowed.any(-1, keepdim=True)
    with pytest.warns(aw.AttentionWarning, match="rows do not sum to 1"):
        cap = from_transformer_lens(padded)
    assert cap.stacks["self"].layers[0].detail == "q k float32, causal, padding"
    assert cap.stacks["self"].layers[0].scale == 1.0
    assert not cap.allowed(0, 0, batch=1)[4, 1]


def test_queries_that_do_not_explain_the_pattern_are_left_out(cache):
    cache["blocks.1.attn.hook_q"] = cache["blocks.1.attn.hook_q"] + 1
    cap = from_transformer_lens(cache)
    assert [part.detail for part in cap.stacks["self"].layers] == [
        "q k float32, causal",
        "weights, float32, causal",
        "q k float32, causal",
    ]


def test_encoder_and_decoder():
    cache = {
        **lens_layer(0, path="encoder.{}.attn", causal=False),
        **lens_layer(1, path="encoder.{}.attn", causal=False),
        **lens_layer(0, path="decoder.{}.attn"),
        **lens_layer(0, path="decoder.{}.cross_attn", causal=False, keys=5),
    }
    names = [f"d{number}" for number in range(TOKENS)]
    cap = from_transformer_lens(cache, decoder_tokens=names)
    assert {name: stack.n_layers for name, stack in cap.stacks.items()} == {"encoder": 2, "decoder": 1, "cross": 1}
    assert cap.stacks["cross"].query_tokens[0].pieces == tuple(names)
    wanted = cache["decoder.0.cross_attn.hook_pattern"][0].numpy()
    np.testing.assert_allclose(cap.weights(0, stack="cross"), wanted, atol=1e-6)


def test_clear_errors(cache):
    with pytest.raises(aw.CaptureError, match=r"holds 1 activations .hook_embed .* names_filter"):
        from_transformer_lens({"hook_embed": torch.zeros(3)})
    with pytest.raises(TypeError, match="cache is tuple; expected an ActivationCache, the second thing"):
        from_transformer_lens((1, cache))
    with pytest.raises(TypeError, match=r"blocks.0.attn.hook_q is list; expected a torch tensor"):
        from_transformer_lens({"blocks.0.attn.hook_q": [1]})
    with pytest.raises(ValueError, match="tokens of example 0 hold 2 tokens and the attention of stack 'self' has 6"):
        from_transformer_lens(cache, ["a", "b"])
    with pytest.raises(ValueError, match="decoder_tokens were given, and the cache is of no encoder and decoder"):
        from_transformer_lens(cache, decoder_tokens=["a"])
    with pytest.raises(ValueError, match=r"hook_pattern has shape .6, 6.; expected .batch, heads, queries, keys."):
        from_transformer_lens({"blocks.0.attn.hook_pattern": torch.zeros(TOKENS, TOKENS)})
