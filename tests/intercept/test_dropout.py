"""Weights after dropout, on request: what met the values, under the same random numbers as without capture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw
from attnwidget.intercept.dropout import NOTHING_DROPPED

RATE = 0.3
IDS = torch.randint(2, 50, (2, 12), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[0, :3] = 0
SIZE = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def build(name, implementation, dtype=torch.float32):
    torch.manual_seed(0)
    if name == "llama":
        config = tf.LlamaConfig(**SIZE, num_key_value_heads=2, attention_dropout=RATE)
        return tf.LlamaModel._from_config(config, attn_implementation=implementation).to(dtype).train()
    config = tf.BertConfig(**SIZE, attention_probs_dropout_prob=RATE, hidden_dropout_prob=0.1)
    return tf.BertModel._from_config(config, attn_implementation=implementation).to(dtype).train()


def seeded(run, *args, **options):
    torch.manual_seed(7)
    return run(*args, **options)


def run(model, **options):
    return model(IDS, attention_mask=MASK, **options)


def returned(name, dtype=torch.float32):
    """What transformers itself returns under the same seed, (L, B, H, T, T): the weights after dropout."""
    weights = seeded(run, build(name, "eager", dtype), output_attentions=True).attentions
    return torch.stack(weights).detach().float().numpy()


@pytest.mark.parametrize("name", ["llama", "bert"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("grad", [True, False])
def test_weights_after_dropout_are_those_of_transformers(name, implementation, grad):
    model = build(name, implementation)
    with torch.set_grad_enabled(grad):
        plain = seeded(run, model).last_hidden_state
        state = torch.get_rng_state()
        with aw.capture(model, dropout=True) as cap:
            seen = seeded(run, model).last_hidden_state
    assert torch.equal(plain, seen)
    assert torch.equal(torch.get_rng_state(), state)
    wanted = returned(name)
    assert (wanted == 0).mean() > RATE - 0.1
    assert wanted.max() > 1 or name == "bert"
    for example in range(2):
        real = MASK[example].bool().numpy()  # sdpa and eager disagree on rows that may look at nothing
        np.testing.assert_allclose(cap.weights(batch=example)[:, :, real], wanted[:, example][:, :, real], atol=1e-6)
    assert "weights after dropout, float32" in repr(cap)
    assert all(check.ok for check in cap.verify().layers), "these weights explain the output, dropout and all"


@pytest.mark.parametrize("name", ["llama", "bert"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_otherwise_weights_are_those_before_it(name, implementation):
    model = build(name, implementation)
    with torch.no_grad(), aw.capture(model) as cap:
        seeded(run, model)
    wanted = returned(name)[:, 1]
    left = wanted != 0
    np.testing.assert_allclose(cap.weights(batch=1)[left], wanted[left] * (1 - RATE), atol=1e-6)
    real = MASK[1].bool().numpy()
    np.testing.assert_allclose(cap.weights(batch=1)[:, :, real].sum(-1), 1, atol=1e-5)
    assert "weights after" not in repr(cap)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_in_low_precision(dtype, implementation):
    model = build("llama", implementation, dtype)
    with torch.no_grad():
        plain = seeded(run, model).last_hidden_state
        with aw.capture(model, dropout=True) as cap:
            seen = seeded(run, model).last_hidden_state
    assert torch.equal(plain, seen)
    wanted = returned("llama", dtype)[:, 1]
    np.testing.assert_array_equal(cap.weights(batch=1) == 0, wanted == 0)
    np.testing.assert_allclose(cap.weights(batch=1), wanted, atol=0.05 if dtype == torch.bfloat16 else 0.01)
    assert f"weights after dropout, {str(dtype).removeprefix('torch.')}" in repr(cap)


class Look(nn.Module):
    def __init__(self, rate=RATE, **options):
        super().__init__()
        self.rate, self.options = rate, options

    def forward(self, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=self.rate, **self.options)


TENSORS = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(1))
ALLOWED = torch.rand(9, 9, generator=torch.Generator().manual_seed(2)) > 0.3
BIAS = torch.randn(9, 9, generator=torch.Generator().manual_seed(3))
OPTIONS = {"plain": {}, "causal": {"is_causal": True}, "mask": {"attn_mask": ALLOWED}, "bias": {"attn_mask": BIAS}}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("autocast", [True, False])
def test_scaled_dot_product_attention_by_itself(options, autocast):
    look = Look(scale=0.3, **OPTIONS[options])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plain = seeded(look, *TENSORS)
        with aw.capture(look, dropout=True) as cap:
            seen = seeded(look, *TENSORS)
    assert torch.equal(plain, seen)
    allowed = torch.ones(9, 9, dtype=torch.bool).tril() if options == "causal" else ALLOWED
    scores = 0.3 * TENSORS[0] @ TENSORS[1].transpose(-1, -2) + (BIAS if options == "bias" else 0)
    scores = scores.masked_fill(~allowed, -torch.inf) if options in ("causal", "mask") else scores
    wanted = seeded(functional.dropout, torch.softmax(scores, -1), RATE).numpy()
    for example in range(2):
        weights = cap.weights(0, batch=example)
        np.testing.assert_array_equal(weights == 0, wanted[example] == 0)
        np.testing.assert_allclose(weights, wanted[example], atol=0.03 if autocast else 1e-6)
        if options in ("causal", "mask"):
            np.testing.assert_array_equal(cap.allowed(0, 0, batch=example), allowed.numpy())
    assert cap.verify().layers[0].ok


def test_grouped_queries():
    if "enable_gqa" not in (functional.scaled_dot_product_attention.__doc__ or ""):
        pytest.skip(f"torch {torch.__version__} has no enable_gqa")
    look, (q, k, v) = Look(enable_gqa=True), TENSORS
    tensors = q, k[:, :2], v[:, :2]
    plain = seeded(look, *tensors)
    with aw.capture(look, dropout=True) as cap:
        assert torch.equal(seeded(look, *tensors), plain)
    np.testing.assert_allclose(cap.weights(0) @ v[0, :2].repeat_interleave(2, 0).numpy(), plain[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(need_weights):
    torch.manual_seed(0)
    attn, x = nn.MultiheadAttention(32, 4, dropout=RATE, batch_first=True), torch.randn(2, 7, 32)
    options = {"need_weights": need_weights, "average_attn_weights": False}
    plain, _ = seeded(attn, x, x, x, **options)
    with aw.capture(attn, dropout=True) as cap:
        seen, _ = seeded(attn, x, x, x, **options)
    assert torch.equal(plain, seen)
    wanted = seeded(attn, x, x, x, average_attn_weights=False)[1].detach().numpy()
    for example in range(2):
        np.testing.assert_allclose(cap.weights(0, batch=example), wanted[example], atol=1e-6)
    assert cap.verify().layers[0].ok


class ByHand(nn.Module):
    """A softmax between two products, as people write it."""

    def __init__(self, *, mixed=False):
        super().__init__()
        self.dropout = nn.Dropout(RATE)
        self.mix = nn.Linear(4, 4) if mixed else None

    def forward(self, q, k, v):
        weights = torch.softmax(q @ k.transpose(-1, -2) * 0.3, dim=-1)
        if self.mix is not None:
            weights = self.mix(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.dropout(weights) @ v


def test_a_softmax_by_hand():
    module = ByHand()
    plain = seeded(module, *TENSORS)
    with aw.capture(module) as before, aw.capture(module, dropout=True) as cap:
        assert torch.equal(seeded(module, *TENSORS), plain)
    clean = torch.softmax(TENSORS[0] @ TENSORS[1].transpose(-1, -2) * 0.3, -1)
    wanted = seeded(functional.dropout, clean, RATE)
    for example in range(2):
        np.testing.assert_allclose(cap.weights(0, batch=example), wanted[example].numpy(), atol=1e-6)
        np.testing.assert_allclose(before.weights(0, batch=example), clean[example].numpy(), atol=1e-6)
    assert cap.verify().layers[0].ok


def test_heads_mixed_after_the_softmax_have_no_weights_after_dropout():
    module = ByHand(mixed=True)
    text, _ = refused(module, lambda: module(*TENSORS), dropout=True)
    assert "its heads are mixed after the softmax, so that weights after dropout belong to no head" in text


def test_in_eval_mode_there_is_none_and_the_capture_says_so():
    model = build("llama", "sdpa")
    with torch.no_grad(), aw.capture(model.eval(), dropout=True) as cap:
        run(model)
    assert cap.notes == (NOTHING_DROPPED,)
    assert f"  note: {NOTHING_DROPPED}" in repr(cap)
    np.testing.assert_allclose(cap.weights(batch=1).sum(-1), 1, atol=1e-5)
    with torch.no_grad(), aw.capture(model) as cap:
        run(model)
    assert cap.notes == ()


def test_nested_captures_each_get_the_weights_they_asked_for():
    model = build("llama", "sdpa")
    with torch.no_grad(), aw.capture(model) as before, aw.capture(model, dropout=True) as after:
        seeded(run, model)
    wanted, left = after.weights(batch=1), after.weights(batch=1) != 0
    np.testing.assert_allclose(before.weights(batch=1)[left], wanted[left] * (1 - RATE), atol=1e-6)
    assert not np.allclose(before.weights(batch=1), wanted)


def test_asked_of_a_wrapped_model_and_kept_on_disk():
    model = aw.AttentionModel(build("llama", "sdpa"), store="disk")
    cap = seeded(model.capture, {"input_ids": IDS, "attention_mask": MASK}, dropout=True)
    assert cap.held["disk"] == 2 * 2 * 4 * 12 * 12 * 4
    np.testing.assert_allclose(cap.weights(batch=1), returned("llama")[:, 1], atol=1e-6)


def refused(model, run, **options):
    outputs = []
    with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(model, **options):
        outputs.append(run())
    return str(error.value), outputs[0]


def test_weights_that_are_hidden_are_refused_and_the_run_goes_on():
    class Own(torch.Tensor):
        """Of a kind whose kernel may be any."""

    look, tensors = Look(), [part.as_subclass(Own) for part in TENSORS]
    plain = seeded(look, *tensors)
    text, seen = refused(look, lambda: seeded(look, *tensors), dropout=True)
    assert torch.equal(plain, seen)
    assert "dropout=True, and its weights after dropout cannot be seen: a fused kernel keeps them to itself." in text
    assert "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or leave dropout=True out" in text
    with aw.capture(look) as cap:
        seeded(look, *tensors)
    assert cap.weights().shape == (1, 4, 9, 9)


def attention(tells, after):
    """An attention function of somebody else's, causal whatever the mask says."""

    def forward(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **options):
        key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
        scores = (query @ key.transpose(-1, -2) * scaling).masked_fill(~torch.ones(12, 12).tril().bool(), -torch.inf)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)  # no softmax that could be followed
        dropped = functional.dropout(weights, dropout)
        return (dropped @ value).transpose(1, 2).contiguous(), (dropped if after else weights) if tells else None

    return forward


