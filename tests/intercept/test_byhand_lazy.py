"""Weights that a later layer takes over from an earlier one (LazyFormer, Ying et al. 2021)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import attnwidget as aw

B, H, T, D = 2, 2, 6, 4


class Attends(nn.Module):
    def __init__(self, *, twice=False):
        super().__init__()
        self.qkv, self.table, self.twice = nn.Linear(H * D, 3 * H * D), nn.Linear(D, D), twice

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.mT * D**-0.5, -1)
        out = weights @ v
        if self.twice:
            out = out + weights @ self.table(v)
        return out.transpose(1, 2).flatten(2), weights


class TakesOver(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Linear(H * D, H * D)

    def forward(self, x, weights):
        return (weights @ self.value(x).unflatten(-1, (H, D)).transpose(1, 2)).transpose(1, 2).flatten(2)


class Lazy(nn.Module):
    def __init__(self, *, twice=False):
        super().__init__()
        self.first, self.lazy = Attends(twice=twice), nn.ModuleList([TakesOver(), TakesOver()])

    def forward(self, x):
        out, weights = self.first(x)
        for layer in self.lazy:
            x = x + out
            out = layer(x, weights)
        return x + out, weights


@pytest.mark.parametrize("twice", [False, True])
def test_each_layer_that_uses_them_is_one(twice):
    net = Lazy(twice=twice)
    with aw.capture(net) as cap:
        _, weights = net(torch.randn(B, T, H * D))
    assert [info.path for info in cap.stacks["self"].infos] == ["first", "lazy.0", "lazy.1"]
    for layer in range(3):
        np.testing.assert_allclose(cap.weights(layer, head=1, batch=1), weights[1, 1].detach(), atol=1e-6)
    assert cap.verify().ok
    assert not cap.notes


class Above(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Attends()

    def forward(self, x):
        out, weights = self.first(x)
        return out + (weights @ x.unflatten(-1, (H, D)).transpose(1, 2)).transpose(1, 2).flatten(2)


def test_what_it_is_part_of_may_use_them_too():
    net = Above()
    with aw.capture(net) as cap:
        net(torch.randn(B, T, H * D))
    assert [info.path for info in cap.stacks["self"].infos] == ["first"]
    (note,) = cap.notes
    assert note == (
        "weights that Attends multiplied with values are multiplied with others in Above: they are shown once"
    )
