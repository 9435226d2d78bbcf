"""What generate() ran, joined, against one eager forward pass over the final sequence; outputs as without a capture."""

from __future__ import annotations

import generation as small
import numpy as np
import pytest
import torch
import transformers as tf

import attnwidget as aw

GREEDY = {"do_sample": False, "max_new_tokens": 9, "min_new_tokens": 5}
SAMPLED = {**GREEDY, "do_sample": True}
BEAMS = {**GREEDY, "num_beams": 3}
CAUSAL = [name for name in small.CONFIGS if name not in small.TWO_SIDED]
KEPT = {
    "gpt2": "causal",
    "llama": "causal",
    "mistral": "causal, window 4",
    "gemma2": "causal, window 4, soft cap 5",
    "gpt_oss": "causal, window 4, sinks",
    "deepseek_v3": "causal",
    "llama4": "causal in segments of 4",
    "qwen3_next": "causal",
    "jamba": "causal",
}
pytestmark = pytest.mark.filterwarnings("ignore:Passing `generation_config` together:UserWarning")


def run(model, inputs, options):
    torch.manual_seed(7)
    return model.generate(**inputs, **options)


def captured(model, inputs, options):
    """The capture of model.generate, after checks that a capture around a call returns what the call returns."""
    plain = small.generated(model, inputs, options)
    with aw.capture(model) as around:
        seen = run(model, inputs, options)
    assert torch.equal(plain, seen)
    torch.manual_seed(7)
    cap = aw.AttentionModel(model).generate(inputs, **options)
    ids = [tuple(row.tolist()) for row in plain]
    assert all(row[len(row) - len(own) :][: len(own)] or own for row, own in zip(ids, cap.generation.ids, strict=True))
    assert cap.verify().ok
    assert around.verify().ok
    assert around.stacks.keys() == cap.stacks.keys()
    return cap


def without_padding(inputs):
    return [row[row != 0].tolist() for row in inputs["input_ids"]]


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("options", [GREEDY, SAMPLED, BEAMS], ids=["greedy", "sampled", "beams"])
def test_a_batch_with_left_padding(name, options):
    model, inputs = small.build(name), small.prompts((7, 4))
    cap = captured(model, inputs, options)
    small.assert_equal_to_one_pass(cap, model)
    assert cap.generation.prompt_lengths == (7, 4)
    for ids, prompt in zip(cap.generation.ids, without_padding(inputs), strict=True):
        assert list(ids[: len(prompt)]) == prompt


