"""Masks written to between two layers in ways that count no versions: by `data`, and as an array of NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

T, D = 6, 8


class Layers(nn.Module):
    """Three calls of the kernel with one mask, written to before each; it remembers the weights."""

    def __init__(self, write, mask):
        super().__init__()
        self.write, self.mask = write, mask

    def forward(self, x):
        self.seen = []
        for number in range(3):
            self.write(self.mask, number)
            with torch._C.DisableTorchFunction():
                self.seen.append((x @ x.mT * D**-0.5).masked_fill(~self.mask, -torch.inf).softmax(-1))
            x = x + functional.scaled_dot_product_attention(x, x, x, attn_mask=self.mask)
        return x


def by_data(mask, number):
    mask.data[:, number] = False


class ByDataGotOnce:
    """What `data` gave is kept and written to later."""

    def __init__(self):
        self.data = None

    def __call__(self, mask, number):
        self.data = mask.data if self.data is None else self.data
        self.data[:, number] = False


class ByNumpyGotOnce(ByDataGotOnce):
    """Likewise, of NumPy's view."""

    def __call__(self, mask, number):
        self.data = mask.numpy() if self.data is None else self.data
        self.data[:, number] = False


@pytest.mark.parametrize("write", [by_data, ByDataGotOnce(), ByNumpyGotOnce()])
def test_each_layer_has_the_mask_that_it_ran_with(write):
    check(Layers(write, torch.ones(T, T, dtype=torch.bool)))


def test_a_mask_that_is_an_array_of_numpys():
    array = np.ones((T, T), dtype=np.bool_)

    def write(_, number):
        array[:, number] = False

    check(Layers(write, torch.from_numpy(array)))


def check(module):
    with torch.no_grad(), aw.capture(module) as cap:
        module(0.5 * torch.randn(2, 2, T, D))
    for layer, weights in enumerate(module.seen):
        for example in range(2):
            np.testing.assert_allclose(cap.weights(layer=layer, batch=example), weights[example], atol=1e-5)


def test_what_is_not_written_to_is_recognised_once(monkeypatch):
    from attnwidget.attention import memo

    asked = []
    recognise = memo.recognise_mask
    monkeypatch.setattr(memo, "recognise_mask", lambda *args, **options: asked.append(1) or recognise(*args, **options))
    check(Layers(lambda *_: None, torch.ones(T, T, dtype=torch.bool).tril()))
    assert len(asked) == 1
