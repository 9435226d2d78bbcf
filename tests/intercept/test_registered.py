"""Functions that somebody registered, or put in the place of torch's: edges cut, keys changed, values too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface

import attnwidget as aw
from attnwidget.intercept.factors import AS_RETURNED

B, T = 3, 20


CONFIG = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "initializer_range": 0.5,
}  # fmt: skip
CAUSAL = torch.ones(T, T, dtype=torch.bool).triu(1)


def llama(function):
    AttentionInterface.register("somebodys", function)
    torch.manual_seed(0)
    return tf.LlamaForCausalLM(tf.LlamaConfig(**CONFIG, attn_implementation="somebodys")).eval()


def check(function, seen, *, verifies=True):
    model = llama(function)
    ids = torch.randint(0, 50, (B, T), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), aw.capture(model) as cap:
        model(ids)
    assert len(seen) == 2
    for layer, weights in enumerate(seen):
        for example in range(B):
            np.testing.assert_allclose(cap.weights(layer=layer, batch=example), weights[example], atol=1e-5)
    assert cap.verify().ok or not verifies


def cut_edge(scores):
    scores = scores.clone()
    scores[:, 2, 7, 3] = -torch.inf
    return scores


def even_example(scores):
    scores = scores.clone()
    scores[1] = torch.zeros_like(scores[1]).masked_fill(CAUSAL, -torch.inf)
    return scores


def cut_what_weighs_little(scores):
    weights = scores.softmax(-1)
    little = (weights > 3e-5) & (weights < 9e-5)
    assert little.any()
    return scores.masked_fill(little, -torch.inf)


@pytest.mark.parametrize("returns", [True, False])
@pytest.mark.parametrize("change", [cut_edge, even_example, cut_what_weighs_little])
@pytest.mark.parametrize("by_softmax", [True, False])
def test_scores_changed_inside_a_registered_function(change, returns, by_softmax):
    seen = []

    def function(module, query, key, value, attention_mask=None, scaling=None, **_):
        key, value = (part.repeat_interleave(2, 1) for part in (key, value))
        scores = change((query @ key.mT * scaling).masked_fill(CAUSAL, -torch.inf))
        # Where the softmax is hidden, only weights and output tell.
        weights = scores.softmax(-1) if by_softmax else Hidden.apply(scores)
        seen.append(weights)
        return (weights @ value).transpose(1, 2).contiguous(), weights if returns else None

    if by_softmax or returns:
        check(function, seen)
    else:
        with pytest.raises(aw.CaptureError, match="do not explain its output"):
            check(function, seen)


class Hidden(torch.autograd.Function):
    """A softmax that no mode sees."""

    @staticmethod
    def forward(ctx, scores):
        with torch._C.DisableTorchFunction():
            return torch.softmax(scores, -1)


KEYS = {
    "normed": lambda key: 3 * functional.normalize(key, dim=-1),
    "turned round": lambda key: key.flip(2),
    "rounded": lambda key: key.bfloat16().float(),
    "scaled": lambda key: 1.5 * key,
}


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("change", KEYS.values(), ids=KEYS)
def test_keys_changed_before_the_kernel_of_a_registered_function(change, repeats):
    seen = []

    def function(module, query, key, value, attention_mask=None, scaling=None, **_):
        key, value = change(key), value + 1
        if repeats:
            key, value = (part.repeat_interleave(2, 1) for part in (key, value))
        full = key if repeats else key.repeat_interleave(2, 1)
        with torch._C.DisableTorchFunction():
            seen.append((query @ full.mT * scaling).masked_fill(CAUSAL, -torch.inf).softmax(-1))
        output = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=not repeats
        )
        return output.transpose(1, 2) * 2, None

    check(function, seen)


def test_a_function_with_the_names_of_transformers_own():
    from functools import wraps

    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    seen = []

    @wraps(sdpa_attention_forward)
    def function(module, query, key, value, attention_mask=None, scaling=None, **options):
        key = KEYS["normed"](key)
        with torch._C.DisableTorchFunction():
            full = key.repeat_interleave(2, 1)
            seen.append((query @ full.mT * scaling).masked_fill(CAUSAL, -torch.inf).softmax(-1))
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)

    check(function, seen)


@pytest.mark.parametrize("n_key_heads", [2, 4])
@pytest.mark.parametrize("padded", [True, False])
def test_a_kernel_that_somebody_put_in_torchs_place(n_key_heads, padded, monkeypatch):
    seen, kernel = [], functional.scaled_dot_product_attention

    def ablated(query, key, value, attn_mask=None, scale=None, **options):
        key = key.clone()
        key[:, :, 1] = 0
        with torch._C.DisableTorchFunction():
            scores = query @ key.repeat_interleave(query.shape[1] // key.shape[1], 1).mT * scale
            scores = (
                scores.masked_fill(CAUSAL, -torch.inf)
                if attn_mask is None
                else scores.masked_fill(~attn_mask, -torch.inf)
            )
            seen.append(scores.softmax(-1).nan_to_num(0))
        return kernel(query, key, value, attn_mask, scale=scale, **options)

    torch.manual_seed(0)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(**{**CONFIG, "num_key_value_heads": n_key_heads})).eval()
    mask = torch.ones(B, T, dtype=torch.long)
    mask[1, :5] = 1 - int(padded)
    with monkeypatch.context() as patch:
        patch.setattr(functional, "scaled_dot_product_attention", ablated)
        with torch.no_grad(), aw.capture(model) as cap:
            model(torch.randint(0, 50, (B, T)), attention_mask=mask)
    assert len(seen) == 2
    for layer, weights in enumerate(seen):
        for example in range(B):
            np.testing.assert_allclose(cap.weights(layer=layer, batch=example), weights[example], atol=1e-5)


def test_weights_that_are_changed_after_transformers_own_function_are_those_that_count():
    from transformers.models.llama.modeling_llama import eager_attention_forward

    seen = []

    def function(module, query, key, value, attention_mask=None, **options):
        _, weights = eager_attention_forward(module, query, key, value, attention_mask, **options)
        weights = one_edge_in_place(weights.clone())
        seen.append(weights)
        return (weights @ value.repeat_interleave(2, 1)).transpose(1, 2).contiguous(), weights

    check(function, seen, verifies=False)


def test_weights_that_are_returned_count_where_a_part_is_computed_otherwise():
    seen = []

    def function(module, query, key, value, attention_mask=None, scaling=None, **_):
        key, value = (part.repeat_interleave(2, 1) for part in (key, value))
        weights = (query[:, :2] @ key[:, :2].mT * scaling).masked_fill(CAUSAL, -torch.inf).softmax(-1)
        other = torch.full_like(weights, 1 / T)
        seen.append(torch.cat([weights, other], 1))
        output = torch.cat([weights @ value[:, :2], value[:, 2:].mean(2, keepdim=True).expand(-1, -1, T, -1)], 1)
        return output.transpose(1, 2).contiguous(), seen[-1]

    check(function, seen, verifies=False)


@pytest.mark.parametrize("uses", ["other weights", "what it returns"])
def test_weights_that_are_returned_and_do_not_give_the_output_are_noted(uses):
    def function(module, query, key, value, attention_mask=None, **_):
        value = value.repeat_interleave(2, 1)
        with torch._C.DisableTorchFunction():
            weights = torch.rand(B, 4, T, T).masked_fill(CAUSAL, 0)
            weights = weights / weights.sum(-1, keepdim=True)
            output = (weights.square() if uses == "other weights" else weights) @ value
        return output.transpose(1, 2).contiguous(), weights

    model = llama(function)
    with torch.no_grad(), aw.capture(model) as cap:
        output = model(torch.randint(0, 50, (B, T)), output_attentions=True)
    for layer, weights in enumerate(output.attentions):
        np.testing.assert_array_equal(cap.weights(layer=layer, batch=1), weights[1])
    noted = any(AS_RETURNED.format(module="model.layers.0.self_attn") in note for note in cap.notes)
    assert noted == (uses == "other weights")


def test_keys_cut_off_before_the_kernel_of_a_registered_function():
    seen = []

    def function(module, query, key, value, attention_mask=None, scaling=None, **_):
        key, value = (part[:, :, :8].repeat_interleave(2, 1) for part in (key, value))
        with torch._C.DisableTorchFunction():
            seen.append((query @ key.mT * scaling).softmax(-1))
        return functional.scaled_dot_product_attention(query, key, value, scale=scaling).transpose(1, 2), None

    check(function, seen)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_keys_changed_before_flex_attention_of_a_registered_function():
    flex_attention = pytest.importorskip("torch.nn.attention.flex_attention").flex_attention
    seen = []

    def function(module, query, key, value, attention_mask=None, scaling=None, **_):
        key, value = (part.repeat_interleave(2, 1) for part in (1.5 * key, value))
        with torch._C.DisableTorchFunction():
            seen.append((query @ key.mT * scaling).softmax(-1))
        return flex_attention(query, key, value, scale=scaling).transpose(1, 2), None

    check(function, seen)


def test_keys_that_a_registered_function_only_repeats_are_kept_once():
    def function(module, query, key, value, attention_mask=None, scaling=None, **_):
        key, value = (part.repeat_interleave(2, 1) for part in (key, value))
        output = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        return output.transpose(1, 2), None

    model = llama(function)
    with torch.no_grad(), aw.capture(model) as cap:
        model(torch.arange(T)[None])
    assert cap.stacks["self"].layers[0].n_key_heads == 2


def one_edge_in_place(weights):
    weights[:, 1, 7, 3] = 0
    return weights


def test_another_softmax_in_the_place_of_torchs(monkeypatch):
    """As softmax1 (Miller 2023), which leaves something to none of the keys."""
    module = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    monkeypatch.setattr(
        functional,
        "softmax",
        lambda scores, dim=-1, **_: scores.exp() / (1 + scores.exp().sum(dim, keepdim=True)),
    )
    x = torch.randn(2, T, 16)
    with torch.no_grad(), aw.capture(module) as cap:
        _, weights = module(x, x, x, average_attn_weights=False)
    assert float(weights.sum(-1).max()) < 0.99
    for example in range(2):
        np.testing.assert_allclose(cap.weights(layer=0, batch=example), weights[example], atol=1e-5)
