"""A softmax over two sets of keys, whose weights meet their values in two products."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import attnwidget as aw

GLOBAL, LOCAL, QUERIES, HEADS, SIZE = 3, 5, 5, 2, 4


class Block(nn.Module):
    """Looks at a few global tokens and at its own, as in global-local attention (Phang et al. 2022)."""

    def forward(self, q, k, v, *, keep=slice(None)):
        scores = torch.cat([q @ k[:, :, part].transpose(2, 3) for part in (slice(GLOBAL), slice(GLOBAL, None))], -1)
        self.weights = (scores / SIZE**0.5).softmax(-1)
        local = self.weights[..., GLOBAL:] @ v[:, :, GLOBAL:]
        return local[:, :, keep] + (self.weights[..., :GLOBAL] @ v[:, :, :GLOBAL])[:, :, keep]


def tensors():
    torch.manual_seed(0)
    keys = torch.randn(2, 2, HEADS, GLOBAL + LOCAL, SIZE) * 2
    return torch.randn(2, HEADS, QUERIES, SIZE), keys[0], keys[1]


def test_rows_over_all_keys_are_shown_whole():
    block, given = Block(), tensors()
    plain = block(*given)
    with aw.capture(block) as cap:
        seen = block(*given)
    assert torch.equal(plain, seen)
    assert cap.stacks["self"].n_layers == 1
    for example in range(2):
        found = cap.weights(0, batch=example)
        assert found.shape == (HEADS, QUERIES, GLOBAL + LOCAL)
        np.testing.assert_allclose(found, block.weights[example].numpy(), atol=1e-6)
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_keys_without_weight_may_be_cut_off():
    class Padded(nn.Module):
        def forward(self, q, k, v):
            scores = (q @ k.transpose(2, 3)).masked_fill(torch.arange(GLOBAL + LOCAL) >= LOCAL, -torch.inf)
            return scores.softmax(-1)[..., :LOCAL] @ v[:, :, :LOCAL]

    block, given = Padded(), tensors()
    with aw.capture(block) as cap:
        block(*given)
    assert cap.weights(0).shape == (HEADS, QUERIES, LOCAL)
    np.testing.assert_allclose(cap.weights(0).sum(-1), 1, atol=1e-5)
