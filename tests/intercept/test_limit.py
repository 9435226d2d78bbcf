"""A limit on what is held: refused before the run where that can be told, and never at the cost of the run."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from surroundings import assert_same, surroundings
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.attention.limits import limits
from attnwidget.intercept import budget
from attnwidget.intercept.forecast import estimate
from attnwidget.intercept.terms import Terms

OUT = (
    "Ways out: dtype=torch.bfloat16 keeps queries and keys in 2 bytes a number, layers= and heads= keep some of them, "
    'store="disk" keeps them in files, limit= allows more'
)


def run(model, length=24, **options):
    with torch.no_grad(), aw.capture(model, **options) as cap:
        model(tiny.ids(1, length))
    return cap


class Met(nn.Module):
    """Says whether it ran."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.runs = model, model.config, 0

    def forward(self, input_ids):
        self.runs += 1
        return self.model(input_ids)


def test_a_model_is_not_run_when_its_config_tells_that_it_would_be_too_much():
    model = Met(tiny.llama())
    with pytest.raises(aw.CaptureError) as caught:
        aw.AttentionModel(model).capture(tiny.ids(1, 1000), limit=100_000)
    assert str(caught.value) == (
        "this capture would hold about 1.4 MB, and 97.7 kB are allowed (the limit): 1000 tokens, 4 layers of 8 heads, "
        f"360 bytes per token and layer. The model was not run. {OUT}"
    )
    assert not model.runs


def test_every_way_out_is_one():
    model = aw.AttentionModel(tiny.llama())
    needed = estimate(model.model, {"input_ids": tiny.ids(1, 400)}, Terms()).nbytes
    for way in (
        {"dtype": torch.bfloat16},
        {"layers": [0, 1]},
        {"heads": [0]},
        {"store": "disk"},
        {"limit": 2 * needed},
    ):
        model.capture(tiny.ids(1, 400), **{"limit": needed - 1, **way})
        with pytest.raises(aw.CaptureError, match="The model was not run"):
            model.capture(tiny.ids(1, 400), limit=needed - 1)


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "bfloat16"}, {"layers": [0, -1]}, {"heads": [1, 2]}, {"heads": [0, 3], "dtype": "float16"}],
)
def test_the_estimate_is_what_is_then_held(make, implementation, dtype, options):
    model, inputs = make(attn_implementation=implementation).to(dtype), tiny.ids(2, 700)
    load = estimate(model, {"input_ids": inputs}, Terms.of(**options))
    cap = aw.AttentionModel(model).capture(inputs, **options)
    assert abs(load.nbytes / cap.nbytes - 1) < 0.05
    assert load.n_tokens == 1400
    assert load.n_layers == cap.stacks["self"].n_layers
    assert load.n_heads == cap.stacks["self"].n_heads


def test_the_estimate_of_what_is_generated():
    model = aw.AttentionModel(tiny.gpt2())
    options = {"max_new_tokens": 201, "min_new_tokens": 201, "do_sample": False, "pad_token_id": 0}
    prompt = tiny.ids(1, 300)
    load = estimate(model.model, {"input_ids": prompt}, Terms(), more=200)
    assert abs(load.nbytes / model.generate(prompt, **options).nbytes - 1) < 0.05
    with pytest.raises(aw.CaptureError, match=r"501 tokens, 3 layers of 4 heads, .* The model was not run"):
        model.generate(prompt, limit=load.nbytes * 400 // 500, **options)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (tf.Qwen3NextConfig(hidden_size=32, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=2), 2),
        (tf.Gemma2Config(hidden_size=32, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2), 6),
    ],
)
def test_only_layers_that_attend_are_counted(config, layers):
    model = nn.Linear(2, 2)
    model.config = config
    assert estimate(model, {"input_ids": tiny.ids()}, Terms()).n_layers == layers


def test_what_a_config_does_not_tell_is_not_guessed():
    bart = tiny.bart()
    assert estimate(bart, {"input_ids": tiny.ids()}, Terms()) is None
    assert estimate(tiny.llama(), {"inputs_embeds": torch.zeros(1, 3, 64)}, Terms()) is None
    assert estimate(tiny.llama(), {"input_ids": tiny.ids()}, Terms(store="disk")) is None
    assert estimate(nn.Linear(2, 2), {"input_ids": tiny.ids()}, Terms()) is None


