"""Which module a layer is said to be: the one that attends, and none that was only handed on."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

H, D = 2, 4
X = torch.randn(2, 6, H * D)


def attend(part, q, k, v):
    return functional.scaled_dot_product_attention(part(q), part(k), v)


class Rope(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("angles", torch.ones(D))

    def forward(self, x):
        return x * self.angles


class Layer(nn.Module):
    def __init__(self, part=None):
        super().__init__()
        self.qkv = nn.Linear(H * D, 3 * H * D)
        if part is not None:
            self.part = part

    def forward(self, x, part=None):
        q, k, v = self.qkv(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
        return attend(part or self.part, q, k, v).transpose(1, 2).flatten(2)


class Net(nn.Module):
    def __init__(self, part, *, is_shared):
        super().__init__()
        self.rope = part if is_shared else None
        self.layers = nn.ModuleList(Layer(None if is_shared else part) for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x, self.rope)
        return x


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("part", [Rope, nn.Identity, lambda: nn.LayerNorm(D), lambda: nn.Dropout(0.0)])
def test_a_helper_that_is_handed_a_module_is_not_that_module(part, is_shared):
    net = Net(part(), is_shared=is_shared)
    with aw.capture(net) as cap:
        net(X)
    assert [info.path for info in cap.stacks["self"].infos] == ["layers.0", "layers.1", "layers.2"]
    assert [info.kind for info in cap.stacks["self"].infos] == ["Layer"] * 3


def run_layer(layer, x):
    q, k, v = layer.qkv(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class FromOutside(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Layer(Rope()) for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = x + run_layer(layer, x)
        return x


def test_a_function_of_the_module_that_projects_is_that_module():
    net = FromOutside()
    with aw.capture(net) as cap:
        net(X)
    assert [info.path for info in cap.stacks["self"].infos] == ["layers.0", "layers.1"]


def bare(function):
    def outer(self, *args):
        return function(self, *args)

    return outer


class Decorated(Layer):
    @bare
    @functools.lru_cache(maxsize=1)  # noqa: B019 - as an odd decorator
    def forward(self, x):
        return super().forward(x)


def bound(layer):
    layer.forward = functools.partial(run_layer, layer)
    return layer


def replaced(layer):
    old = layer.forward
    layer.forward = lambda x: old(x)  # noqa: PLW0108 - another frame
    return layer


@pytest.mark.parametrize(
    "layer", [Decorated(Rope()), bound(Layer(Rope())), replaced(Layer(Rope()))], ids=["decorated", "partial", "lambda"]
)
def test_methods_that_were_wrapped_or_replaced_are_the_module(layer):
    net = nn.Sequential(nn.Identity(), layer)
    with aw.capture(net) as cap:
        net(X)
    assert [info.path for info in cap.stacks["self"].infos] == ["1"]
