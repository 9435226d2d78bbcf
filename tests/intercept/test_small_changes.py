"""What a model changes on its way to the output: a single edge, one example of a batch, the keys before the kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface

import attnwidget as aw

B, H, T, D = 3, 2, 20, 8


class ByHand(nn.Module):
    """A softmax between two products, after which weights are changed; it remembers them."""

    def __init__(self, change):
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(H * D, 3 * H * D)
        self.change = change

    def forward(self, x):
        q, k, v = self.map(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
        weights = self.change((q @ k.mT * D**-0.5).softmax(-1))
        self.seen = weights.detach().clone()
        return (weights @ v).transpose(1, 2).flatten(2)


def one_edge_in_place(weights):
    weights[:, 1, 7, 3] = 0
    return weights


def one_edge_filled(weights):
    edge = torch.zeros(T, T, dtype=torch.bool)
    edge[7, 3] = True
    return weights.masked_fill(edge, 0)


def renormalised(weights):
    """As AllenNLP's `masked_softmax` does, with padding in the middle example."""
    keep = torch.ones(B, T)
    keep[1, 4:] = 0
    weights = weights * keep[:, None, None]
    return weights / (weights.sum(-1, keepdim=True) + 1e-13)


def padded_queries(weights):
    keep = torch.ones(B, T)
    keep[1, 4:] = 0
    return weights * keep[:, None, :, None]


def one_example(weights):
    weights[1] = 1 / T
    return weights


def by_data(weights):
    weights.data[1, 0, 5] = 0
    return weights


def by_data_of_a_view(weights):
    weights.detach()[1].data[0, 5] = 0
    return weights


def by_other_data(weights):
    weights.data = 1 / T + 0 * weights.data
    return weights


def by_numpy(weights):
    weights.detach().numpy()[1, 0, 5] = 0
    return weights


CHANGES = [
    by_data_of_a_view,
    by_other_data,
    by_numpy,
    one_edge_in_place,
    one_edge_filled,
    renormalised,
    padded_queries,
    one_example,
    by_data,
]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", CHANGES)
def test_weights_changed_after_a_softmax_by_hand(change, mode):
    if mode is torch.enable_grad and change in (one_edge_in_place, one_example):
        change = lambda weights, inner=change: inner(weights.clone())  # noqa: E731 - autograd keeps softmax's result
    module = ByHand(change)
    with mode(), aw.capture(module) as cap:
        module(2 * torch.randn(B, T, H * D))
    for example in range(B):
        np.testing.assert_allclose(cap.weights(layer=0, batch=example), module.seen[example], atol=1e-5)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_scores_changed_where_nothing_is_followed(mode):
    class Module(nn.Module):
        def forward(self, x):
            q, k, v = x.unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
            scores = q @ k.mT
            scores.detach().numpy()[1, :, :, 15:] = -np.inf
            k.data[1, 0, 3] += 1  # after the product
            self.seen = scores.softmax(-1)
            return self.seen @ v

    module = Module()
    with mode(), aw.capture(module) as cap:
        module(torch.randn(B, T, 3 * H * D))
    for example in range(B):
        np.testing.assert_allclose(cap.weights(layer=0, batch=example), module.seen[example].detach(), atol=1e-5)


def test_weights_that_nobody_changed_are_factors():
    module = ByHand(lambda weights: weights)
    with torch.no_grad(), aw.capture(module) as cap:
        module(2 * torch.randn(B, T, H * D))
    assert isinstance(cap.stacks["self"].layers[0], aw.FactoredAttention)


CONFIG = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "initializer_range": 0.5,
}  # fmt: skip
CAUSAL = torch.ones(T, T, dtype=torch.bool).triu(1)


def llama(function):
    AttentionInterface.register("somebodys", function)
    torch.manual_seed(0)
    return tf.LlamaForCausalLM(tf.LlamaConfig(**CONFIG, attn_implementation="somebodys")).eval()


def check(function, seen):
    model = llama(function)
    ids = torch.randint(0, 50, (B, T), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), aw.capture(model) as cap:
        model(ids)
    assert len(seen) == 2
    for layer, weights in enumerate(seen):
        for example in range(B):
            np.testing.assert_allclose(cap.weights(layer=layer, batch=example), weights[example], atol=1e-5)
    assert cap.verify().ok


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
