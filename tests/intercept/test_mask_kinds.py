"""Masks of kinds that decide for themselves what a kernel makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right, causal_upper_left

import attnwidget as aw

pytestmark = pytest.mark.filterwarnings("ignore:Lower right causal bias will produce NaNs")


class Look(nn.Module):
    def forward(self, q, k, mask, **options):
        return functional.scaled_dot_product_attention(q, k, k, attn_mask=mask, **options)


def wanted(q, k, allowed):
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1).nan_to_num(0).numpy()


@pytest.mark.parametrize(("make", "lower_right"), [(causal_upper_left, False), (causal_lower_right, True)])
@pytest.mark.parametrize(("n_queries", "n_keys"), [(9, 9), (4, 9), (9, 4)])
@pytest.mark.parametrize("lead", [(1, 2), (3, 2), (2, 3, 2)])
def test_a_causal_bias_is_the_rule_that_it_stands_for(make, lower_right, n_queries, n_keys, lead):
    q, k = torch.randn(*lead, n_queries, 8), torch.randn(*lead, n_keys, 8)
    module, mask = Look(), make(n_queries, n_keys)
    plain = module(q, k, mask)
    with aw.capture(module) as cap:
        seen = module(q, k, mask)
    assert torch.equal(plain.nan_to_num(9), seen.nan_to_num(9))
    allowed = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries if lower_right else 0)
    expected = wanted(q, k, allowed).reshape(-1, lead[-1], n_queries, n_keys)
    for example in range(len(expected)):
        np.testing.assert_allclose(cap.weights(0, batch=example), expected[example], atol=1e-6)
    assert cap.stacks["self"].layers[0].mask.nbytes == 0


def test_a_causal_bias_passed_through_transformers():
    model, ids = tiny.llama(2), tiny.ids(2, 7)
    with torch.no_grad(), aw.capture(model) as plain:
        model(ids)

    def with_bias(module, args, options):
        return args, {**options, "attention_mask": causal_upper_left(7, 7)}

    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(with_bias, with_kwargs=True)
    with torch.no_grad(), aw.capture(model) as cap:
        model(ids)
    np.testing.assert_allclose(cap.weights(1, batch=1), plain.weights(1, batch=1), atol=1e-6)


class Reversed(torch.Tensor):
    """Allows what its numbers forbid."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is functional.scaled_dot_product_attention:
            return cls.reverse(*args, **kwargs or {})
        return super().__torch_function__(func, types, args, kwargs or {})

    @staticmethod
    def reverse(q, k, v, attn_mask, *_, **__):
        return functional.scaled_dot_product_attention(q, k, v, ~attn_mask.as_subclass(torch.Tensor))


class Named(torch.Tensor):
    """A tensor by another name."""


def test_another_kind_with_a_rule_of_its_own_is_refused_by_name():
    q = torch.randn(1, 2, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1).as_subclass(Reversed)
    module = Look()
    plain = module(q, q, mask)
    seen = []
    with pytest.raises(aw.CaptureError, match=r"its mask is a Reversed, .* a rule of its own"), aw.capture(module):
        seen.append(module(q, q, mask))
    assert torch.equal(plain, seen[0])


def test_a_kind_without_a_rule_is_read_as_it_is():
    q = torch.randn(1, 2, 5, 8)
    allowed = torch.ones(5, 5, dtype=torch.bool).tril()
    module = Look()
    with aw.capture(module) as cap:
        module(q, q, allowed.as_subclass(Named))
    np.testing.assert_allclose(cap.weights(0), wanted(q, q, allowed)[0], atol=1e-6)
