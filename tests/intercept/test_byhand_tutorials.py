"""Attention as courses and tutorials write it is shown right, and without a doubt about its axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from seenafter import D, E, H, SeenAfter, T, as_it_is
from torch import nn

import attnwidget as aw


class Attention(SeenAfter):
    def __init__(self, run):
        super().__init__(lambda net, x: run(net, x, *x.shape))
        self.qkv = nn.Linear(E, 3 * E)
        self.each = nn.Linear(D, D)


def nano(net, x, b, t, _):
    q, k, v = (part.view(b, t, H, D).transpose(1, 2) for part in net.qkv(x).split(E, dim=2))
    w = (q @ k.transpose(-2, -1) * (1.0 / math.sqrt(D))).masked_fill(torch.ones(t, t).tril() == 0, -math.inf)
    w = w.softmax(-1)
    return (w @ v).transpose(1, 2).contiguous().view(b, t, E), w, as_it_is


def annotated(net, x, b, *_):
    q, k, v = (fit(x).view(b, -1, H, D).transpose(1, 2) for fit in (net.q, net.k, net.v))
    w = (torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(D)).softmax(-1)
    return torch.matmul(w, v).transpose(1, 2).contiguous().view(b, -1, E), w, as_it_is


def projected_head_by_head(net, x, b, t, _):
    """Heads are split off first, and one map serves all of them."""
    parts = x.reshape(b, t, H, D)
    q, k, v = net.each(parts), net.each(parts) * 2, net.each(parts) * 3
    w = torch.softmax(torch.einsum("nqhd,nkhd->nhqk", [q, k]) / math.sqrt(E), dim=3)
    return torch.einsum("nhql,nlhd->nqhd", [w, v]).reshape(b, t, E), w, as_it_is


def folded_into_the_batch(net, x, *_):
    def fold(part):
        part = part.reshape(part.shape[0], part.shape[1], H, -1).permute(0, 2, 1, 3)
        return part.reshape(-1, part.shape[2], part.shape[3])

    q, k, v = (fold(fit(x)) for fit in (net.q, net.k, net.v))
    w = (torch.bmm(q, k.transpose(1, 2)) / math.sqrt(D)).softmax(-1)
    return torch.bmm(w, v), w, lambda w: w.unflatten(0, (-1, H))


def one_head(net, x, *_):
    w = (net.q(x) @ net.k(x).transpose(-2, -1)).softmax(-1)
    return w @ net.v(x), w, lambda w: w[:, None]


def stacked_projections(net, x, b, t, _):
    q, k, v = net.qkv(x).reshape(b, t, 3, H, D).permute(2, 0, 3, 1, 4).unbind(0)
    w = (q @ k.transpose(-2, -1)).softmax(-1)
    return (w @ v).transpose(1, 2).reshape(b, t, E), w, as_it_is


def rotated_and_cached(net, x, b, t, _):
    q, k, v = (fit(x).view(b, t, H, D).transpose(1, 2) for fit in (net.q, net.k, net.v))
    angles = torch.arange(t)[:, None] * torch.ones(D)

    def rotate(part):
        half = torch.cat((-part[..., D // 2 :], part[..., : D // 2]), -1)
        return part * angles.cos() + half * angles.sin()

    q, k = rotate(q), rotate(k)
    k, v = (torch.cat([part[:, :, :0], part], 2) for part in (k, v))
    w = (q @ k.transpose(-2, -1)).softmax(-1)
    return w @ v, w, as_it_is


def static_cache(net, x, b, t, _):
    q, k, v = (fit(x).view(b, t, H, D) for fit in (net.q, net.k, net.v))
    caches = torch.zeros(2, b, 16, H, D)
    caches[0, :, :t], caches[1, :, :t] = k, v
    q, k, v = (part.transpose(1, 2) for part in (q, *caches[:, :, :t]))
    w = (q @ k.transpose(2, 3) / math.sqrt(D)).softmax(-1)
    return w @ v, w, as_it_is


@pytest.mark.parametrize("n_examples", [1, 3])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize(
    "run",
    [
        nano,
        annotated,
        projected_head_by_head,
        folded_into_the_batch,
        one_head,
        stacked_projections,
        rotated_and_cached,
        static_cache,
    ],
)
def test_heads_are_told(run, mode, n_examples):
    net = Attention(run)
    with mode(), aw.capture(net) as cap:
        net(torch.randn(n_examples, T, E))
    assert cap.stacks["self"].n_examples == n_examples
    for example, weights in enumerate(net.seen):
        np.testing.assert_allclose(cap.weights(0, batch=example), weights, atol=1e-6)
    assert cap.notes == ()
