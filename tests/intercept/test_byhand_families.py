"""Families of transformers that compute attention by hand, against their own `output_attentions`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tf
from watched import as_it_ran, is_factored, watch, whole

import attnwidget as aw
from attnwidget.attention import FramedAttention

PLAIN = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
GPT = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
XLM = {"vocab_size": 60, "emb_dim": 32, "n_layers": 2, "n_heads": 4}
SIDES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
SPEECH = {
    "conv_dim": [8, 8],
    "conv_stride": [4, 4],
    "conv_kernel": [4, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
# name: the model, and how its layers are kept.
FAMILIES = {
    "bloom": (
        lambda: tf.BloomModel(tf.BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=4)),
        "causal, padding",
    ),
    "mpt": (
        lambda: tf.MptModel(tf.MptConfig(vocab_size=60, d_model=32, n_layers=2, n_heads=4, max_seq_len=64)),
        "causal, padding",
    ),
    "falcon": (
        lambda: tf.FalconModel._from_config(
            tf.FalconConfig(
                vocab_size=60,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                alibi=True,
                ffn_hidden_size=32,
            ),
            attn_implementation="eager",
        ),
        "causal, padding, bias per key",
    ),
    "mpnet": (lambda: tf.MPNetModel(tf.MPNetConfig(**PLAIN)), "padding, relative bias"),
    "openai-gpt": (lambda: tf.OpenAIGPTModel(tf.OpenAIGPTConfig(**GPT)), "causal, padding"),
    "gptj": (lambda: tf.GPTJModel(tf.GPTJConfig(**GPT, rotary_dim=4)), "causal, padding"),
    "codegen": (lambda: tf.CodeGenModel(tf.CodeGenConfig(**GPT, rotary_dim=4)), "causal, padding"),
    "gpt_neo": (
        lambda: tf.GPTNeoModel(
            tf.GPTNeoConfig(
                vocab_size=60,
                hidden_size=32,
                num_layers=2,
                num_heads=4,
                attention_types=[[["global", "local"], 1]],
                window_size=4,
                max_position_embeddings=64,
            )
        ),
        "causal, window 4, padding",
    ),
    "deberta": (lambda: tf.DebertaModel(tf.DebertaConfig(**PLAIN, **DISENTANGLED)), "weights"),
    "deberta-v2": (
        lambda: tf.DebertaV2Model(tf.DebertaV2Config(**PLAIN, **DISENTANGLED, share_att_key=True, position_buckets=8)),
        "weights",
    ),
    "deberta-v2, content only": (lambda: tf.DebertaV2Model(tf.DebertaV2Config(**PLAIN)), "padding"),
    "xlnet": (
        lambda: tf.XLNetModel(tf.XLNetConfig(vocab_size=60, d_model=32, n_layer=2, n_head=4, d_inner=32)),
        "weights",
    ),
    "xlm": (lambda: tf.XLMModel(tf.XLMConfig(**XLM)), "padding"),
    "flaubert": (lambda: tf.FlaubertModel(tf.FlaubertConfig(**XLM)), "padding"),
    "rembert": (
        lambda: tf.RemBertModel(tf.RemBertConfig(**PLAIN, input_embedding_size=16, output_embedding_size=16)),
        "padding",
    ),
    "roformer": (lambda: tf.RoFormerModel(tf.RoFormerConfig(**PLAIN, embedding_size=32)), "padding"),
    "tapas": (lambda: tf.TapasModel(tf.TapasConfig(**PLAIN)), "padding"),
    "funnel": (
        lambda: tf.FunnelBaseModel(
            tf.FunnelConfig(vocab_size=60, d_model=32, d_inner=32, n_head=4, d_head=8, block_sizes=[2])
        ),
        "weights",
    ),
    "big_bird": (lambda: tf.BigBirdModel(tf.BigBirdConfig(**PLAIN, attention_type="original_full")), "padding"),
    "xglm": (
        lambda: tf.XGLMModel(
            tf.XGLMConfig(
                vocab_size=60, d_model=32, ffn_dim=32, num_layers=2, attention_heads=4, max_position_embeddings=64
            )
        ),
        "causal, padding",
    ),
    "fsmt": (
        lambda: tf.FSMTModel(tf.FSMTConfig(langs=["en", "de"], src_vocab_size=60, tgt_vocab_size=60, **SIDES)),
        "q k float32",
    ),
    "mvp": (lambda: tf.MvpModel(tf.MvpConfig(vocab_size=60, max_position_embeddings=64, **SIDES)), "q k float32"),
    "sew-d": (lambda: tf.SEWDModel(tf.SEWDConfig(**PLAIN, **SPEECH, squeeze_factor=1)), "weights"),
    "pvt": (
        lambda: tf.PvtModel(
            tf.PvtConfig(
                image_size=32,
                hidden_sizes=[8, 16],
                depths=[1, 1],
                num_attention_heads=[1, 2],
                sequence_reduction_ratios=[2, 1],
                patch_sizes=[4, 2],
                strides=[4, 2],
                mlp_ratios=[2, 2],
                num_encoder_blocks=2,
            )
        ),
        "q k float32",
    ),
    "swinv2": (
        lambda: tf.Swinv2Model(
            tf.Swinv2Config(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 4], window_size=4)
        ),
        "bias",
    ),
    "vitdet": (
        lambda: tf.VitDetModel(
            tf.VitDetConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                image_size=32,
                patch_size=4,
                pretrain_image_size=32,
                use_relative_position_embeddings=True,
                window_block_indices=[0],
                window_size=4,
            )
        ),
        "weights",
    ),
    "perceiver": (
        lambda: tf.PerceiverModel(
            tf.PerceiverConfig(
                num_latents=8,
                d_latents=32,
                d_model=16,
                num_blocks=1,
                num_self_attends_per_block=2,
                num_self_attention_heads=4,
                num_cross_attention_heads=4,
            )
        ),
        "q k float32",
    ),
}


def build(make):
    torch.manual_seed(0)
    model = make().eval()
    for parameter in model.parameters():  # freshly made models look everywhere alike
        parameter.data.mul_(2) if parameter.ndim > 1 else parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


def make_inputs(model):
    torch.manual_seed(1)
    name = model.main_input_name
    if name == "input_ids":
        inputs = {"input_ids": torch.randint(5, 60, (2, 12)), "attention_mask": torch.ones(2, 12, dtype=torch.long)}
        inputs["attention_mask"][1, 8:] = 0
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.randint(5, 60, (2, 7))
        return inputs
    sizes = {"inputs": (2, 10, 16), "input_values": (2, 400)}
    return {name: torch.randn(sizes.get(name, (2, 3, 32, 32)))}


def references(output):
    """Its own attentions, in the order its modules run: encoder, decoder and cross attention of a decoder layer."""
    found = [*(output.get("encoder_attentions") or output.get("attentions") or ())]
    for own, cross in zip(output.get("decoder_attentions") or (), output.get("cross_attentions") or (), strict=True):
        found += [own, cross]
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_equal_their_own(name):
    make, kept = FAMILIES[name]
    model = build(make)
    inputs = make_inputs(model)
    cap = watch(model, **inputs)
    with torch.no_grad():
        output = model(**inputs, output_attentions=True)
    # Perceiver gathers its cross attention, which runs first, apart.
    wanted = references(output) if name != "perceiver" else [*output.cross_attentions, *output.attentions]
    layers = {
        (info.path, info.call): (stack, layer)
        for stack in cap.stacks
        for layer, info in enumerate(cap.stacks[stack].infos)
    }
    order = [path for path, _ in model.named_modules()]
    ran = sorted(layers, key=lambda place: (order.index(place[0]), place[1]))
    assert len(ran) == len(wanted)
    for place, reference in zip(ran, wanted, strict=True):
        stack, layer = layers[place]
        found = as_it_ran(cap, layer, stack)
        assert found.shape == tuple(reference.shape)
        shown = cap.stacks[stack].layers[layer]
        shown = shown.windows if isinstance(shown, FramedAttention) else shown
        every = slice(0, shown.n_heads), slice(0, shown.n_queries), slice(0, shown.n_keys)
        for example in range(len(found)):  # rows that see nothing are padding, and spread evenly by the model
            rows = np.broadcast_to(shown.allowed(example, *every), found.shape[1:]).any(-1)
            np.testing.assert_allclose(found[example][rows], reference[example].numpy()[rows], atol=1e-5)
    stack, layer = layers[ran[-1]]
    assert kept in cap.stacks[stack].layers[layer].detail
    assert is_factored(cap, layer, stack) == (kept != "weights")
    assert cap.verify().ok
    assert {info.implementation for stack in cap.stacks.values() for info in stack.infos} == {"by hand"}


def test_masks_of_families_are_shared_by_their_layers():
    for name in ("bloom", "gptj", "openai-gpt", "rembert"):
        model = build(FAMILIES[name][0])
        cap = watch(model, **make_inputs(model))
        masks = [layer.mask for layer in cap.stacks["self"].layers]
        assert masks[0] is not None
        assert all(mask is masks[0] for mask in masks)


@pytest.mark.filterwarnings("ignore:encoder.layers:attnwidget.AttentionWarning")
def test_what_a_family_computes_in_pieces_is_named():
    config = tf.LEDConfig(
        vocab_size=60,
        **SIDES,
        attention_window=[4, 4],
        max_encoder_position_embeddings=64,
        max_decoder_position_embeddings=64,
    )
    model = build(lambda: tf.LEDModel(config))
    cap = watch(model, **make_inputs(model))
    assert {stack: part.n_layers for stack, part in cap.stacks.items()} == {"decoder": 2, "cross": 2}
    first = "encoder.layers.0.self_attn.longformer_self_attn (LEDEncoderSelfAttention)"
    assert any(f"2 softmaxes, the first in {first}, were taken of a product" in note for note in cap.notes)


def test_generation_of_one_token_with_a_cache():
    model = build(FAMILIES["gptj"][0])
    ids = torch.randint(5, 60, (1, 9))
    with torch.no_grad():
        past = model(ids[:, :-1], use_cache=True).past_key_values
        with aw.capture(model) as cap:
            output = model(ids[:, -1:], past_key_values=past, output_attentions=True)
    assert whole(cap).shape == (1, 4, 1, 9)
    np.testing.assert_allclose(whole(cap, 1), output.attentions[1].numpy(), atol=1e-6)
