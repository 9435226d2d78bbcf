"""Modules written by torch.export, and functions of torch.ops.aten called by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

B, H, T, D = 2, 3, 7, 4
ALLOWED = torch.ones(T, T, dtype=torch.bool).tril()
aten = torch.ops.aten


class Layer(nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.qkv, self.attend = nn.Linear(H * D, 3 * H * D), attend

    def forward(self, x):
        q, k, v = self.heads(x)
        return x + self.attend(q, k, v).transpose(1, 2).flatten(2)

    def heads(self, x):
        return self.qkv(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D)


class Net(nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.layers = nn.ModuleList(Layer(attend) for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def by_kernel(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def by_hand(q, k, v):
    scores = (q @ k.mT * D**-0.5).masked_fill(torch.ones(T, T).triu(1) > 0, -torch.inf)
    return torch.softmax(scores, -1) @ v


def by_hand_in_pieces(q, k, v):
    parts = ((q @ k.mT).div(D**0.5) + torch.full((T, T), -torch.inf).triu(1)).exp()
    return parts / parts.sum(-1, keepdim=True) @ v[:, :, 0:T]


def expected(layer, x):
    """(B, H, T, T)."""
    q, k, _ = layer.heads(x)
    return torch.softmax((q @ k.mT * D**-0.5).masked_fill(~ALLOWED, -torch.inf), -1)


WAYS = {
    "as it is": lambda program: program.module(),
    "decomposed": lambda program: program.run_decompositions().module(),
    "in modules again": torch.export.unflatten,
}


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("attend", [by_kernel, by_hand, by_hand_in_pieces])
@torch.no_grad()
def test_an_exported_module(attend, way):
    net, x = Net(attend), torch.randn(B, T, H * D)
    module = WAYS[way](torch.export.export(net, (x,)))
    plain = module(x)
    with aw.capture(module) as cap:
        output = module(x)
    assert torch.equal(output, plain)
    assert cap.stacks["self"].n_layers == 2
    for number, layer in enumerate(net.layers):
        np.testing.assert_allclose(cap.weights(number, head=1, batch=1), expected(layer, x)[1, 1], atol=1e-5)
        x = layer(x)
    assert cap.verify().ok
    # Modules that were exported hold all layers in one, unless they are made apart again.
    twice = (
        "the module attends 2 times in one run: each time is a layer of its own, in the order they ran (0-1 of stack "
        "'self')"
    )
    assert cap.notes == (() if way == "in modules again" else (twice,))


CALLS = {
    "packets": lambda q, k, v: aten.matmul(aten.softmax(aten.matmul(q, k.mT) * D**-0.5 + BIAS, -1), v),
    "overloads": lambda q, k, v: aten.matmul.default(
        aten._softmax.default(aten.add.Tensor(aten.mul.Tensor(aten.matmul.default(q, k.mT), D**-0.5), BIAS), -1, False),
        v,
    ),
    "in place": lambda q, k, v: aten.mul_.Tensor(q @ k.mT, D**-0.5).add_(BIAS).softmax(-1) @ v,
    "kernel": lambda q, k, v: aten.scaled_dot_product_attention(q, k, v, is_causal=True),
}
BIAS = torch.full((T, T), -torch.inf).triu(1)


@pytest.mark.parametrize("name", CALLS)
@torch.no_grad()
def test_functions_of_aten_called_by_name(name):
    net, x = Net(CALLS[name]), torch.randn(B, T, H * D)
    with aw.capture(net) as cap:
        net(x)
    np.testing.assert_allclose(cap.weights(0, head=2, batch=1), expected(net.layers[0], x)[1, 2], atol=1e-5)
    assert [info.path for info in cap.stacks["self"].infos] == ["layers.0", "layers.1"]
    assert cap.verify().ok


@torch.no_grad()
def test_a_kernel_called_by_name_is_refused_by_name():
    net = Net(lambda q, k, v: aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0])
    with pytest.raises(aw.CaptureError) as error, aw.capture(net):
        net(torch.randn(B, T, H * D))
    assert (
        "attention of layers.0 (fused) could not be recorded: it calls "
        "torch._scaled_dot_product_flash_attention_for_cpu, a fused kernel that keeps its queries, keys and weights"
    ) in str(error.value)