@pytest.mark.parametrize("name", CAUSAL)
def test_masks_stay_rules_that_layers_share(name):
    model, inputs = small.build(name), small.prompts((7,))
    cap = aw.AttentionModel(model).generate(inputs, **GREEDY)
    layers = cap.stacks["self"].layers
    assert KEPT[name] in layers[0].detail
    details = {layer.detail for layer in layers}
    assert len({id(layer.mask) for layer in layers}) == len(details)
    assert layers[0].q.shape[2] == layers[0].k.shape[2] == len(cap.tokens)
    # Linear memory, and nothing left of the steps: factors, one number per value and row, and what is checked.
    assert layers[0].nbytes < 1.5 * (layers[0].q.nbytes + layers[0].k.nbytes) + 8000


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("options", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_a_static_cache(name, options):
    model, inputs = small.build(name), small.prompts((7, 4))
    cap = captured(model, inputs, {**options, "cache_implementation": "static"})
    small.assert_equal_to_one_pass(cap, model)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("static", [False, True])
def test_a_prompt_in_chunks(name, static):
    # Older versions of transformers lose the positions of padded prompts between chunks.
    model, inputs = small.build(name), small.prompts((11, 8) if tf.__version__ >= "5" else (11,))
    cache = {"cache_implementation": "static"} if static else {}
    cap = captured(model, inputs, {**GREEDY, "prefill_chunk_size": 3, **cache})
    small.assert_equal_to_one_pass(cap, model)


@pytest.mark.parametrize("name", ["gpt2", "mistral", "gemma2", "t5", "bart"])
@pytest.mark.parametrize("options", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_without_a_cache_every_pass_runs_all_of_it_again(name, options):
    model, inputs = small.build(name), small.prompts((7, 4), right=name in small.TWO_SIDED)
    cap = captured(model, inputs, {**options, "use_cache": False})
    small.assert_equal_to_one_pass(cap, model, without_padding(inputs) if name in small.TWO_SIDED else None)
    assert "each pass ran earlier tokens again, as without a cache: their rows are those of the first pass" in cap.notes


@pytest.mark.parametrize("name", sorted(small.TWO_SIDED))
@pytest.mark.parametrize("options", [GREEDY, SAMPLED, BEAMS], ids=["greedy", "sampled", "beams"])
@pytest.mark.parametrize("cache", [None, "static"])
def test_an_encoder_and_a_decoder(name, options, cache):
    model, inputs = small.build(name), small.prompts((7, 4), right=True)
    cap = captured(model, inputs, options if cache is None else {**options, "cache_implementation": cache})
    small.assert_equal_to_one_pass(cap, model, without_padding(inputs))
    assert [len(tokens) for tokens in cap.stacks["cross"].key_tokens] == [7, 4]
    assert cap.generation.prompt_lengths == (1, 1)
    assert len({id(layer.mask) for layer in cap.stacks["decoder"].layers}) == 1


@pytest.mark.parametrize("name", ["llama", "mistral", *sorted(small.TWO_SIDED)])
@pytest.mark.parametrize(
    "options",
    [{**SAMPLED, "num_return_sequences": 3}, {**BEAMS, "num_return_sequences": 2}, {**BEAMS, "do_sample": True}],
    ids=["sampled", "beams", "sampled beams"],
)
def test_several_sequences_for_each_prompt(name, options):
    two_sided = name in small.TWO_SIDED
    model, inputs = small.build(name), small.prompts((7, 4), right=two_sided)
    cap = captured(model, inputs, options)
    times = options.get("num_return_sequences", 1)
    assert cap.stacks["decoder" if two_sided else "self"].n_examples == 2 * times
    encoders = [prompt for prompt in without_padding(inputs) for _ in range(times)] if two_sided else None
    small.assert_equal_to_one_pass(cap, model, encoders)


def test_beams_of_two_prompts_are_told_apart_where_their_decoders_ran_the_same_tokens():
    # One layer, whose keys know the decoder's tokens alone, and those are the same for both prompts.
    model, inputs = small.build("bart", decoder_layers=1), small.prompts((7, 4), right=True)
    bias = torch.zeros(60)
    bias[[20, 21, 22]] = torch.tensor([500.0, 499.9, 499.8])
    model.final_logits_bias = bias[None]
    cap = captured(model, inputs, {**BEAMS, "num_beams": 4, "num_return_sequences": 4})
    assert set(cap.generation.ids[:4]) & set(cap.generation.ids[4:])
    small.assert_equal_to_one_pass(cap, model, [prompt for prompt in without_padding(inputs) for _ in range(4)])


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "t5", "bart"])
@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_a_single_new_token(name, cache, options):
    two_sided = name in small.TWO_SIDED
    model, inputs = small.build(name), small.prompts((7, 4), right=two_sided)
    options = {**options, "do_sample": False, "max_new_tokens": 1}
    cap = captured(model, inputs, options if cache is None else {**options, "cache_implementation": cache})
    small.assert_equal_to_one_pass(cap, model, without_padding(inputs) if two_sided else None)
    assert [len(ids) for ids in cap.generation.ids] == ([2, 2] if two_sided else [8, 5])


def test_sequences_that_end_early_are_cut_off_behind_their_end():
    model, inputs = small.build("llama"), small.prompts((7, 4))
    free = run(model, inputs, GREEDY)
    model.generation_config.eos_token_id = int(free[1, 9])
    cap = captured(model, inputs, {**GREEDY, "min_new_tokens": 0})
    lengths = [len(ids) for ids in cap.generation.ids]
    assert lengths[1] < lengths[0] - 3
    small.assert_equal_to_one_pass(cap, model)
    with aw.capture(model) as around:
        run(model, inputs, {**GREEDY, "min_new_tokens": 0})
    assert [len(tokens) for tokens in around.stacks["self"].query_tokens][1] < around.stacks["self"].layers[0].n_queries


LEAVES_EARLY = ["llama", "mistral", "gemma2"]
DRAFTS = [(name, kind) for kind in ("assistant", "prompt lookup") for name in (*LEAVES_EARLY, "gpt2", "t5")]


@pytest.mark.parametrize(("name", "kind"), [*DRAFTS, *((name, "early exit") for name in LEAVES_EARLY)])
@pytest.mark.parametrize("seed", range(3))
def test_assisted_decoding(name, seed, kind):
    model, inputs = small.build(name, seed=seed), small.prompts((7,), seed=seed)
    options = {"do_sample": False, "max_new_tokens": 12}
    options |= {
        "assistant": {"assistant_model": small.build(name, seed=seed + seed % 2)},
        "early exit": {"assistant_early_exit": 1},
        "prompt lookup": {"prompt_lookup_num_tokens": 4},
    }[kind]
    cap = captured(model, inputs, options)
    encoders = without_padding(inputs) if name == "t5" else None
    small.assert_equal_to_one_pass(cap, model, encoders)


def test_guidance_by_another_prompt_is_refused():
    model, inputs = small.build("llama"), small.prompts((7,))
    plain = run(model, inputs, {**GREEDY, "guidance_scale": 1.5})
    seen = []
    with pytest.raises(aw.CaptureError) as error, aw.capture(model):
        seen.append(run(model, inputs, {**GREEDY, "guidance_scale": 1.5}))
    assert torch.equal(plain, seen[0])
    assert str(error.value).startswith(
        "the passes that generate() made of LlamaForCausalLM could not be joined into one map: model.layers.0.self_attn"
    )
    assert "more than one sequence (a negative prompt, guidance_scale; a loop of its own)" in str(error.value)


