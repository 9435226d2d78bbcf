"""Outputs of transformers under output_attentions=True, against our own capture of the same run and the outputs."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
import transformers as tf

import attnwidget as aw

EAGER = {"attn_implementation": "eager"}
NAMES = [f"t{number}" for number in range(40)]


def same(cap, own, stack, *, examples=1, atol=1e-5):
    shown = cap.stacks[stack]
    assert shown.n_layers == own.stacks[stack].n_layers
    for example in range(examples):
        wanted = own.weights(batch=example, stack=stack)
        np.testing.assert_allclose(cap.weights(batch=example, stack=stack), wanted, atol=atol)


def generate(model, ids, **options):
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, **options}
    return model.generate(ids, return_dict_in_generate=True, output_attentions=True, **options)


@pytest.mark.parametrize("kind", ["output", "dict", "tuple", "attentions", "numpy", "bfloat16"])
def test_a_decoder(kind):
    model, ids = tiny.gpt2(**EAGER), tiny.ids(2, 7)
    with torch.no_grad():
        output = model(ids, output_attentions=True, use_cache=False)
    given = {
        "output": output,
        "dict": dict(output),
        "tuple": output.to_tuple(),
        "attentions": output.attentions,
        "numpy": {"attentions": [layer.numpy() for layer in output.attentions]},
        "bfloat16": {"attentions": [layer.bfloat16() for layer in output.attentions]},
    }[kind]
    cap = aw.from_output(given, [NAMES[:7], NAMES[7:14]], model="small")
    assert (cap.model, list(cap.stacks), cap.tokens) == ("small", ["self"], NAMES[:7])
    same(cap, aw.AttentionModel(model).capture(ids), "self", examples=2, atol=4e-3 if kind == "bfloat16" else 1e-5)
    assert not cap.allowed(0, 0)[0, 1]


def test_encoder_and_decoder_of_unequal_depth_have_stacks():
    model, ids = tiny.bart(**EAGER), tiny.ids(2, 7)
    inputs = {"input_ids": ids, "decoder_input_ids": tiny.ids(2, 4, seed=1)}
    with torch.no_grad():
        output = model(**inputs, output_attentions=True)
    cap = aw.from_output(output, NAMES[:7], decoder_tokens=NAMES[10:14])
    assert set(cap.stacks) == {"encoder", "decoder", "cross"}
    own = aw.AttentionModel(model).capture(inputs)
    for stack in cap.stacks:
        same(cap, own, stack, examples=2)
    cross = cap.stacks["cross"]
    assert (cross.query_tokens[0].pieces, cross.key_tokens[1].pieces) == (tuple(NAMES[10:14]), tuple(NAMES[:7]))
    assert (cap.stacks["encoder"].n_layers, cap.stacks["decoder"].n_layers) == (4, 2)


@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"cache_implementation": "static"}], ids=str)
def test_generate_is_one_map(options):
    model, ids = tiny.gpt2(**EAGER), tiny.ids(2, 6)
    output = generate(model, ids, **options)
    sequences = output.sequences
    cap = aw.from_output(output, NAMES[: sequences.shape[1]])  # names of all of it, the last token included
    own = aw.AttentionModel(model).capture(sequences[:, :-1])
    same(cap, own, "self", examples=2)
    assert cap.tokens == NAMES[: sequences.shape[1] - 1]
    assert cap.generation.prompt_lengths == (6, 6)
    assert cap.generation.ids == tuple(map(tuple, sequences.tolist()))


def test_generate_over_a_sliding_window():
    torch.manual_seed(0)
    config = tf.MistralConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=50, sliding_window=4, initializer_range=0.3,
    )  # fmt: skip
    model = tf.MistralForCausalLM._from_config(config, **EAGER).eval()
    ids = tiny.ids(1, 6)
    output = generate(model, ids)
    assert output.attentions[-1][0].shape[-1] == 4, "the cache drops keys"
    same(aw.from_output(output), aw.AttentionModel(model).capture(output.sequences[:, :-1]), "self")


@pytest.mark.parametrize("two_sided", [False, True])
def test_beams_are_followed(two_sided):
    model, ids = (tiny.bart if two_sided else tiny.gpt2)(**EAGER), tiny.ids(2, 5)
    output = generate(model, ids, num_beams=4, num_return_sequences=2, max_new_tokens=9)
    assert len(output.beam_indices.unique(dim=1)[0]) > 1, "beams change places"
    cap = aw.from_output(output)
    lengths = [len(names) for names in cap.stacks["decoder" if two_sided else "self"].query_tokens]
    assert len(lengths) == 4
    for number, sequence in enumerate(output.sequences):
        run = sequence[: lengths[number]][None]
        if two_sided:
            inputs = {"input_ids": ids[number // 2 : number // 2 + 1], "decoder_input_ids": run}
            own = aw.AttentionModel(model).capture(inputs)
        else:
            own = aw.AttentionModel(model).capture(run)
        for stack in own.stacks:
            np.testing.assert_allclose(cap.weights(batch=number, stack=stack), own.weights(stack=stack), atol=1e-5)


def test_beams_that_end_early_are_cut_there():
    steps = [
        (torch.full((3, 1, 2, 2), 0.5),),
        (torch.arange(9.0).reshape(3, 1, 1, 3).softmax(-1),),
        (torch.eye(4)[:3].reshape(3, 1, 1, 4),),
    ]
    output = {
        "sequences": torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 2, 0]]),
        "beam_indices": torch.tensor([[0, 2, 1], [1, 0, -1]]),
        "attentions": tuple(steps),
    }
    cap = aw.from_output(output, NAMES[:5])
    np.testing.assert_array_equal(cap.weights(0, 0)[3], [0, 1, 0, 0])
    assert cap.weights(0, 0, batch=1).shape == (3, 3)
    assert [len(ids) for ids in cap.generation.ids] == [5, 4]


def test_beams_without_indices_are_refused():
    output = dict(generate(tiny.gpt2(**EAGER), tiny.ids(1, 5), num_beams=3))
    del output["beam_indices"]
    with pytest.raises(ValueError, match=r"ran 3 rows and 1 sequences were returned, and there are no beam_indices"):
        aw.from_output(output)


def test_encoder_decoder_generation_names_both_sides():
    model, ids = tiny.bart(**EAGER), tiny.ids(1, 6)
    output = generate(model, ids)
    length = output.sequences.shape[1]
    cap = aw.from_output(output, NAMES[:6], decoder_tokens=NAMES[6 : 6 + length])
    assert len(cap.stacks["decoder"].query_tokens[0]) == length - 1
    own = aw.AttentionModel(model).capture({"input_ids": ids, "decoder_input_ids": output.sequences[:, :-1]})
    for stack in own.stacks:
        same(cap, own, stack)


def test_generation_that_went_on_from_a_cache_is_refused():
    model, ids = tiny.gpt2(**EAGER), tiny.ids(1, 6)
    past = model(ids[:, :4], use_cache=True).past_key_values
    output = generate(model, ids, past_key_values=past)
    with pytest.raises(ValueError, match="looks at 6 keys where 2 tokens were run: it went on from an earlier cache"):
        aw.from_output(output)


def test_vision_and_text_each_have_a_stack():
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = tf.CLIPConfig(
        text_config={**small, "vocab_size": 50, "eos_token_id": 49, "bos_token_id": 48, "pad_token_id": 0},
        vision_config={**small, "num_hidden_layers": 3, "image_size": 32, "patch_size": 16}, projection_dim=8,
    )  # fmt: skip
    model = tf.CLIPModel._from_config(config, **EAGER).eval()
    with torch.no_grad():
        output = model(input_ids=tiny.ids(1, 6), pixel_values=torch.randn(1, 3, 32, 32), output_attentions=True)
    cap = aw.from_output(output, NAMES[:6])
    assert {name: (part.n_layers, part.size_text()) for name, part in cap.stacks.items()} == {
        "text": (2, "6 tokens"),
        "vision": (3, "5 tokens"),
    }
    assert cap.stacks["text"].query_tokens[0].pieces == tuple(NAMES[:6])
    np.testing.assert_array_equal(
        cap.weights(2, stack="vision"), output.vision_model_output.attentions[2][0].detach().numpy()
    )


def test_layers_of_other_shapes_and_missing_ones_keep_their_numbers():
    small, large = torch.full((1, 2, 3, 3), 1 / 3), torch.full((1, 2, 6, 6), 1 / 6)
    cap = aw.from_output({"attentions": (large, None, large, small)}, NAMES[:6])
    assert {name: [info.number for info in stack.infos] for name, stack in cap.stacks.items()} == {
        "self": [0, 2],
        "self-2": [3],
    }
    assert (cap.tokens, cap.stacks["self-2"].query_tokens[0].pieces) == (NAMES[:6], ("0", "1", "2"))


def test_what_is_no_queries_by_keys_is_refused_by_name():
    torch.manual_seed(0)
    config = tf.LongformerConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, attention_window=4,
        vocab_size=50,
    )  # fmt: skip
    output = tf.LongformerModel(config).eval()(tiny.ids(1, 8), output_attentions=True)
    with pytest.raises(aw.CaptureError, match="LongformerBaseModelOutputWithPooling: Longformer returns a window"):
        aw.from_output(output)
    with pytest.raises(aw.CaptureError, match=r"output \(dict\) holds global_attentions"):
        aw.from_output({**output, "global_attentions": output.attentions})


def test_clear_errors():
    model, ids = tiny.gpt2(), tiny.ids(1, 5)
    for asked in (True, False):
        with pytest.raises(aw.CaptureError, match=r"holds no attentions, only logits: under sdpa .*AttentionModel"):
            aw.from_output(model(ids, use_cache=False, output_attentions=asked))
    with pytest.raises(TypeError, match="output is int; expected what a model of transformers returns"):
        aw.from_output(3)
    weights = torch.full((1, 2, 3, 3), 1 / 3)
    with pytest.raises(ValueError, match=r"a tuple with weights at \[0, 1\]"):
        aw.from_output(((weights,), (weights,), torch.zeros(2)))
    with pytest.raises(ValueError, match=r"decoder_tokens were given, and .* has no encoder and decoder, only self"):
        aw.from_output({"attentions": (weights,)}, decoder_tokens=["a"])
    with pytest.raises(ValueError, match="tokens of example 0 hold 2 names and the weights have 3 queries"):
        aw.from_output({"attentions": (weights,)}, ["a", "b"])
    with pytest.raises(ValueError, match=r"2 of 2 layers are None .the first is layer 0."):
        aw.from_output({"attentions": [None, None]})
