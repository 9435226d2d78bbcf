"""x-transformers with the options that change its attention: exact, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from softmaxes import Softmaxes
from watched import is_factored, watch, whole
from x_transformers import CrossAttender, Decoder, Encoder, TransformerWrapper, ViTransformerWrapper, XTransformer

import attnwidget as aw

SMALL = {"dim": 32, "depth": 2, "heads": 4, "attn_dim_head": 8}
# name: options, what stands in the layer's description, and what is not so for an encoder.
EXACT = {
    "plain": ({}, ""),
    "flash": ({"attn_flash": True}, ""),
    "rotary": ({"rotary_pos_emb": True, "rotary_emb_dim": 8}, ""),
    "alibi": ({"alibi_pos_bias": True}, "ALiBi"),
    "alibi, flash": ({"alibi_pos_bias": True, "attn_flash": True}, "ALiBi"),
    "relative bias": ({"rel_pos_bias": True}, "relative bias"),
    "dynamic positions": ({"dynamic_pos_bias": True}, "relative bias"),
    "queries and keys normalised": ({"attn_qk_norm": True}, ""),
    "normalised, scaled": ({"attn_qk_norm": True, "attn_qk_norm_dim_scale": True}, ""),
    "grouped heads": ({"attn_kv_heads": 2}, ""),
    "grouped heads, flash": ({"attn_kv_heads": 2, "attn_flash": True}, ""),
    "one key head": ({"attn_one_kv_head": True}, ""),
    "one key head, flash": ({"attn_one_kv_head": True, "attn_flash": True}, ""),
    "memory": ({"attn_num_mem_kv": 3}, ""),
    "memory, flash": ({"attn_num_mem_kv": 3, "attn_flash": True}, ""),
    "a zero key": ({"attn_add_zero_kv": True}, ""),
    "a zero key, flash": ({"attn_add_zero_kv": True, "attn_flash": True}, ""),
    "only the largest scores": ({"attn_sparse_topk": 3}, "mask"),
    "gated values": ({"attn_gate_values": True}, ""),
    "heads mixed before": ({"attn_pre_talking_heads": True}, "weights"),
    "scores of the layer before": ({"residual_attn": True}, ""),
    "data-dependent alibi": ({"attn_data_dependent_alibi": True}, ""),
}
CHANGED = {
    "heads mixed after": {"attn_post_talking_heads": True},
    "scaled by scores": {"attn_pre_scale_post_talking_heads": True},
    "signs put back": {"attn_cog_signed": True},
}
REFUSED = {
    "soft cap in TorchScript": {"attn_softclamp_logits": True},
    "distances": {"attn_l2_distance": True},
    "sigmoid": {"attn_sigmoid": True},
}


def build(kind, options):
    torch.manual_seed(0)
    layers = kind(**SMALL, **options)
    model = TransformerWrapper(num_tokens=50, max_seq_len=32, attn_layers=layers).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model, torch.randint(0, 50, (2, 11))


@pytest.mark.parametrize("kind", [Encoder, Decoder])
@pytest.mark.parametrize("name", EXACT)
def test_exact(name, kind):
    options, words = EXACT[name]
    model, ids = build(kind, options)
    with torch.no_grad(), Softmaxes() as run:
        model(ids)
    cap = watch(model, ids)
    assert cap.stacks["self"].n_layers == len(run.weights) == 2
    for layer, wanted in enumerate(run.weights):
        np.testing.assert_allclose(whole(cap, layer), wanted.numpy(), atol=1e-5)
        assert words in cap.stacks["self"].layers[layer].detail
        assert kind is Encoder or not cap.allowed(layer)[:, 0, -1].any(), "the first token sees nothing to its right"
    assert cap.verify().ok


@pytest.mark.parametrize("flash", [False, True])
@pytest.mark.parametrize("kind", [Encoder, Decoder])
def test_padding(kind, flash):
    model, ids = build(kind, {"attn_flash": flash})
    mask = torch.arange(11) < torch.tensor([[11], [7]])
    cap = watch(model, ids, mask=mask)
    assert not cap.allowed(0, batch=1)[..., 7:].any()
    assert ("causal" in cap.stacks["self"].layers[0].detail) == (kind is Decoder)
    assert "padding" in cap.stacks["self"].layers[0].detail
    assert cap.verify().ok


@pytest.mark.parametrize("name", CHANGED)
def test_weights_changed_after_the_softmax_are_said_to_be(name):
    model, ids = build(Decoder, CHANGED[name])
    with torch.no_grad(), Softmaxes() as run:
        model(ids)
    cap = watch(model, ids)
    for layer, wanted in enumerate(run.weights):
        np.testing.assert_allclose(whole(cap, layer), wanted.numpy(), atol=1e-6)
    assert any(note.startswith("where the model mixes heads after the softmax, or turns weights") for note in cap.notes)


def test_a_learned_sink_is_kept_as_one():
    model, ids = build(Decoder, {"attn_head_learned_sink": True})
    with torch.no_grad(), Softmaxes() as run:
        model(ids)
    cap = watch(model, ids)
    for layer, wanted in enumerate(run.weights):
        np.testing.assert_allclose(whole(cap, layer), wanted[..., 1:].numpy(), atol=1e-6)
        assert cap.stacks["self"].layers[layer].detail == "q k float32, causal, sinks"
    assert cap.verify().ok


def test_hard_attention_shows_what_meets_the_values():
    model, ids = build(Decoder, {"attn_hard": True})
    cap = watch(model, ids)
    assert set(np.unique(whole(cap).round(5))) == {0.0, 1.0}
    assert cap.verify().ok


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    model, ids = build(Encoder, REFUSED[name])
    with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(model):
        model(ids)
    assert "attn_layers.layers.0.1 (Attention) looks like attention" in str(error.value)
    if name != "sigmoid":
        assert "2 softmaxes, the first in attn_layers.layers.0.1.attend (Attend), were multiplied" in str(error.value)


def test_encoder_and_decoder():
    torch.manual_seed(0)
    sides = {f"{side}_{name}": value for side in ("enc", "dec") for name, value in SMALL.items() if name != "dim"}
    model = XTransformer(
        dim=32, enc_num_tokens=50, enc_max_seq_len=32, dec_num_tokens=50, dec_max_seq_len=32, **sides
    ).eval()
    source, target = torch.randint(0, 50, (2, 11)), torch.randint(0, 50, (2, 8))
    with torch.no_grad(), Softmaxes() as run:
        model(source, target)
    cap = watch(model, source, target)
    wanted = {}
    for weights in run.weights:
        wanted.setdefault(tuple(weights.shape[2:]), []).append(weights)
    assert {shape: len(found) for shape, found in wanted.items()} == {(11, 11): 2, (8, 8): 2, (8, 11): 2}
    for stack, part in cap.stacks.items():
        shape = part.layers[0].n_queries, part.layers[0].n_keys
        for layer, weights in enumerate(wanted[shape]):
            np.testing.assert_allclose(whole(cap, layer, stack), weights.numpy(), atol=1e-6)


@pytest.mark.parametrize("flash", [False, True])
def test_cross_attention(flash):
    model = CrossAttender(**SMALL, attn_flash=flash).eval()
    x, context = torch.randn(2, 5, 32), torch.randn(2, 9, 32)
    with torch.no_grad(), Softmaxes() as run:
        model(x, context=context)
    cap = watch(model, x, context=context)
    for layer, wanted in enumerate(run.weights):
        np.testing.assert_allclose(whole(cap, layer), wanted.numpy(), atol=1e-6)
        assert is_factored(cap, layer)


def test_vision():
    model = ViTransformerWrapper(image_size=32, patch_size=8, num_classes=3, attn_layers=Encoder(**SMALL)).eval()
    picture = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), Softmaxes() as run:
        model(picture)
    cap = watch(model, picture)
    for layer, wanted in enumerate(run.weights):
        np.testing.assert_allclose(whole(cap, layer), wanted.numpy(), atol=1e-6)
