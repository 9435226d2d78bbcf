"""One module that cannot be recorded: fatal where it leaves a hole, told where it stands apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw


class Attention(nn.Module):
    def forward(self, x):
        q = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)


class Odd(nn.Module):
    """Within a function transform, whose tensors have no values to keep."""

    def forward(self, x):
        q = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return torch.vmap(functional.scaled_dot_product_attention)(q, q, q).transpose(1, 2).flatten(2)


class Model(nn.Module):
    def __init__(self, layers, head):
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"attention": layer}) for layer in layers)
        self.head = nn.ModuleDict({"attention": head})

    def forward(self, x):
        for layer in self.layers:
            x = x + layer["attention"](x)
        return self.head["attention"](x)


X = torch.randn(1, 5, 8)


def test_a_head_that_stands_apart_is_told_and_the_rest_is_shown():
    model = Model([Attention(), Attention()], Odd())
    plain = model(X)
    text = r"attention of head.attention \(sdpa\) could not be recorded: .* It is not in this capture; the other"
    with pytest.warns(aw.AttentionWarning, match=text), aw.capture(model) as cap:
        seen = model(X)
    assert torch.equal(plain, seen)
    assert {name: stack.n_layers for name, stack in cap.stacks.items()} == {"self": 2}
    assert any(note.startswith("attention of head.attention (sdpa) could not be recorded") for note in cap.notes)
    assert "head.attention" in repr(cap)


@pytest.mark.parametrize("place", [0, 1])
def test_a_hole_in_a_list_of_layers_is_an_error(place):
    layers = [Attention(), Attention()]
    layers[place] = Odd()
    model = Model(layers, Attention())
    with pytest.raises(aw.CaptureError, match=rf"attention of layers.{place}.attention"), aw.capture(model):
        model(X)


def test_nothing_else_is_an_error_too():
    model = Model([], Odd())
    text = r"attention of head.attention \(sdpa\) could not be recorded"
    with pytest.raises(aw.CaptureError, match=text), aw.capture(model):
        model(X)
