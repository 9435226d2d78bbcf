"""Captured weights against the same model's eager `output_attentions`, and outputs to the bit."""

from __future__ import annotations

from importlib.util import find_spec

import families
import numpy as np
import pytest
import torch
import transformers as tf
from families import eager_twin, gradients, tensors

import attnwidget as aw

PLAIN = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
GROUPED = {**PLAIN, "num_key_value_heads": 2}
SIDES = {"encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
CONFIGS = {
    "bert": lambda: tf.BertConfig(**PLAIN),
    "roberta": lambda: tf.RobertaConfig(**PLAIN, pad_token_id=1),
    "albert": lambda: tf.AlbertConfig(**PLAIN, embedding_size=16),
    "distilbert": lambda: tf.DistilBertConfig(
        vocab_size=60, dim=32, n_layers=3, n_heads=4, hidden_dim=32, max_position_embeddings=64
    ),
    "gpt2": lambda: tf.GPT2Config(vocab_size=60, n_embd=32, n_layer=3, n_head=4, n_positions=64),
    "gpt_neox": lambda: tf.GPTNeoXConfig(**PLAIN),
    "llama": lambda: tf.LlamaConfig(**GROUPED),
    "mistral": lambda: tf.MistralConfig(**GROUPED, sliding_window=4),
    "qwen3": lambda: tf.Qwen3Config(**GROUPED, head_dim=8),
    "gemma2": lambda: tf.Gemma2Config(**GROUPED, head_dim=8, sliding_window=4, attn_logit_softcapping=5.0),
    "gpt_oss": lambda: tf.GptOssConfig(
        **GROUPED, head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=4
    ),
    "bart": lambda: tf.BartConfig(
        vocab_size=60, d_model=32, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, **SIDES
    ),
    "t5": lambda: tf.T5Config(
        vocab_size=60, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_decoder_layers=3, num_heads=4
    ),
    "vit": lambda: tf.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=32, image_size=32, patch_size=8
    ),
}
ONLY_EAGER = {"gemma2", "gpt_oss"}
TWO_SIDED = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
MECHANISMS = {
    "llama": "q k float32, causal",
    "mistral": "causal, window 4",
    "gemma2": "soft cap 5",
    "gpt_oss": "sinks",
    "t5": "bias",
}
CASES = [
    (name, implementation, padding)
    for name in CONFIGS
    for implementation in ("sdpa", "eager")
    if implementation == "eager" or name not in ONLY_EAGER
    for padding in ("none", "left", "right")
    if padding == "none" or name != "vit"
]


def need(name, implementation="eager"):
    """Skip what this version of transformers does not have at all."""
    try:
        kind = type(tf.AutoModel.from_config(CONFIGS[name]()))
    except AttributeError:
        pytest.skip(f"transformers {tf.__version__} has no {name}")
    if implementation == "sdpa" and not kind._supports_sdpa:
        pytest.skip(f"{name} has no sdpa in transformers {tf.__version__}")


def build(name, implementation):
    return families.build(CONFIGS[name](), implementation)


def make_inputs(name, padding="right"):
    torch.manual_seed(1)
    if name == "vit":
        return {"pixel_values": torch.randn(2, 3, 32, 32)}
    inputs = {"input_ids": torch.randint(5, 60, (2, 12))}
    if padding != "none":
        inputs["attention_mask"] = torch.ones(2, 12, dtype=torch.long)
        inputs["attention_mask"][1, slice(8, None) if padding == "right" else slice(None, 4)] = 0
    if name in {"bart", "t5"}:
        inputs["decoder_input_ids"] = torch.randint(5, 60, (2, 7))
    return inputs


@pytest.mark.parametrize(("name", "implementation", "padding"), CASES)
def test_weights_equal_eager_and_outputs_are_the_same_to_the_bit(name, implementation, padding):
    need(name, implementation)
    model, inputs = build(name, implementation), make_inputs(name, padding)
    eager = eager_twin(model)
    with torch.no_grad():
        expected = eager(**inputs, output_attentions=True)
        plain = model(**inputs)
        with aw.capture(model) as whole:
            seen = model(**inputs)
    assert all(torch.equal(one, other) for one, other in zip(tensors(plain), tensors(seen), strict=True))
    trimmed = aw.AttentionModel(model).capture(inputs) if name != "vit" else whole
    stacks = TWO_SIDED if name in {"bart", "t5"} else {"self": "attentions"}
    assert list(whole.stacks) == list(stacks)
    for stack, attribute in stacks.items():
        reference = expected[attribute]
        assert whole.stacks[stack].n_layers == len(reference)
        for layer, weights in enumerate(reference):
            for example in range(2):
                # Eager itself fills rows of padding with a uniform row, sdpa with zeros: compare what is not padding.
                row, column = trimmed.stacks[stack].query_spans[example], trimmed.stacks[stack].key_spans[example]
                full = whole.weights(layer, batch=example, stack=stack)
                wanted = weights[example].numpy()[..., : full.shape[-1]]
                np.testing.assert_allclose(full[:, slice(*row)], wanted[:, slice(*row)], atol=1e-5)
                cut = trimmed.weights(layer, batch=example, stack=stack)
                np.testing.assert_allclose(cut, wanted[:, slice(*row), slice(*column)], atol=1e-5)
    assert MECHANISMS.get(name, "") in repr(whole)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "mistral", "t5"])
def test_masks_are_kept_as_rules_and_shared_by_the_layers(name):
    need(name, "sdpa")
    with torch.no_grad(), aw.capture(model := build(name, "sdpa")) as cap:
        model(**make_inputs(name))
    for stack in cap.stacks.values():
        masks = [layer.mask for layer in stack.layers]
        assert all(mask is None or mask.bits is None for mask in masks)
        assert len({id(mask) for mask in masks}) == 1