@pytest.mark.parametrize("options", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_embeddings_as_a_prompt(options):
    model, inputs = small.build("llama"), small.prompts((7,))
    embedded = {"inputs_embeds": model.get_input_embeddings()(inputs["input_ids"]).detach()}
    new = run(model, embedded, options)
    cap = aw.AttentionModel(model).generate(embedded, **options)
    assert cap.generation.ids == (tuple(new[0].tolist()),)
    assert cap.generation.prompt_lengths == (7,)
    whole = [*inputs["input_ids"][0].tolist(), *new[0].tolist()]
    np.testing.assert_allclose(cap.weights(), small.eager_weights(model, whole[:-1])["self"], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_precisions(dtype):
    model, inputs = small.build("llama").to(dtype), small.prompts((7, 4))
    for options in (GREEDY, BEAMS, {**GREEDY, "use_cache": False}):
        cap = captured(model, inputs, options)
        assert cap.stacks["self"].layers[0].q.dtype == dtype
        small.assert_equal_to_one_pass(cap, model, atol=0.1)


def test_a_long_sequence_is_looked_at_in_parts_and_joined_all_the_same():
    model, inputs = small.build("mistral", max_position_embeddings=400, sliding_window=200), small.prompts((180,))
    cap = captured(model, inputs, {"do_sample": False, "max_new_tokens": 60, "min_new_tokens": 60})
    small.assert_equal_to_one_pass(cap, model)
    assert "causal, window 200" in cap.stacks["self"].layers[0].detail


class EndsWith(tf.LogitsProcessor):
    """The last tokens are these, one for each sequence that is searched."""

    def __init__(self, length, tokens):
        self.length, self.tokens = length, torch.tensor(tokens)

    def __call__(self, ids, scores):
        if ids.shape[1] == self.length - 1:
            scores[torch.arange(len(ids)), self.tokens[torch.arange(len(ids)) % len(self.tokens)]] += 50
        return scores


@pytest.mark.parametrize("options", [{"num_beams": 3, "num_return_sequences": 3}, {"do_sample": True}])
def test_a_padding_id_that_was_generated_last_is_a_token_like_others(options):
    model, inputs = small.build("llama"), small.prompts((7, 7, 7))
    options = {**GREEDY, "min_new_tokens": None, "max_new_tokens": 6, **options}
    options["logits_processor"] = tf.LogitsProcessorList([EndsWith(13, [0, 5, 6])])
    model.generation_config.eos_token_id = None
    with torch.no_grad(), aw.capture(model) as cap:
        sequences = model.generate(**inputs, **options)
    assert 0 < int((sequences[:, -1] == 0).sum()) < len(sequences)
    assert [list(ids) for ids in cap.generation.ids] == sequences.tolist()
    assert all(cap.weights(0, head=0, batch=number).shape == (12, 12) for number in range(len(sequences)))


class StopsAfter(tf.StoppingCriteria):
    def __init__(self, length):
        self.length = length

    def __call__(self, ids, scores, **_):
        return torch.arange(len(ids)) * 0 + (ids.shape[1] >= self.length) * (torch.arange(len(ids)) == 0) > 0


def test_where_sequences_may_stop_by_themselves_the_padding_behind_them_is_cut_off():
    model, inputs = small.build("llama"), small.prompts((7, 7))
    with torch.no_grad(), aw.capture(model) as cap:
        model.generate(**inputs, **GREEDY, stopping_criteria=tf.StoppingCriteriaList([StopsAfter(9)]))
    assert [len(ids) for ids in cap.generation.ids] == [9, 16]


@pytest.mark.parametrize("n_beams", [2, 3])
@pytest.mark.parametrize("new", [1, 2, 5])
def test_all_beams_are_returned(n_beams, new):
    """They may change places once more after the last pass, of which no keys tell."""
    model = small.build("llama")
    options = {"max_new_tokens": new, "min_new_tokens": new, "num_beams": n_beams, "num_return_sequences": n_beams}
    for seed in range(4):
        ids = torch.randint(4, 60, (1, 5), generator=torch.Generator().manual_seed(seed))
        cap = captured(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, options)
        small.assert_equal_to_one_pass(cap, model)


def test_all_beams_of_a_part_that_is_given_no_ids_are_refused():
    model, inputs = small.build("llama"), small.prompts((7,))
    with pytest.raises(aw.CaptureError, match=r"searched with beams"), aw.capture(model.model.layers[0]):
        run(model, inputs, {**BEAMS, "num_return_sequences": BEAMS["num_beams"]})
