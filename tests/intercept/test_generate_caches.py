"""Caches that change what they hold, attention known by its weights alone, and what generate() would compile."""

from __future__ import annotations

import generation as small
import numpy as np
import pytest
import torch
import transformers as tf
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw

GREEDY = {"do_sample": False, "max_new_tokens": 9, "min_new_tokens": 9}
OLD = not hasattr(tf.cache_utils, "Fp8QuantizedLayer")


def steps(model, inputs, options):
    """Rows of (L, H, T, T) as the model itself returned them, pass by pass, and what it generated."""
    found = model.generate(**inputs, **options, output_attentions=True, return_dict_in_generate=True)
    total = found.sequences.shape[1] - 1
    rows = []
    for attentions in found.attentions:
        layers = torch.cat(attentions)  # (L, H, n, m)
        rows.append(torch.nn.functional.pad(layers, (0, total - layers.shape[-1])))
    return torch.cat(rows, dim=2).float().numpy(), found.sequences


@pytest.mark.skipif(OLD, reason="this version of transformers has no quantized cache that needs no other package")
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_quantized_cache_whose_keys_are_others_than_it_was_given(name, implementation):
    inputs = small.prompts((7,))
    options = {**GREEDY, "cache_implementation": "quantized", "cache_config": {"backend": "fp8"}}
    expected, sequences = steps(small.build(name, "eager"), inputs, options)
    model = small.build(name, implementation)
    with aw.capture(model) as cap:
        found = model.generate(**inputs, **options)
    assert torch.equal(found, sequences)
    np.testing.assert_allclose(cap.weights(), expected, atol=1e-5)
    exact = small.eager_weights(model, found[0, :-1])["self"]
    assert np.abs(exact - expected).max() > 1e-3, "rounding to 8 bits is seen in the weights"
    assert cap.verify().ok
    layer = cap.stacks["self"].layers[0]
    assert "keys in 2 versions" in layer.detail
    text = (
        "in layers 0-2 the keys of earlier tokens changed between passes, as in a quantized cache: each row is computed"
    )
    assert f"{text} from the keys that it saw" in cap.notes
    np.testing.assert_allclose(cap.weights(1, 2, queries=[3, 12, 8]), cap.weights(1, 2)[[3, 12, 8]], rtol=1e-6)
    np.testing.assert_allclose(cap.scores(0, 0)[9:, :5], cap.scores(0, 0, queries=(9, 15), keys=(0, 5)), atol=1e-6)
    assert not cap.sink_share().any()
    assert cap.tile(0, 0, height=4, width=4).values.shape == (4, 4)


@pytest.mark.skipif(OLD, reason="this version of transformers has no quantized cache that needs no other package")
def test_beams_over_a_quantized_cache():
    model, inputs = small.build("llama"), small.prompts((7, 4))
    options = {**GREEDY, "num_beams": 3, "cache_implementation": "quantized", "cache_config": {"backend": "fp8"}}
    plain = model.generate(**inputs, **options)
    cap = aw.AttentionModel(model).generate(inputs, **options)
    assert cap.generation.ids[0] == tuple(plain[0].tolist())
    assert cap.verify().ok
    small.assert_equal_to_one_pass(cap, model, atol=0.05)  # which fp8 is away from exact keys


class Changing(tf.DynamicCache):
    """Each key that it returns is another than it was given."""

    def update(self, keys, values, layer_idx, *args, **kwargs):
        keys, values = super().update(keys, values, layer_idx, *args, **kwargs)
        noise = torch.randn(keys.shape, generator=torch.Generator().manual_seed(keys.shape[2]))
        return keys * (1 + noise / 10), values


@pytest.mark.skipif(OLD, reason="caches of older versions of transformers are made in other ways")
def test_keys_that_change_with_nearly_every_pass_are_refused():
    model, inputs = small.build("llama", max_position_embeddings=200), small.prompts((7,))
    options = {**inputs, "do_sample": False, "min_new_tokens": 8, "max_new_tokens": 8}
    with aw.capture(model) as cap:
        model.generate(**options, past_key_values=Changing(config=model.config))
    assert "keys in 8 versions" in cap.stacks["self"].layers[0].detail
    assert cap.verify().ok
    options |= {"min_new_tokens": 70, "max_new_tokens": 70}
    text = "the keys of earlier tokens change with nearly every call"
    with pytest.raises(aw.CaptureError, match=text), aw.capture(model):
        model.generate(**options, past_key_values=Changing(config=model.config))


