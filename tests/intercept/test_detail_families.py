"""Scores and query-key detail of real architectures: rows put together again pair by pair, against eager attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tf
from generation import build, eager_weights, prompts

import attnwidget as aw

FAMILIES = ["gpt2", "llama", "mistral", "t5", "gemma2", "gpt_oss", "deepseek_v3"]
"""Plain, rotary and grouped, sliding window, position bias without a scale, soft cap, sinks, latent keys."""


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_put_together_from_their_pairs_are_the_rows_of_eager_attention(family):
    model, inputs = build(family), prompts((12, 8), right=True)  # the second one is padded
    if family == "t5":
        inputs["decoder_input_ids"] = torch.randint(5, 60, (2, 5))
    cap = aw.AttentionModel(model).capture(inputs)
    encoder = inputs["input_ids"][1, :8] if family == "t5" else None
    sequence = inputs["decoder_input_ids"][1] if family == "t5" else inputs["input_ids"][1, :8]
    eager = eager_weights(model, sequence, encoder)
    for stack, wanted in eager.items():
        n_queries, n_keys = wanted.shape[2:]
        for layer, head, query in ((0, 0, n_queries - 1), (1, 3, 3), (1, 2, 0)):
            expected = np.asarray(wanted[layer, head, query])
            found = [cap.detail(layer, head, query, key, batch=1, stack=stack) for key in range(n_keys)]
            logits = torch.tensor([-np.inf if one.masked else one.score + one.bias for one in found])
            share = found[0].sink_share or 0.0
            np.testing.assert_allclose(torch.softmax(logits, 0) * (1 - share), expected, atol=2e-5)
            np.testing.assert_allclose(np.exp([one.log_weight for one in found]), expected, atol=2e-5)
            np.testing.assert_allclose([one.weight for one in found], expected, atol=2e-5)
            assert [one.weight for one in found] == [
                cap.weights(layer, head, queries=[query], keys=[key], batch=1, stack=stack)[0, 0]
                for key in range(n_keys)
            ]
            assert (share > 0) == (family == "gpt_oss")
            assert {one.softcap for one in found} == {5.0 if family == "gemma2" else None}
            assert any(one.bias for one in found) == (family == "t5" and stack != "cross")
            if family == "t5":
                assert found[0].scale == 1
    if family == "mistral":
        assert cap.detail(0, 0, 7, 3, batch=1).masked
        assert not cap.detail(0, 0, 7, 4, batch=1).masked


def test_queries_and_keys_are_those_after_rotation():
    model = tf.LlamaModel(
        tf.LlamaConfig(
            vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=32,
        )
    ).eval()  # fmt: skip
    ids = torch.arange(9)[None]
    cap = aw.AttentionModel(model).capture(ids)
    layer = model.layers[0]
    with torch.no_grad():
        hidden = layer.input_layernorm(model.embed_tokens(ids))
        q = layer.self_attn.q_proj(hidden).view(9, 4, 8)
        k = layer.self_attn.k_proj(hidden).view(9, 2, 8)
    angles = torch.arange(9)[:, None] * 10000.0 ** (-torch.arange(4) / 4)  # of Su et al. 2021, by hand

    def rotated(vectors):
        a, b = vectors[..., :4], vectors[..., 4:]
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    found = cap.detail(0, 3, 8, 2)
    np.testing.assert_allclose(found.q, rotated(q)[8, 3], atol=1e-5)
    np.testing.assert_allclose(found.k, rotated(k)[2, 1], atol=1e-5)
    assert found.key_head == 1
    assert not np.allclose(found.q, q[8, 3], atol=1e-2)


def test_alibi_is_a_bias_by_distance():
    torch.manual_seed(0)
    model = tf.BloomModel(tf.BloomConfig(vocab_size=60, hidden_size=32, n_layer=1, n_head=4)).eval()
    cap = aw.AttentionModel(model).capture(torch.arange(9)[None])
    # Press et al. 2022: slopes 2^-2, 2^-4 ... of 4 heads. BLOOM adds slope * key, the same but for the row's constant.
    for head in range(4):
        found = [cap.detail(0, head, 8, key) for key in range(9)]
        np.testing.assert_allclose(np.diff([one.bias for one in found]), 4.0 ** -(head + 1), atol=1e-6)
        assert sum(one.weight for one in found) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(np.exp([one.log_weight for one in found]), [one.weight for one in found], atol=1e-6)


def test_factors_kept_in_half_precision_are_the_rounded_ones():
    model, inputs = build("llama"), prompts((10,))
    exact = aw.AttentionModel(model).capture(inputs).detail(1, 2, 9, 4)
    kept = aw.AttentionModel(model).capture(inputs, dtype="bfloat16")
    found = kept.detail(1, 2, 9, 4)
    np.testing.assert_array_equal(found.q, torch.from_numpy(exact.q).bfloat16().float())
    np.testing.assert_array_equal(found.k, torch.from_numpy(exact.k).bfloat16().float())
    assert found.weight == kept.weights(1, 2, queries=[9], keys=[4])[0, 0]
    assert np.exp(found.log_weight) == pytest.approx(found.weight, rel=1e-5)