@pytest.fixture
def custom():
    def make(**options):
        ALL_ATTENTION_FUNCTIONS["custom"] = attention(**options)
        model = build("llama", "sdpa")
        model.config._attn_implementation = "custom"
        return model

    yield make
    del ALL_ATTENTION_FUNCTIONS["custom"]


def test_a_function_that_returns_no_weights_cannot_be_checked_under_dropout(custom):
    model = custom(tells=False, after=True)
    text, _ = refused(model, lambda: model(IDS))
    assert "dropout took part in its output, and it returned no weights that tell whether its queries, keys" in text
    assert 'run the model in eval mode, or load it with attn_implementation="sdpa" or "eager"' in text
    with torch.no_grad(), aw.capture(model.eval()) as cap:
        model(IDS)
    assert not np.triu(cap.weights(0, 0), 1).any()


def test_its_mask_is_read_from_the_weights_that_are_left(custom):
    model = custom(tells=True, after=True)
    with torch.no_grad(), aw.capture(model) as before, aw.capture(model, dropout=True) as after:
        seeded(model, IDS)
    left = after.weights() != 0
    np.testing.assert_allclose(before.weights()[left], after.weights()[left] * (1 - RATE), atol=1e-6)
    np.testing.assert_array_equal(before.allowed(0, 0), np.tri(12, dtype=bool))


def test_weights_returned_before_dropout_are_no_weights_after_it(custom):
    model = custom(tells=True, after=False)
    text, _ = refused(model, lambda: model(IDS), dropout=True)
    assert "it returned no weights that tell whether its queries, keys and mask are understood" in text
