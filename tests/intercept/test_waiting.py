"""Calls of which numbers are taken as they come by, and which become layers when the model has run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, LlamaConfig, LlamaModel

import attnwidget as aw

HEADS, SIZE, TOKENS, LAYERS = 2, 4, 6, 4


class Overwriting(nn.Module):
    """Attention after which nothing is left of what went in and came out."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x, mask):
        q, k, v = (x.roll(step, 0).clone() for step in (self.number, self.number + 1, self.number + 2))
        mask[self.number + 1, : self.number + 1] = False  # the tensor of the layer before, with other pairs
        self.weights = torch.softmax((q @ k.transpose(-1, -2) * SIZE**-0.5).masked_fill(~mask, -torch.inf), -1)
        output = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        result = output.clone()
        for tensor in (q, k, v, output):
            tensor.fill_(torch.nan)
        return result


class Model(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
        for layer in self.layers:
            x = layer(x, mask)
        return x


@pytest.mark.parametrize("kernel", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], ids=["with lse", "without"])
@pytest.mark.parametrize("inference", [False, True])
def test_what_is_overwritten_afterwards_was_taken_before(inference, kernel):
    model = Model(*(Overwriting(number) for number in range(LAYERS)))
    x = torch.randn(3, HEADS, TOKENS, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(inference), sdpa_kernel([kernel]), aw.capture(model) as cap:
        model(x)
    layers = cap.stacks["self"].layers
    assert [layer.known_lse is not None for layer in layers] == [kernel == SDPBackend.FLASH_ATTENTION] * LAYERS
    for number, layer in enumerate(model.layers):
        for example in range(3):
            found = cap.weights(layer=number, batch=example)
            np.testing.assert_allclose(found, layer.weights[example].numpy(), atol=1e-6)
    assert cap.verify().ok


class ByHand(nn.Module):
    def forward(self, x, mask):
        weights = torch.softmax((x @ x.transpose(-1, -2)).masked_fill(~mask, -torch.inf), -1)
        return weights @ x


def test_layers_stand_in_the_order_they_ran_whoever_computed_them():
    layers = [Overwriting(0), Overwriting(1), ByHand(), Overwriting(2), ByHand()]
    model = Model(*layers)
    with torch.no_grad(), aw.capture(model) as cap:
        model(torch.randn(1, HEADS, TOKENS, SIZE))
    assert [info.path for info in cap.stacks["self"].infos] == [f"layers.{number}" for number in range(5)]
    assert [info.implementation for info in cap.stacks["self"].infos] == ["sdpa", "sdpa", "by hand", "sdpa", "by hand"]


def llama(n_layers=3):
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return LlamaModel(config).eval()


def test_layers_that_wait_are_those_that_do_not():
    """Where captures are nested, each layer is recorded as it comes by."""
    model, ids = llama(), torch.arange(12).reshape(2, 6)
    padding = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    with torch.no_grad(), aw.capture(model) as outer, aw.capture(model) as inner:
        model(ids, padding)
    with torch.no_grad(), aw.capture(model) as cap:
        model(ids, padding)
    assert repr(cap) == repr(inner) == repr(outer)
    assert cap.verify().largest == inner.verify().largest
    assert cap.stacks["self"].layers[0].mask is cap.stacks["self"].layers[2].mask
    for example in range(2):
        np.testing.assert_array_equal(cap.weights(batch=example), inner.weights(batch=example))


def test_a_run_that_follows_finds_the_layers_of_the_one_before():
    model, ids = llama(), torch.arange(8)[None]
    with torch.no_grad(), aw.capture(model) as cap:
        cache = model(ids[:, :5], use_cache=True).past_key_values
        model(ids[:, 5:], past_key_values=cache, use_cache=True)
    with torch.no_grad(), aw.capture(model) as whole:
        model(ids)
    np.testing.assert_allclose(cap.weights(), whole.weights(), atol=1e-6)


def test_a_run_that_breaks_off_leaves_nothing_behind():
    model, seen = llama(), []

    def breaking(module, *args, **kwargs):
        seen.append(module)
        if module.layer_idx == 2:
            raise RuntimeError("layer 2")
        return AttentionInterface()["sdpa"](module, *args, **kwargs)

    AttentionInterface.register("breaking", breaking)
    try:
        model.set_attn_implementation("breaking")
        with pytest.raises(RuntimeError, match="layer 2"), torch.no_grad(), aw.capture(model) as cap:
            model(torch.arange(6)[None])
    finally:
        del AttentionInterface._global_mapping["breaking"]  # transformers offers no other way
    assert len(seen) == 3
    assert repr(cap) == "AttentionCapture('LlamaModel', not filled yet)"


def test_a_limit_is_met_by_layers_that_wait_too():
    """The first layer of each kind tells how much all will take; other sizes of one kind show only as they come."""
    model = Model(*(Overwriting(number) for number in range(LAYERS)))

    def grow(_, args):
        return args[0].repeat(64, 1, 1, 1), args[1]

    model.layers[1].register_forward_pre_hook(grow)
    with (
        pytest.raises(aw.CaptureError, match=r"would hold at least .* are allowed \(the limit\)"),
        torch.no_grad(),
        aw.capture(model, limit=60_000),
    ):
        model(torch.randn(1, HEADS, TOKENS, SIZE))
