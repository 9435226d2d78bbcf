"""Ablation and knockout leave everything as it was, and say what they cannot do."""

import re
import threading

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from handmade import HEADS, IDS, bert, numbers, results_changed
from torch import nn
from torch.nn.attention.flex_attention import flex_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw
from attnwidget.intercept.changing import CHANGES


def test_the_model_stays_as_it_was():
    model = tiny.llama()
    asked = aw.AttentionModel(model)
    before = dict(ALL_ATTENTION_FUNCTIONS.items())
    lookup = type(ALL_ATTENTION_FUNCTIONS).__getitem__
    with torch.no_grad():
        logits = model(IDS).logits
    calls = []

    def breaks(_):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more")
        return 0.0

    asked.ablate(IDS)
    with pytest.raises(RuntimeError, match="no more"):
        asked.ablate(IDS, metric=breaks)
    with pytest.raises(RuntimeError, match="stop here"), results_changed(model.lm_head, _stop_at_the_second()):
        asked.knockout(IDS, query=3, key=0)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, logits)
    assert dict(ALL_ATTENTION_FUNCTIONS.items()) == before
    assert type(ALL_ATTENTION_FUNCTIONS).__getitem__ is lookup
    assert CHANGES.get() is None
    assert not torch.overrides._get_current_function_mode_stack()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_another_thread_runs_the_model_as_it_is():
    model = tiny.gpt2()
    with torch.no_grad():
        plain = model(IDS).logits
    seen = []

    def run():
        with torch.no_grad():
            seen.append(model(IDS).logits)

    def beside(_):
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=run)
            other.start()
            other.join()

    with results_changed(model.lm_head, beside):
        found = aw.AttentionModel(model).ablate(IDS, HEADS, metric=numbers)
    assert len(seen) == 1 + len(HEADS)
    assert all(torch.equal(logits, plain) for logits in seen)
    assert np.nanmin(np.abs(found.values)) > 0


def test_inference_mode_and_autocast_change_nothing_of_the_question():
    asked = aw.AttentionModel(tiny.llama())
    cut = {"query": slice(5, None), "key": 0, "metric": "logits", "token": 7}
    plain = asked.knockout(IDS, **cut)
    with torch.inference_mode():
        assert asked.knockout(IDS, **cut) == plain
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_allclose(asked.knockout(IDS, **cut).change, plain.change, rtol=0.1)


def test_a_long_question_shows_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("attnwidget.bars.DELAY", 0)
    asked = aw.AttentionModel(tiny.gpt2())
    asked.ablate(IDS, HEADS, progress=False)
    assert "ablating" not in capsys.readouterr().err
    asked.ablate(IDS, HEADS, at_once=1)
    assert re.search(r"ablating GPT2LMHeadModel: +0%.* 0/3 ", capsys.readouterr().err)


def _stop_at_the_second():
    runs = []

    def change(_):
        runs.append(1)
        if len(runs) == 2:
            raise RuntimeError("stop here")

    return change


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings("ignore:return_lse is deprecated:FutureWarning")
def test_what_cannot_be_changed_is_named():
    class Flex(nn.Module):
        def forward(self, x):
            return flex_attention(x[:, None], x[:, None], x[:, None])[:, 0]

    with pytest.raises(aw.CaptureError, match=r"attention of Flex \(flex_attention\) can be captured and not changed"):
        aw.AttentionModel(Flex().eval()).ablate(torch.randn(1, 5, 16), metric=lambda out: out.sum())
    windows = tf.SwinModel(
        tf.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
    ).eval()
    with pytest.raises(aw.CaptureError, match=r"Calls over windows or portions, or whose heads are mixed, cannot be"):
        aw.AttentionModel(windows).ablate(torch.randn(1, 3, 32, 32), [(0, 0)], metric=numbers)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "off"}, ValueError, "mode is 'off'; expected one of 'zero', 'mean', 'uniform'"),
        ({"metric": "accuracy"}, ValueError, "metric is 'accuracy'; expected 'loss', 'logits', 'probability'"),
        ({"metric": "logits"}, ValueError, "is of a token, and none is given"),
        ({"metric": "loss", "token": 3}, ValueError, "looks at every token"),
        ({"metric": "logits", "token": 50}, ValueError, "token id 50 does not exist: the model has ids 0 to 49"),
        ({"metric": "logits", "token": "cat"}, TypeError, "this model has no tokenizer: pass its id"),
        ({"metric": "logits", "token": 3, "position": 9}, IndexError, "the text has tokens 0 to 8"),
        ({"metric": "probability", "token": 3, "versus": 4}, ValueError, "expected it with 'logits'"),
        ({"metric": lambda out: out.logits}, TypeError, "metric returned Tensor of shape"),
        ({"heads": [(3, 0)]}, IndexError, "layer 3 does not exist"),
        ({"heads": [3]}, TypeError, "expected pairs of numbers"),
        ({"heads": []}, ValueError, "heads is empty"),
        ({"stack": "cross"}, KeyError, "this run has 'self'"),
        ({"reference": IDS}, ValueError, "expected it with mode='mean'"),
        ({"at_once": 0}, ValueError, "expected 1 head or more"),
    ],
)
def test_refusals(options, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        aw.AttentionModel(tiny.gpt2()).ablate(IDS, **options)


def test_refusals_of_texts_and_models():
    model = tiny.gpt2()
    asked = aw.AttentionModel(model)
    with pytest.raises(ValueError, match="hold 2 examples; expected one text"):
        asked.ablate(tiny.ids(2, 5))
    with pytest.raises(TypeError, match="keeps queries and keys and not what heads put out"):
        asked.ablate(IDS, mode="mean", reference=asked.capture(IDS))
    with pytest.raises(IndexError, match="query 9 does not exist: there are 0 to 8"):
        asked.knockout(IDS, query=9, key=0)
    with pytest.raises(ValueError, match="layers and heads are both given"):
        asked.knockout(IDS, query=1, key=0, layers=0, heads=[(0, 0)])
    with pytest.raises(ValueError, match="sees those after it; expected a causal language model"):
        aw.AttentionModel(bert()).ablate(IDS)
    with pytest.raises(ValueError, match=r"which has no logits; expected logits .* of a language model"):
        aw.AttentionModel(model.transformer).ablate(IDS)
    with torch.no_grad():
        cache = model(IDS).past_key_values
    with pytest.raises(ValueError, match="past_key_values is given, and each run would go on"):
        asked.ablate(tiny.ids(1, 1), past_key_values=cache)
    model.train()
    with pytest.raises(ValueError, match=r"is in training mode .* call model\.eval\(\) first"):
        asked.ablate(IDS)


def test_tables():
    found = aw.AttentionModel(tiny.gpt2()).ablate(IDS, HEADS)
    table = found.to_pandas()
    assert list(table.columns) == ["layer", "head", "change"]
    assert table.shape == (3, 3)
    lines = repr(found).splitlines()
    assert lines[0].startswith("zero ablation of 3 of 12 heads of stack 'self': loss is ")
    assert len(lines) == 5
    assert abs(float(lines[2].split()[2]) - found.sorted()[0][2]) < 1e-3