def squared_attention(module, query, key, value, attention_mask, scaling=1.0, **_):
    """Attention that no factors explain; it returns its weights."""
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
    scores = (query @ key.transpose(-1, -2)).square() * scaling
    scores = scores + attention_mask[..., : key.shape[2]]
    weights = torch.softmax(scores, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@pytest.fixture
def squared():
    masks = tf.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    ALL_ATTENTION_FUNCTIONS.register("squared", squared_attention)
    masks.register("squared", masks["eager"])
    yield "squared"
    del type(ALL_ATTENTION_FUNCTIONS)._global_mapping["squared"]
    del type(masks)._global_mapping["squared"]


@pytest.mark.skipif(not hasattr(tf, "masking_utils"), reason="needs masks of one's own, which came with 4.53")
@pytest.mark.parametrize("name", ["llama", "mistral"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}])
def test_weights_alone_are_joined_too(squared, name, options):
    inputs = small.prompts((7,))
    options = {**GREEDY, **options}
    model = small.build(name, squared)
    with aw.capture(model) as cap:
        found = model.generate(**inputs, **options)
    with aw.capture(model) as whole, torch.no_grad():
        model(found[:, :-1], use_cache=False)
    np.testing.assert_allclose(cap.weights(), whole.weights(), atol=1e-5)
    layer = cap.stacks["self"].layers[0]
    assert layer.detail.startswith("weights, float32, causal")
    assert not cap.allowed(0, 0, queries=[0], keys=[1]).any()
    with pytest.raises(ValueError, match="scores need q and k"):
        cap.scores(0, 0)


@pytest.mark.skipif(
    not hasattr(tf.GenerationMixin, "_valid_auto_compile_criteria"),
    reason="this version of transformers compiles nothing",
)
def test_a_model_that_generate_would_compile_runs_as_it_is(monkeypatch):
    model, inputs = small.build("llama"), small.prompts((7,))
    options = {**GREEDY, "cache_implementation": "static"}
    plain = model.generate(**inputs, **options)
    compiled = tf.CompileConfig()
    compiled._compile_all_devices = True
    monkeypatch.setattr(model, "get_compiled_call", lambda _: pytest.fail("it was compiled"))
    with aw.capture(model) as cap:
        found = model.generate(**inputs, **options, compile_config=compiled)
    assert torch.equal(plain, found)
    assert any(note.startswith("generate() would have compiled the model for this cache") for note in cap.notes)
    other = small.build("gpt2")
    with aw.capture(other):  # what is not watched is compiled as ever
        other(inputs["input_ids"])
        with pytest.raises(pytest.fail.Exception):
            model.generate(**inputs, **options, compile_config=compiled)


def grouped(implementation, heads=(6, 2)):
    torch.manual_seed(0)
    changes = {"num_attention_heads": heads[0], "num_key_value_heads": heads[1], "hidden_size": 8 * heads[0]}
    config = tf.LlamaConfig(**{**small.PLAIN, **changes}, attn_implementation=implementation)
    return tf.LlamaForCausalLM(config).eval()


def test_values_repeated_for_groups_of_heads_in_one_pass_alone():
    """As where a mask of another kind cannot be explained by the arguments of eager attention, and it is followed."""
    model, ids = grouped("eager"), torch.arange(5, 12)[None]
    mask = torch.ones(1, 1, 3, 10, dtype=torch.bool)
    mask[..., 8:] = torch.eye(3, 2).bool()
    with torch.no_grad(), aw.capture(model) as cap:
        cache = model(ids, use_cache=True).past_key_values
        ran = model(ids[:, :3], past_key_values=cache, attention_mask=mask, output_attentions=True).attentions
    for layer, weights in enumerate(ran):
        np.testing.assert_allclose(cap.weights(layer)[:, 7:], weights[0], atol=1e-5)
    assert cap.verify().ok


@pytest.mark.parametrize("how", ["select", "reorder"])
def test_examples_that_no_later_pass_continues_are_told(how):
    model, ids = grouped("sdpa"), torch.randint(3, 48, (3, 7))
    with torch.no_grad(), aw.capture(model) as cap:
        cache = model(ids, use_cache=True).past_key_values
        kept = [2] if how == "select" else [2, 2, 2]
        (cache.batch_select_indices if how == "select" else cache.reorder_cache)(torch.tensor(kept))
        model(ids[: len(kept), :2], past_key_values=cache)
    with torch.no_grad(), aw.capture(model) as alone:
        model(torch.cat([ids[2:], ids[:1, :2]], 1))
    np.testing.assert_allclose(cap.weights(batch=0), alone.weights(batch=0), atol=1e-5)
    text = f"of the 3 examples that ran at first, those that the last pass continues are shown: {kept}"
    assert text in cap.notes
