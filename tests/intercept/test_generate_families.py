"""generate() of models that write attention by hand, look at pictures or listen; captures that are kept elsewhere."""

from __future__ import annotations

import copy

import generation as small
import numpy as np
import pytest
import torch
import transformers as tf

import attnwidget as aw

GREEDY = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8}
BEAMS = {**GREEDY, "num_beams": 3}
IDS = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DEEP = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, **IDS}
BY_HAND = {
    "bloom": lambda: tf.BloomConfig(hidden_size=32, n_layer=3, n_head=4, **IDS),
    "mpt": lambda: tf.MptConfig(d_model=32, n_layers=3, n_heads=4, max_seq_len=64, **IDS),
    "falcon": lambda: tf.FalconConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, alibi=True, **IDS
    ),
    "openai": lambda: tf.OpenAIGPTConfig(**DEEP),
    "ctrl": lambda: tf.CTRLConfig(dff=32, **DEEP),
    "codegen": lambda: tf.CodeGenConfig(rotary_dim=4, **DEEP),
    "gpt_neo": lambda: tf.GPTNeoConfig(
        hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=4,
        max_position_embeddings=64, **IDS,
    ),
}  # fmt: skip


def build(make):
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(make(), attn_implementation="eager").eval()
    for parameter in model.parameters():
        parameter.data.mul_(3) if parameter.ndim > 1 else parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize(
    "options", [GREEDY, BEAMS, {**GREEDY, "use_cache": False}], ids=["greedy", "beams", "no cache"]
)
def test_attention_written_by_hand(name, options):
    # Older versions of transformers give some of them no positions that padding would not move.
    model, inputs = build(BY_HAND[name]), small.prompts((7, 4) if tf.__version__ >= "5" else (7,))
    plain = model.generate(**inputs, **options)
    with aw.capture(model) as around:
        seen = model.generate(**inputs, **options)
    assert torch.equal(plain, seen)
    cap = aw.AttentionModel(model).generate(inputs, **options)
    assert cap.verify().ok
    assert around.verify().ok
    small.assert_equal_to_one_pass(cap, model)


@pytest.mark.parametrize("name", ["bloom", "mpt"])
def test_a_static_cache_and_biases_of_the_same_size_in_every_pass(name):
    model, inputs = build(BY_HAND[name]), small.prompts((7, 4))
    small.generated(model, inputs, {**GREEDY, "cache_implementation": "static"})
    cap = aw.AttentionModel(model).generate(inputs, **GREEDY, cache_implementation="static")
    small.assert_equal_to_one_pass(cap, model)
    assert len({id(layer.mask) for layer in cap.stacks["self"].layers}) == 1


def test_keys_that_are_taken_back_after_they_were_looked_at_are_refused():
    """XLNet looks both ways, and at a token that stands for the one to come."""
    model = build(lambda: tf.XLNetConfig(d_model=32, n_layer=2, n_head=4, d_inner=32, **IDS))
    with pytest.raises(aw.CaptureError, match="it takes back keys that queries before them have looked at"):
        aw.AttentionModel(model).generate(small.prompts((7,)), **GREEDY)


@pytest.fixture(scope="module")
def llava():
    if tf.__version__ < "5":
        pytest.skip("older versions of transformers mix pictures and text in other lengths than their ids have")
    tower = tf.CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=16, patch_size=8
    )
    config = tf.LlavaConfig(
        vision_config=tower, text_config=tf.LlamaConfig(**small.GROUPED), image_token_index=50,
        vision_feature_layer=-1, vision_feature_select_strategy="default",
    )  # fmt: skip
    torch.manual_seed(0)
    model = tf.LlavaForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(2) if parameter.ndim > 1 else None
    return model


