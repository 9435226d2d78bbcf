"""What code by hand changes on its way to the output: a single edge, one example of a batch, in place or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

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


def multiplied_in_place(weights):
    keep = torch.ones(B, 1, T, 1)
    keep[1, :, 5] = 0.5
    return weights.mul_(keep)


def filled_in_place(weights):
    edge = torch.zeros(B, 1, T, T, dtype=torch.bool)
    edge[1, :, 5, 2] = True
    return weights.masked_fill_(edge, 0)


def written_out(weights):
    return torch.mul(weights, multiplied_in_place(torch.ones(B, 1, T, 1)), out=weights)


CHANGES = [
    multiplied_in_place,
    filled_in_place,
    written_out,
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
    if mode is torch.enable_grad and change is written_out:
        pytest.skip("functions with out= do not support gradients")
    if mode is torch.enable_grad and change in (one_edge_in_place, one_example, multiplied_in_place, filled_in_place):
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


@pytest.mark.parametrize("way", ["transposed first", "copied first"])
def test_keys_that_were_copied_after_they_were_transposed(way):
    class Module(nn.Module):
        def forward(self, x):
            q, k, v = x.unflatten(-1, (3, H, D)).unbind(2)  # (B, T, H, D)
            k = k.permute(0, 2, 3, 1).contiguous() if way == "transposed first" else k.transpose(1, 2).contiguous().mT
            self.seen = (q.transpose(1, 2) @ k).softmax(-1)
            return self.seen @ v.transpose(1, 2)

    shown_as_seen(Module())


def test_many_queries_for_one_key_head_with_heads_innermost():
    class Module(nn.Module):
        def forward(self, x):
            q, k, v = x.unflatten(-1, (3, H, D)).unbind(2)
            weights = torch.einsum("bqhd,bkd->bqhk", q, k[:, :, 0]).softmax(-1)
            self.seen = weights.transpose(1, 2)
            return torch.einsum("bqhk,bkd->bqhd", weights, v[:, :, 0])

    shown_as_seen(Module())


def shown_as_seen(module):
    with torch.no_grad(), aw.capture(module) as cap:
        module(torch.randn(B, T, 3 * H * D))
    for example in range(B):
        np.testing.assert_allclose(cap.weights(layer=0, batch=example), module.seen[example], atol=1e-5)


def test_a_head_at_a_time_is_told():
    class Module(nn.Module):
        def forward(self, x):
            q, k, v = x.unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
            weights = (q @ k.mT).softmax(-1)
            return torch.cat([weights[:, head] @ v[:, head] for head in range(H)], -1)

    module = Module()
    with torch.no_grad(), aw.capture(module) as cap:
        module(torch.randn(B, T, 3 * H * D))
    (note,) = cap.notes
    assert note.startswith("Module multiplied a part of its weights with values, and that part is shown")


def test_weights_may_be_read_after_dropout():
    class Module(nn.Module):
        def forward(self, x):
            q, k, v = x.unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
            self.seen = (q @ k.mT).softmax(-1)
            weights = functional.dropout(self.seen, 0.3)
            self.read = weights.detach().numpy().copy()
            return weights @ v

    shown_as_seen(Module())
