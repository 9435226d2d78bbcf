"""A softmax written by hand between two products: weights, layouts, masks, factors where they explain the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

HEADS, SIZE, TOKENS = 4, 8, 7
WIDTH = HEADS * SIZE


class Block(nn.Module):
    """Attention as small models write it; what it computed stays in `seen`, (B, H, Tq, Tk)."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("past", torch.ones(64, 64).tril()[None, None])
        self.seen = None

    def split(self, x):
        q, k, v = self.mix(x).split(WIDTH, dim=-1)
        return (part.view(*x.shape[:2], HEADS, SIZE).transpose(1, 2) for part in (q, k, v))  # (B, H, T, d)

    def forward(self, x):
        q, k, v = self.split(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(SIZE)
        scores = scores.masked_fill(self.past[:, :, : x.shape[1], : x.shape[1]] == 0, -torch.inf)
        self.seen = functional.softmax(scores, dim=-1)
        return (self.drop(self.seen) @ v).transpose(1, 2).reshape(x.shape)


class Merged(Block):
    """Batch and heads in one axis, as fairseq and what is modelled on it write it."""

    def forward(self, x):
        length = x.shape[1]
        q, k, v = (part.reshape(-1, length, SIZE) for part in self.split(x))  # (B * H, T, d)
        scores = torch.bmm(q * SIZE**-0.5, k.transpose(1, 2)) + torch.full((length, length), -torch.inf).triu(1)
        weights = torch.softmax(scores, -1)
        self.seen = weights.view(-1, HEADS, length, length)
        mixed = torch.bmm(self.drop(weights), v).view(-1, HEADS, length, SIZE)
        return mixed.transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("kind", [Block, Merged])
@pytest.mark.parametrize("training", [False, True])
def test_weights_before_dropout_as_factors_and_outputs_to_the_bit(kind, training):
    torch.manual_seed(0)
    net = nn.Sequential(kind(0.3), kind(0.3)).train(training)
    x = torch.randn(2, TOKENS, WIDTH)
    torch.manual_seed(1)
    plain = net(x)
    torch.manual_seed(1)
    with aw.capture(net) as cap:
        seen = net(x)
    assert torch.equal(plain, seen)
    stack = cap.stacks["self"]
    assert [(info.path, info.implementation) for info in stack.infos] == [("0", "by hand"), ("1", "by hand")]
    assert stack.layers[0].mask is stack.layers[1].mask
    assert "q k float32, causal" in repr(cap)
    for layer in range(2):
        for example in range(2):
            wanted = net[layer].seen[example].detach().numpy()
            np.testing.assert_allclose(cap.weights(layer, batch=example), wanted, atol=1e-6)
            assert (cap.allowed(layer, batch=example) == (wanted > 0)).all()


def of_squares(module, query, key, value, attention_mask, **_):
    """Attention that looks at the square of the scores, which no arguments explain, and returns no weights."""
    weights = torch.softmax((query @ key.transpose(-1, -2)).square() + attention_mask, dim=-1)
    module.seen = weights
    return (weights @ value).transpose(1, 2).contiguous(), None


def test_inside_an_interface_call_what_was_seen_counts_where_its_arguments_do_not_explain_it():
    import transformers as tf
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS["of_squares"] = of_squares
    try:
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = tf.LlamaModel(tf.LlamaConfig(vocab_size=50, **sizes)).eval()
        for parameter in model.parameters():
            parameter.data.mul_(2 if parameter.ndim == 1 else 8)
        model.config._attn_implementation = "of_squares"
        ids, mask = torch.randint(0, 50, (1, 6)), torch.full((6, 6), -torch.inf).triu(1)[None, None]
        with torch.no_grad():
            plain = model(ids, attention_mask=mask)[0]
            with aw.capture(model) as cap:
                assert torch.equal(model(ids, attention_mask=mask)[0], plain)
    finally:
        del ALL_ATTENTION_FUNCTIONS["of_squares"]
    stack = cap.stacks["self"]
    assert [(info.path, info.implementation) for info in stack.infos] == [
        ("layers.0.self_attn", "of_squares"),
        ("layers.1.self_attn", "of_squares"),
    ]
    for layer in range(2):
        np.testing.assert_allclose(cap.weights(layer), model.layers[layer].self_attn.seen[0].numpy(), atol=1e-6)
        assert stack.layers[layer].detail == "weights, float32, causal"