@pytest.mark.parametrize(
    "options",
    [
        GREEDY,
        BEAMS,
        {**GREEDY, "do_sample": True, "num_return_sequences": 2},
        {**BEAMS, "cache_implementation": "static"},
    ],
)
def test_a_picture_is_looked_at_once(llava, options):
    torch.manual_seed(1)
    pictures, ids = (
        torch.randn(2, 3, 16, 16),
        torch.tensor([[1, 50, 50, 50, 50, 7, 8, 9], [1, 50, 50, 50, 50, 17, 18, 19]]),
    )
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pictures}
    cap = aw.AttentionModel(llava).generate(inputs, **options, suppress_tokens=[50])
    each = options.get("num_return_sequences", 1)
    assert {name: (stack.n_layers, stack.n_examples) for name, stack in cap.stacks.items()} == {
        "vision": (2, 2 * each),
        "text": (3, 2 * each),
    }
    eager = type(llava)._from_config(copy.deepcopy(llava.config), attn_implementation="eager").eval()
    eager.load_state_dict(llava.state_dict())
    for example, found in enumerate(cap.generation.ids):
        with torch.no_grad():
            wanted = eager(
                input_ids=torch.tensor(found)[None, :-1],
                pixel_values=pictures[example // each][None],
                output_attentions=True,
            )
        np.testing.assert_allclose(cap.weights(batch=example, stack="text"), torch.cat(wanted.attentions), atol=1e-5)
    assert cap.verify().ok
    assert cap.generation.prompt_lengths == (8,) * (2 * each)


@pytest.mark.parametrize("options", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_sound(options):
    torch.manual_seed(0)
    model, sound = small.whisper(), torch.randn(2, 8, 40)
    cap = aw.AttentionModel(model).generate({"input_features": sound}, **options)
    assert {name: (stack.n_layers, stack.size_text()) for name, stack in cap.stacks.items()} == {
        "encoder": (2, "2 examples of 20 tokens"),
        "decoder": (2, "2 examples of 8 tokens"),
        "cross": (2, "2 examples of 8 x 20 tokens"),
    }
    assert cap.verify().ok
    eager = type(model)._from_config(copy.deepcopy(model.config), attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    for example, ids in enumerate(cap.generation.ids):
        with torch.no_grad():
            wanted = eager(sound[[example]], decoder_input_ids=torch.tensor(ids)[None, :-1], output_attentions=True)
        for stack, weights in (("decoder", wanted.decoder_attentions), ("cross", wanted.cross_attentions)):
            np.testing.assert_allclose(cap.weights(batch=example, stack=stack), torch.cat(weights), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {}),
        ("llama", {"num_attention_heads": 6, "hidden_size": 48}),  # no power of two: transformers repeats the keys
        ("mistral", {}),
        ("gemma2", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*flex_attention.*:UserWarning")
@pytest.mark.skipif(
    not hasattr(torch.compiler, "set_stance") or torch.__version__ < "2.9" or not hasattr(tf, "masking_utils"),
    reason="older torch cannot be told to run flex attention uncompiled, and older transformers masks it otherwise",
)
def test_flex_attention(name, changes):
    torch._dynamo.reset()
    model, inputs = small.build(name, "flex_attention", **changes), small.prompts((7, 4))
    with torch.compiler.set_stance("force_eager"):
        cap = aw.AttentionModel(model).generate(inputs, **GREEDY)
    small.assert_equal_to_one_pass(cap, model)
    assert cap.stacks["self"].infos[0].implementation == "flex"


@pytest.mark.parametrize("store", ["cpu", "disk"])
@pytest.mark.parametrize("options", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_what_is_joined_goes_where_a_capture_keeps_things(store, options):
    model, inputs = small.build("mistral"), small.prompts((7, 4))
    cap = aw.AttentionModel(model, store=store).generate(inputs, **options)
    small.assert_equal_to_one_pass(cap, model)
    assert cap.verify().ok
    for layer in cap.stacks["self"].layers:
        factors = layer.q.nbytes + layer.k.nbytes + layer.known_lse.nbytes
        assert layer.held["memory" if store == "cpu" else "disk"] >= factors


@pytest.mark.parametrize("stage", [0, 1])
def test_windows_of_examples_that_are_repeated_stay_windows(stage):
    """As for each of several sequences that are sampled from one picture."""
    from attnwidget.intercept.passes.stitching import repeated

    torch.manual_seed(0)
    config = tf.SwinConfig(image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4)
    model = tf.SwinModel(config).eval()
    with torch.no_grad(), aw.capture(model) as cap:
        model(torch.randn(3, 3, 32, 32))
    examples = np.array([2, 0, 2, 1])
    for layer in list(cap.stacks.values())[stage].layers:
        twice = repeated(layer, examples)
        assert type(twice) is type(layer)
        every = slice(0, layer.n_heads), slice(0, layer.n_queries), slice(0, layer.n_keys)
        for number, example in enumerate(examples):
            np.testing.assert_array_equal(twice.weights(number, *every), layer.weights(example, *every))
            np.testing.assert_array_equal(twice.allowed(number, *every), layer.allowed(example, *every))
        errors, whole = twice.probe_errors(), layer.probe_errors()
        count = len(whole) // 3
        np.testing.assert_array_equal(errors, whole.reshape(3, count, *whole.shape[1:])[examples].reshape(errors.shape))


@pytest.mark.filterwarnings("ignore::attnwidget.AttentionWarning")
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_grouped_heads_that_overflow(implementation):
    model, inputs = small.build("llama", implementation), small.prompts((7, 4))
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] = np.inf
    if implementation == "sdpa":
        cap = aw.AttentionModel(model).generate(inputs, **GREEDY)
        assert np.isnan(cap.weights(layer=1, batch=0)).any()
        return
    with pytest.raises(aw.CaptureError, match="it came with numbers that are not finite: activations overflowed"):
        aw.AttentionModel(model).generate(inputs, **GREEDY)