def test_what_a_sink_takes_can_be_asked_for():
    need("gpt_oss")
    model, inputs = build("gpt_oss", "eager"), make_inputs("gpt_oss", "left")
    with torch.no_grad(), aw.capture(model) as cap:
        expected = model(**inputs, output_attentions=True).attentions
    for layer, weights in enumerate(expected):
        share = cap.sink_share(layer, batch=1)
        assert share.max() > 0.05
        np.testing.assert_allclose(share[:, 4:], 1 - weights[1].sum(-1).numpy()[:, 4:], atol=1e-5)
    assert cap.sink_share().shape == (3, 4, 12)
    np.testing.assert_array_equal(cap.sink_share(1, 2, queries=[3, 7]), cap.sink_share(1, 2)[[3, 7]])
    with torch.no_grad(), aw.capture(plain := build("llama", "sdpa")) as cap:
        plain(**make_inputs("llama"))
    assert not cap.sink_share().any()


ALTERNATING = {
    "gemma3": (
        lambda: tf.Gemma3TextModel(
            tf.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=5, sliding_window_pattern=3)
        ),
        {"causal, window 5": [0, 1], "causal": [2]},
    ),
    "llama4": (
        lambda: tf.Llama4TextModel(
            tf.Llama4TextConfig(
                **GROUPED,
                head_dim=8,
                attention_chunk_size=6,
                no_rope_layer_interval=3,
                num_local_experts=2,
                intermediate_size_mlp=32,
                pad_token_id=0,
            )
        ),
        {"causal in segments of 6": [0, 1], "causal": [2]},
    ),
}


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("name", ALTERNATING)
def test_layers_with_masks_of_several_kinds_share_those_of_their_kind(name, padding):
    pytest.importorskip("transformers.masking_utils", reason="transformers makes these masks otherwise")
    make, kinds = ALTERNATING[name]
    model = make().eval()
    with torch.no_grad(), aw.capture(model) as cap:
        model(**make_inputs(name, padding))
    masks = [layer.mask for layer in cap.stacks["self"].layers]
    suffix = "" if padding == "none" else ", padding"
    for words, layers in kinds.items():
        assert {masks[layer].describe() for layer in layers} == {words + suffix}
        assert len({id(masks[layer]) for layer in layers}) == 1
    assert len({id(mask) for mask in masks}) == len(kinds)
    assert all(mask.nbytes <= 2 * 12 * 10 for mask in masks)


def test_layers_know_where_they_are():
    model = build("albert", "sdpa")
    with torch.no_grad(), aw.capture(model) as cap:
        model(**make_inputs("albert"))
    infos = cap.stacks["self"].infos
    assert {info.path for info in infos} == {"encoder.albert_layer_groups.0.albert_layers.0.attention"}
    assert [info.call for info in infos] == [0, 1, 2]
    # Up to transformers 4.57 sdpa is a class of its own.
    kind = type(model.get_submodule(infos[0].path)).__name__
    assert kind in {"AlbertAttention", "AlbertSdpaAttention"}
    assert {(info.kind, info.implementation) for info in infos} == {(kind, "sdpa")}


def test_towers_are_stacks_of_their_own():
    side = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    config = tf.CLIPConfig(
        text_config={**side, "vocab_size": 60, "max_position_embeddings": 64, "eos_token_id": 2},
        vision_config={**side, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    model = tf.CLIPModel(config).eval()
    inputs = {"input_ids": torch.randint(5, 60, (2, 12)), "pixel_values": torch.randn(2, 3, 32, 32)}
    cap = aw.AttentionModel(model).capture(inputs)
    expected = eager_twin(model)(**inputs, output_attentions=True)
    assert {name: stack.n_layers for name, stack in cap.stacks.items()} == {"vision": 3, "text": 2}
    for name, output in (("vision", expected.vision_model_output), ("text", expected.text_model_output)):
        for layer, weights in enumerate(output.attentions):
            np.testing.assert_allclose(cap.weights(layer, stack=name), weights[0].detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(name, dtype):
    if name == "gpt2" and dtype == torch.float64 and find_spec("transformers.masking_utils") is None:
        pytest.skip(f"transformers {tf.__version__} cannot make the mask of GPT-2 in float64")
    model, inputs = build(name, "sdpa").to(dtype), make_inputs(name)
    with torch.no_grad():
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
        expected = eager_twin(model)(**inputs, output_attentions=True).attentions
    assert torch.equal(plain[0], seen[0])
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float64: 1e-5}[dtype]
    np.testing.assert_allclose(cap.weights(0), expected[0][0].float().numpy(), atol=tolerance)


def test_with_gradients_the_gradients_are_the_same():
    model, inputs = build("llama", "sdpa"), make_inputs("llama")
    plain = gradients(model, inputs)
    with aw.capture(model) as cap:
        seen = gradients(model, inputs)
    assert all(torch.equal(one, other) for one, other in zip(plain, seen, strict=True))
    assert not cap.stacks["self"].layers[0].q.requires_grad


def test_under_autocast_what_the_kernel_saw_is_kept():
    model, inputs = build("bert", "sdpa"), make_inputs("bert")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
    assert torch.equal(plain[0], seen[0])
    assert cap.stacks["self"].layers[0].q.dtype == torch.bfloat16


def test_training_mode_keeps_the_weights_before_dropout():
    model = build("bert", "sdpa").train()
    inputs = make_inputs("bert", "none")
    torch.manual_seed(3)
    plain = model(**inputs)
    torch.manual_seed(3)
    with aw.capture(model) as cap:
        seen = model(**inputs)
    assert torch.equal(plain[0], seen[0])
    assert model.training
    np.testing.assert_allclose(cap.weights().sum(-1), 1, atol=1e-5)
