"""Heads that share an axis with something else: with queries in one product, or with examples in one batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from watched import is_factored, watch, whole

from attnwidget.intercept.byhand.handmade import UNTOLD
from attnwidget.intercept.byhand.kernelaxes import LAST_AXIS

B, H, T, D = 2, 3, 5, 4


class Attention(nn.Module):
    """Attention by hand; `seen` is its softmax as (B, H, Tq, Tk).

    Args:
        run: from queries, keys and values (B, T, H * D) to an output and the softmax.
        shared: all heads have the same keys and values, (B, T, D).
    """

    def __init__(self, run, *, shared=False):
        super().__init__()
        self.q = nn.Linear(H * D, H * D)
        self.k, self.v = (nn.Linear(H * D, D if shared else H * D) for _ in "kv")
        self.run = run
        self.seen = None

    def forward(self, x, y=None):
        y = x if y is None else y
        output, self.seen = self.run(self.q(x), self.k(y), self.v(y))
        return output


def inside(q, k, v):
    """Heads inside queries, as GPTBigCode has them, with a mask for the queries of every head."""
    rows, columns = q.shape[1], k.shape[1]
    scores = torch.bmm(q.reshape(B, rows * H, D), k.transpose(1, 2)) / math.sqrt(D)
    hidden = torch.ones(rows, columns, dtype=torch.bool).triu(1)[None, :, None]
    weights = scores.view(B, rows, H, columns).masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1)
    output = torch.bmm(weights.view(B, rows * H, columns), v)
    return output.view(B, rows, H * D), weights.transpose(1, 2)


def outside(q, k, v):
    rows, columns = q.shape[1], k.shape[1]
    folded = q.view(B, rows, H, D).transpose(1, 2).reshape(B, H * rows, D)
    scores = torch.baddbmm(torch.zeros(()), folded, k.transpose(1, 2), beta=0, alpha=0.5)
    weights = scores.view(B, H, rows, columns).softmax(-1)
    return torch.bmm(weights.view(B, H * rows, columns), v), weights


def joined(q, k, v):
    """Heads before examples in one axis, as the Set Transformer joins them."""
    q, k, v = (torch.cat(part.split(D, 2), 0) for part in (q, k, v))
    weights = torch.softmax(q.bmm(k.transpose(1, 2)) / math.sqrt(D), 2)
    output = torch.cat(weights.bmm(v).split(B, 0), 2)
    return output, weights.view(H, B, *weights.shape[1:]).transpose(0, 1)


def stacked(q, k, v):
    q, k, v = (torch.stack(part.chunk(H, -1)) for part in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-1, -2), -1)
    return weights @ v, weights.transpose(0, 1)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("run", [inside, outside])
def test_queries_and_heads_in_one_axis_are_told_apart(run, grad):
    module = Attention(run, shared=True)
    cap = watch(module, torch.randn(B, T, H * D), grad=grad)
    np.testing.assert_allclose(whole(cap), module.seen.detach(), atol=1e-6)
    assert is_factored(cap)
    assert not cap.notes


def test_other_keys_than_queries_where_it_was_seen_how_they_were_folded():
    module = Attention(outside, shared=True)
    cap = watch(module, torch.randn(B, T, H * D), torch.randn(B, T + 2, H * D))
    np.testing.assert_allclose(whole(cap), module.seen, atol=1e-6)
    assert not cap.notes


def test_other_keys_than_queries_where_it_was_not():
    def folded_elsewhere(q, k, v):
        rows, columns = q.shape[1], k.shape[1]
        with torch._C.DisableTorchFunction():
            folded = q.view(B, rows, H, D).transpose(1, 2).reshape(B, H * rows, D)
        weights = (folded @ k.mT).view(B, H, rows, columns).softmax(-1)
        return weights.view(B, H * rows, columns) @ v, weights

    cap = watch(Attention(folded_elsewhere, shared=True), torch.randn(B, T, H * D), torch.randn(B, T + 2, H * D))
    assert cap.notes == (UNTOLD.format(module="Attention"),)


def test_groups_of_heads_folded_into_queries():
    """Keys of two heads, each for queries of two, which stand behind one another."""

    def grouped(q, k, v):
        n = q.shape[1]
        q = q.view(B, n, 2, 3, 2).permute(0, 2, 3, 1, 4).reshape(B, 2, 3 * n, 2)
        k, v = (part.view(B, -1, 2, 2).transpose(1, 2) for part in (k, v))
        weights = (q @ k.mT).softmax(-1)
        return weights @ v, weights

    module = Attention(grouped, shared=True)
    cap = watch(module, torch.randn(B, T, H * D), torch.randn(B, T + 2, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.detach().reshape(B, 6, T, T + 2), atol=1e-6)
    assert not cap.notes


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("run", [joined, stacked])
def test_heads_that_are_put_together_along_the_first_axis_are_heads(run, mode):
    module = Attention(run)
    with mode():
        cap = watch(module, torch.randn(B, T, H * D), torch.randn(B, T + 2, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.detach(), atol=1e-6)
    assert is_factored(cap)


def test_heads_of_maps_of_their_own_are_heads_where_they_are_stacked():
    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.ModuleList(nn.ModuleList(nn.Linear(8, D) for _ in range(H)) for _ in "qkv")
            self.seen = None

        def forward(self, x):
            q, k, v = (torch.stack([one(x) for one in maps]) for maps in self.maps)
            weights = torch.softmax(q @ k.mT / 2, -1)
            self.seen = weights.transpose(0, 1)
            return weights @ v

    module = Stacked()
    cap = watch(module, torch.randn(B, T, 8))
    np.testing.assert_allclose(whole(cap), module.seen.detach(), atol=1e-6)


def test_examples_that_are_put_together_along_the_first_axis_stay_examples():
    def twins(q, k, v):
        q, k, v = (torch.cat((part[..., :D], part[..., D : 2 * D].flip(1)), 0) for part in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2), -1)
        return weights @ v, weights[:, None]

    module = Attention(twins)
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.detach(), atol=1e-6)


def test_examples_that_are_stacked_with_their_heads_stay_examples():
    def one_by_one(q, k, v):
        q, k, v = (torch.stack([example.view(-1, H, D).transpose(0, 1) for example in part]) for part in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2), -1)
        return weights @ v, weights

    module = Attention(one_by_one)
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.detach(), atol=1e-6)


@pytest.mark.parametrize("order", ["told by memory", "not told"])
def test_which_of_three_leading_axes_counts_heads_is_told_or_noted(order):
    """Windows between examples and heads, or after them."""
    q, k, v = (torch.randn(B, T, 4, H, D) for _ in "qkv")  # (examples, tokens, windows, heads, size)

    class Windows(nn.Module):
        def forward(self, *parts):
            parts = [part.permute(0, 3, 2, 1, 4) for part in parts]
            if order == "not told":
                parts = [part.contiguous() for part in parts]
            return functional.scaled_dot_product_attention(*parts)

    cap = watch(Windows(), q, k, v)
    assert (LAST_AXIS.format(module="Windows", count=3) in cap.notes) == (order == "not told")
    if order == "not told":
        return
    weights = torch.einsum("bqwhd,bkwhd->bwhqk", q, k).div(math.sqrt(D)).softmax(-1)
    np.testing.assert_allclose(whole(cap), weights.flatten(0, 1), atol=1e-6)
