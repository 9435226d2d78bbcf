"""What is done to scores before the softmax: factors, masks as rules, biases, and what no factors say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from watched import allowed, is_factored, watch, whole

B, H, T, D = 2, 3, 6, 4
TRIL = torch.ones(T, T).tril().bool()
LENGTHS = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]).bool()
PADDING = LENGTHS[:, None, None, :]
BOTH = TRIL & PADDING
LOWEST = torch.finfo(torch.float32).min
TABLE = torch.randn(1, H, 2 * T - 1, generator=torch.Generator().manual_seed(0))
DISTANCE = torch.arange(T)[None, :] - torch.arange(T)[:, None]
RELATIVE = TABLE[..., DISTANCE + T - 1]  # (1, H, T, T)
SLOPES = torch.tensor([1.0, 0.5, 0.25]).view(1, H, 1, 1)
ROOT = math.sqrt(D)


class Scored(nn.Module):
    """`change` makes of a product of queries and keys what the softmax is taken of."""

    def __init__(self, change):
        super().__init__()
        self.mix = nn.Linear(H * D, 3 * H * D)
        self.change = change
        self.seen = None

    def forward(self, x):
        q, k, v = self.mix(x).view(*x.shape[:2], 3, H, D).permute(2, 0, 3, 1, 4)
        self.seen = torch.softmax(self.change(q @ k.transpose(-1, -2)), dim=-1)
        return (self.seen.to(v.dtype) @ v).transpose(1, 2).flatten(2)


def additive(mask, value):
    return torch.zeros(mask.shape).masked_fill(~mask, value)


def in_place(scores):
    scores /= ROOT
    scores += additive(TRIL, LOWEST)
    scores.mul_(1.0)
    return scores


def soft_cap(scores):
    return torch.tanh(scores / ROOT / 2.0) * 2.0


def upper_triangle(scores):
    return scores.masked_fill(torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1), float("-inf"))


CHAINS = {
    "nothing": (lambda s: s, None, "q k float32"),
    "scale": (lambda s: s * 0.3, None, "q k float32"),
    "scale by a tensor": (lambda s: s / torch.tensor(ROOT), None, "q k float32"),
    "scale per head": (lambda s: s * SLOPES, None, "q k float32"),
    "scale per query": (lambda s: s * torch.linspace(0.5, 1, T)[:, None], None, "q k float32"),
    "scale per key": (lambda s: s * torch.linspace(0.5, 1, T), None, "q k float32"),
    "minus": (lambda s: 1 - s, None, "q k float32"),
    "negative": (lambda s: -s, None, "q k float32"),
    "less its maximum": (lambda s: s - s.max(-1, keepdim=True).values, None, "q k float32"),
    "causal, filled": (upper_triangle, TRIL, "q k float32, causal"),
    "causal, tril": (lambda s: s.masked_fill(~TRIL, -torch.inf), TRIL, "q k float32, causal"),
    "causal, finite": (lambda s: s.masked_fill(TRIL == 0, -1e9), TRIL, "q k float32, causal"),
    "causal, where": (lambda s: torch.where(TRIL, s, torch.tensor(LOWEST)), TRIL, "q k float32, causal"),
    "causal, where not": (lambda s: torch.where(~TRIL, -1e4, s), TRIL, "q k float32, causal"),
    "causal, where full": (lambda s: torch.where(TRIL, s, torch.full_like(s, -torch.inf)), TRIL, "q k float32, causal"),
    "causal, method": (lambda s: s.where(TRIL, torch.tensor(-1e9)), TRIL, "q k float32, causal"),
    "causal, added": (lambda s: s + additive(TRIL, -torch.inf), TRIL, "q k float32, causal"),
    "causal, less": (lambda s: s - 1e30 * (~TRIL).float(), TRIL, "q k float32, causal"),
    "causal, as GPT": (lambda s: s * TRIL.float() + -1e4 * (1 - TRIL.float()), TRIL, "q k float32, causal"),
    "padding": (lambda s: s / ROOT + additive(PADDING, LOWEST), PADDING, "q k float32, padding"),
    "padding as BERT had it": (lambda s: s + (1 - PADDING.float()) * -10000.0, PADDING, "q k float32, padding"),
    "causal and padding": (
        lambda s: s.masked_fill(~TRIL, LOWEST) + additive(PADDING, LOWEST),
        BOTH,
        "q k float32, causal, padding",
    ),
    "one mask of both": (lambda s: s + additive(BOTH, LOWEST), BOTH, "q k float32, causal, padding"),
    "clamped to what the type holds": (
        lambda s: torch.max(s + additive(TRIL, LOWEST), torch.tensor(LOWEST)),
        TRIL,
        "q k float32, causal",
    ),
    "in place": (in_place, TRIL, "q k float32, causal"),
    "bias": (lambda s: s + RELATIVE, None, "q k float32, relative bias"),
    "bias, scaled after": (lambda s: (s + RELATIVE) * 0.5, None, "q k float32, relative bias"),
    "bias, mask": (lambda s: (s + RELATIVE).masked_fill(~TRIL, -torch.inf), TRIL, "q k float32, causal, relative bias"),
    "alibi": (
        lambda s: (s + SLOPES * DISTANCE).masked_fill(~TRIL, LOWEST),
        TRIL,
        "q k float32, causal, ALiBi",
    ),
    "soft cap": (soft_cap, None, "q k float32, soft cap 2"),
    "soft cap, mask": (lambda s: soft_cap(s) + additive(TRIL, LOWEST), TRIL, "q k float32, causal, soft cap 2"),
    "float64": (lambda s: s.double() * 0.5, None, "q k float32"),
    "reshaped": (lambda s: (s.flatten(0, 1) * 0.5).unflatten(0, (B, H)), None, "q k float32"),
    # What no factors say: the weights are kept, and what was forbidden is known where it still holds.
    "clamped": (lambda s: s.clamp(-1, 1) + additive(TRIL, LOWEST), TRIL, "weights float32, causal"),
    "squared": (lambda s: s.square().masked_fill(~TRIL, -torch.inf), TRIL, "weights float32, causal"),
    "two products": (lambda s: s + s.transpose(-1, -2), None, "weights float32"),
    "two products, masked": (
        lambda s: s.masked_fill(~TRIL, LOWEST) + s.transpose(-1, -2).masked_fill(~TRIL, LOWEST),
        TRIL,
        "weights float32, causal",
    ),
    "per pair": (lambda s: s * RELATIVE.sigmoid(), None, "weights float32"),
    "mask before the cap": (lambda s: soft_cap(s.masked_fill(~TRIL, -1e9)), None, "weights float32"),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("grad", [False, True])
def test_every_chain(name, grad):
    torch.manual_seed(0)
    change, mask, detail = CHAINS[name]
    module = Scored(change)
    cap = watch(module, torch.randn(B, T, H * D) * 2, grad=grad)
    np.testing.assert_allclose(whole(cap), module.seen.detach().numpy(), atol=2e-6)
    found = cap.stacks["self"].layers[0].detail
    assert found.replace("weights, ", "weights ") == detail
    wanted = np.broadcast_to(True if mask is None else mask.numpy(), (B, H, T, T))
    np.testing.assert_array_equal(np.broadcast_to(allowed(cap), wanted.shape), wanted)
    assert cap.verify().ok


def test_scores_changed_by_an_unknown_function_are_lost_and_told():
    first = torch.tensor([0])
    layers = [Scored(lambda s: s.index_put((first, first), torch.tensor(1.0))), Scored(lambda s: s)]
    cap = watch_all(layers, torch.randn(B, T, H * D))
    assert [info.path for info in cap.stacks["self"].infos] == ["1"]
    assert any(
        "a softmax in 0 (Scored) was multiplied with values, and not seen to be taken of a product" in note
        for note in cap.notes
    )


def watch_all(modules, x):
    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            for number, part in enumerate(modules):
                self.add_module(str(number), part)

        def forward(self, x):
            for part in self.children():
                x = part(x)
            return x

    return watch(Chain(), x)


def test_layers_share_masks_and_biases_and_each_is_kept_once():
    bias = RELATIVE.clone()
    layers = [Scored(lambda s: (s + bias).masked_fill(~TRIL, LOWEST) + additive(PADDING, LOWEST)) for _ in range(3)]
    cap = watch_all(layers, torch.randn(B, T, H * D))
    masks = {id(layer.mask) for layer in cap.stacks["self"].layers}
    assert len(masks) == 1
    mask = cap.stacks["self"].layers[0].mask
    assert (mask.bits, mask.bias) == (None, None)
    assert mask.relative.shape == (1, H, 2 * T - 1)


def test_a_bias_per_example_and_layer_costs_as_much_as_the_weights_so_these_are_kept():
    biases = torch.randn(3, B, H, T, T)
    layers = [Scored(lambda s, own=own: s + own) for own in biases]
    cap = watch_all(layers, torch.randn(B, T, H * D))
    assert [is_factored(cap, layer) for layer in range(3)] == [True, False, False], "nobody knew after one"
    for layer, part in enumerate(layers):
        np.testing.assert_allclose(whole(cap, layer), part.seen.numpy(), atol=2e-6)
    shared = [Scored(lambda s: s + biases[0]) for _ in range(3)]
    cap = watch_all(shared, torch.randn(B, T, H * D))
    assert all(is_factored(cap, layer) for layer in range(3))
    assert len({id(layer.mask) for layer in cap.stacks["self"].layers}) == 1


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_sink_joins_the_denominators_and_is_kept_as_one(place):
    sink = torch.tensor([0.5, -1.0, 2.0])

    class Sink(Scored):
        def forward(self, x):
            q, k, v = self.mix(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)
            scores = (q @ k.mT).masked_fill(~TRIL, -torch.inf)
            column = sink.view(1, H, 1, 1).expand(B, H, T, 1)
            both = torch.cat([column, scores] if place == "first" else [scores, column], dim=-1)
            both = both - both.max(dim=-1, keepdim=True).values if place == "last" else both
            weights = functional.softmax(both, dim=-1, dtype=torch.float32)
            self.seen = weights[..., 1:] if place == "first" else weights[..., :-1]
            return self.seen @ v

    module = Sink(None)
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)
    np.testing.assert_array_equal(np.broadcast_to(allowed(cap), (B, H, T, T)), np.broadcast_to(TRIL, (B, H, T, T)))
    if place == "first":
        assert cap.stacks["self"].layers[0].detail == "q k float32, causal, sinks"
        share = cap.stacks["self"].layers[0].sink_share(0, slice(0, H), slice(0, T))
        np.testing.assert_allclose(share, 1 - module.seen[0].sum(-1).numpy(), atol=1e-6)


def test_a_query_mask_that_forbids_whole_rows():
    module = Scored(lambda s: s.masked_fill(~LENGTHS[:, None, :, None], -1e9).masked_fill(~PADDING, -1e9))
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap)[0], module.seen[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(whole(cap)[1, :, :4], module.seen[1, :, :4].numpy(), atol=1e-6)
    assert not allowed(cap)[1, :, 4:].any()


def test_a_mask_that_is_written_to_later_is_not_believed():
    class Careless(Scored):
        def forward(self, x):
            q, k, v = self.mix(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)
            mask = additive(TRIL, -torch.inf)
            scores = q @ k.mT + mask
            mask.zero_()
            self.seen = torch.softmax(scores, -1)
            return self.seen @ v

    module = Careless(None)
    cap = watch(module, torch.randn(B, T, H * D))
    assert not is_factored(cap)
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)


def test_queries_that_are_written_to_later_are_not_believed():
    class Careless(Scored):
        def forward(self, x):
            q, k, v = (part.clone() for part in self.mix(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4))
            scores = q @ k.mT
            q.zero_()
            self.seen = torch.softmax(scores, -1)
            return self.seen @ v

    module = Careless(None)
    cap = watch(module, torch.randn(B, T, H * D))
    assert not is_factored(cap)
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)


def test_scores_written_to_in_ways_nobody_follows():
    class Written(Scored):
        def forward(self, x):
            q, k, v = self.mix(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)
            scores = q @ k.mT
            scores[:, :, ~TRIL] = -torch.inf
            self.seen = torch.softmax(scores, -1)
            return self.seen @ v

    module = Written(None)
    cap = watch(module, torch.randn(B, T, H * D))
    assert cap.stacks["self"].layers[0].detail == "weights, float32"
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["causal, added", "padding as BERT had it", "soft cap, mask", "bias"])
def test_half_precision(dtype, name):
    torch.manual_seed(0)
    change, mask, _ = CHAINS[name]
    module = Scored(lambda s: change(s.float()).to(dtype)).to(dtype)
    cap = watch(module, torch.randn(B, T, H * D).to(dtype))
    np.testing.assert_allclose(whole(cap), module.seen.float().numpy(), atol=2e-2)
    assert is_factored(cap)
    if mask is not None:
        np.testing.assert_array_equal(
            np.broadcast_to(allowed(cap), (B, H, T, T)), np.broadcast_to(mask.numpy(), (B, H, T, T))
        )


def test_autocast():
    module = Scored(lambda s: s.float() * 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cap = watch(module, torch.randn(B, T, H * D))
    layer = cap.stacks["self"].layers[0]
    assert layer.q.dtype == torch.bfloat16
    np.testing.assert_allclose(whole(cap), module.seen.float().numpy(), atol=2e-2)