@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}, {"heads": [0, 1, 4, 5]}])
def test_told_by_the_first_layer_and_the_run_goes_on(options):
    model = tiny.llama(8)
    whole = run(model, **options)
    with torch.no_grad():
        plain = model(tiny.ids(1, 24)).logits
    before, seen = surroundings(), []
    watched = aw.capture(model, limit=whole.nbytes // 2, **options)
    with pytest.raises(aw.CaptureError) as caught, torch.no_grad(), watched:
        seen.append(model(tiny.ids(1, 24)).logits)
    assert torch.equal(seen[0], plain)
    assert_same(before, surroundings())
    text = str(caught.value)
    assert re.match(
        r"this capture would hold about [\d.]+ kB, and [\d.]+ kB are allowed \(the limit\): 24 tokens", text
    )
    assert f"8 layers of {whole.stacks['self'].n_heads} heads" in text
    assert text.endswith(f"The run went on without being recorded. {OUT}")
    told = float(re.search(r"about ([\d.]+) kB", text)[1]) * 1024
    assert abs(told / whole.nbytes - 1) < 0.05
    assert run(model, limit=int(whole.nbytes * 1.1), **options).nbytes == whole.nbytes


def test_told_before_the_first_layer_is_copied():
    with pytest.raises(
        aw.CaptureError, match=r"about 6\d.\d kB, and 1000 bytes are allowed .* 24 tokens, 8 layers of 8"
    ):
        run(tiny.llama(8), limit=1000)


def test_a_module_that_is_many_layers_counts_by_the_config():
    torch.manual_seed(0)
    size = {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "vocab_size": 50,
        "embedding_size": 16,
    }
    model = tf.AlbertModel(tf.AlbertConfig(num_hidden_layers=6, **size)).eval()
    with pytest.raises(aw.CaptureError, match=r"24 tokens, 6 layers of 4 heads"):
        run(model, limit=run(model).nbytes // 2)


def test_what_is_not_foreseen_is_told_when_it_happens_and_all_is_let_go_of():
    """Each pass of a loop of one's own adds a little."""
    model, ids = tiny.llama(), tiny.ids(1, 60)

    def loop(outputs, **options):
        with torch.no_grad(), aw.capture(model, **options):
            cache = None
            for place in range(ids.shape[1]):
                result = model(ids[:, place : place + 1], past_key_values=cache, use_cache=True)
                cache = result.past_key_values
                outputs.append(result.logits)

    plain, seen = [], []
    loop(plain)
    with pytest.raises(aw.CaptureError) as caught:
        loop(seen, limit=30_000)
    assert torch.equal(torch.cat(seen), torch.cat(plain))
    text = str(caught.value)
    wanted = r"this capture would hold at least (29|3\d)\.\d kB, and 29.3 kB are allowed \(the limit\): [12]\d tokens"
    assert re.match(wanted, text)
    assert "4 layers of 8 heads" in text


def test_half_of_what_is_free_if_nobody_says(monkeypatch):
    model = tiny.llama()
    needed = run(model).nbytes
    monkeypatch.setattr(budget, "free_bytes", lambda: needed)
    with pytest.raises(aw.CaptureError, match="are allowed \\(half of the memory that is free\\)"):
        run(model)
    with pytest.raises(aw.CaptureError, match="The model was not run"):
        aw.AttentionModel(model).capture(tiny.ids(1, 24))
    monkeypatch.setattr(budget, "free_bytes", lambda: 3 * needed)
    assert run(model).nbytes == needed
    monkeypatch.setattr(budget, "free_bytes", lambda: None)
    assert run(model).nbytes == needed


def test_the_limit_of_the_process(monkeypatch):
    monkeypatch.setattr(limits, "capture_bytes", 1000)
    with pytest.raises(aw.CaptureError, match="1000 bytes are allowed \\(the limit\\)"):
        run(tiny.llama())
    assert run(tiny.llama(), limit=10**9).nbytes > 1000, "what is said for one capture counts"


def test_files_are_not_memory():
    cap = run(tiny.llama(), store="disk", limit=10)
    assert cap.held["disk"] > 10
    assert cap.verify().ok


def test_what_was_kept_and_let_go_of_again_does_not_count():
    """Layers from the end are kept until others have followed."""
    model = tiny.llama(12)
    needed = run(model, layers=-1).nbytes
    assert run(model, layers=-1, limit=3 * needed).nbytes == needed


def test_of_nested_captures_each_has_its_own():
    model = tiny.llama()
    whole = run(model)
    refused = pytest.raises(aw.CaptureError, match="are allowed")
    with torch.no_grad(), aw.capture(model) as outer, refused, aw.capture(model, limit=1000):
        model(tiny.ids(1, 24))
    np.testing.assert_array_equal(outer.weights(), whole.weights())
    refused = pytest.raises(aw.CaptureError, match="are allowed")
    with torch.no_grad(), refused, aw.capture(model, limit=1000), aw.capture(model) as inner:
        model(tiny.ids(1, 24))
    np.testing.assert_array_equal(inner.weights(), whole.weights())


class Wide(nn.Module):
    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x)


def test_gradients_are_those_without():
    x = torch.randn(1, 2, 32, 8, requires_grad=True)
    Wide()(x).sum().backward()
    wanted, x.grad = x.grad, None
    net = Wide()
    with pytest.raises(aw.CaptureError, match="are allowed"), aw.capture(net, limit=100):
        net(x).sum().backward()
    assert torch.equal(x.grad, wanted)


@pytest.mark.parametrize(
    ("limit", "error", "text"),
    [
        ("1 GB", TypeError, "limit is str '1 GB'; expected a number of bytes"),
        (0, ValueError, "limit is 0; expected a number of bytes above 0"),
        (True, TypeError, "limit is bool True; expected a number of bytes"),
    ],
)
def test_limits_that_are_none(limit, error, text):
    with pytest.raises(error) as caught:
        run(tiny.llama(), limit=limit)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "stats", [{"reserved_bytes": {"all": {"current": 70}}, "allocated_bytes": {"all": {"current": 30}}}, {}]
)
def test_what_torch_holds_in_reserve_on_a_device_is_free_too(monkeypatch, stats):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 500))
    monkeypatch.setattr(torch.cuda.memory, "memory_stats_as_nested_dict", lambda device: stats)
    assert budget.half_of_free(torch.device("cuda:0")) == (70 if stats else 50)
