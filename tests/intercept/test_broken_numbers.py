"""A model that overflows is told apart from a mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.attention import DenseAttention, FactoredAttention, Mask
from attnwidget.attention.finite import with_nan
from attnwidget.intercept import taking, telling
from attnwidget.intercept.kernels import call_kernel
from attnwidget.intercept.telling import FEWEST, lse_tells
from attnwidget.widget.codes import CODE_MASKED, CODE_MISSING
from attnwidget.widget.requests import Answerer


class Look(nn.Module):
    def forward(self, q, k, mask=None):
        return functional.scaled_dot_product_attention(q, k, k, attn_mask=mask)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Look(), Look()

    def forward(self, q, k):
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
        self.first(q, k, mask)
        return self.second(q.where(torch.arange(q.shape[2])[:, None] != 1, torch.nan), k, mask)


def test_a_row_that_is_not_a_number_is_told_and_shown_as_not_known():
    net = Net()
    with pytest.warns(aw.AttentionWarning) as told, aw.capture(net) as cap:
        net(torch.randn(1, 2, 4, 8), torch.randn(1, 2, 4, 8))
    assert str(told[0].message).startswith(
        "1 of 2 layers of stack 'self' hold weights that are not numbers; the first is layer 1 (second). They are "
        "shown as not known. Likely reasons: activations that overflow"
    )
    tile = cap.tile(1, 0).values
    assert np.isposinf(tile[1, :2]).all()
    assert np.isnan(tile[1, 2:]).all()
    np.testing.assert_allclose(cap.tile(1, 0, reduce="mean").values, tile, atol=1e-6)
    place = {"layer": 1, "head": 0, "queries": [0, 4], "keys": [0, 4]}
    where = {"stack": "self", "batch": 0}
    tiles = [{**place, "height": 4, "width": 4, "reduce": "max", "dtype": "u8"}]
    codes = Answerer(cap).answer({"id": 1, "method": "tiles", "params": {**where, "tiles": tiles}}).buffers[0]
    assert list(codes[4:8]) == [CODE_MISSING, CODE_MISSING, CODE_MASKED, CODE_MASKED]
    values = Answerer(cap).answer({"id": 1, "method": "values", "params": {**where, "blocks": [place]}}).buffers[0]
    np.testing.assert_array_equal(np.frombuffer(values, "<f4")[4:8], [-1, -1, np.nan, np.nan])
    np.testing.assert_array_equal(cap.weights(1, 0)[1], [np.nan, np.nan, 0, 0])


@pytest.mark.parametrize("where", ["queries", "keys", "product"])
@pytest.mark.parametrize("tokens", [4, 3 * FEWEST])
@pytest.mark.parametrize("believed", [True, False])
def test_a_layer_whose_numbers_were_only_taken_as_it_ran_is_told_too(monkeypatch, believed, tokens, where):
    """All layers of a kind but the first are made when the run is over."""
    monkeypatch.setattr(taking, "lse_tells", lambda dtype: believed and lse_tells(dtype))
    layers = nn.ModuleList(Look() for _ in range(4))
    good = torch.randn(1, 2, tokens, 8)
    bad = good.clone()
    bad[0, 1, 2] = 1e30 if where == "product" else torch.nan
    told = pytest.warns(aw.AttentionWarning, match=r"1 of 4 layers of stack 'self' .* the first is layer 2 \(2\)")
    with told, aw.capture(layers) as cap:
        for number, layer in enumerate(layers):
            broken = number == 2
            layer(bad if broken and where != "keys" else good, bad if broken and where != "queries" else good)
    assert not np.isfinite(cap.weights(2, 1)[2]).all()
    assert np.isfinite(cap.weights(3)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_kernel_that_loses_what_is_no_number_is_not_believed(monkeypatch, dtype):
    assert lse_tells(dtype), "or the sums are taken, which costs some time and is as right"

    def losing(*args, **options):
        output, lse = call_kernel(*args, **options)
        return output, lse.nan_to_num(posinf=0.0)

    monkeypatch.setattr(telling, "call_kernel", losing)
    lse_tells.cache_clear()
    assert not lse_tells(dtype)
    lse_tells.cache_clear()


@settings(max_examples=60, deadline=None)
@given(st.integers(FEWEST, 600), st.integers(FEWEST, 600), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_what_the_kernel_of_the_cpu_tells(n_queries, n_keys, seed, in_keys, is_causal):
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(1, 1, tokens, 8, generator=generator) for tokens in (n_queries, n_keys))
    part = k if in_keys else q
    part[0, 0, seed % part.shape[2], seed % 8] = [torch.nan, torch.inf, -torch.inf][seed % 3]
    _, lse = call_kernel("cpu flash", q, k, k, None, is_causal=is_causal, scale=None)
    scores = q @ k.mT * 8**-0.5
    if is_causal:
        scores = scores.masked_fill(torch.ones(n_queries, n_keys, dtype=torch.bool).triu(1), -torch.inf)
    broken = ~(scores < torch.inf).all(-1)  # with nothing but -inf a row looks at nothing
    assert not (broken & lse.isfinite()).any()


@pytest.mark.parametrize("value", [1e30, torch.inf, torch.nan])
def test_scores_that_overflow_are_told(value):
    look = Look()
    x = torch.full((1, 2, 4, 8), value)
    told = pytest.warns(aw.AttentionWarning, match="1 of 1 layers of stack 'self' hold weights that are not numbers")
    with told, aw.capture(look) as cap:
        look(x, x)
    assert not np.isfinite(cap.tile(0, 0).values).any()


class Hand(nn.Module):
    def forward(self, q, k, mask):
        return torch.softmax(q @ k.mT * 8**-0.5 + mask, -1) @ k


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("shape", [(1, 1, 40, 40), (2, 3, 40, 40), (1, 1, 1, 40)])
@pytest.mark.parametrize("look", [Look(), Hand()])
def test_a_mask_that_is_not_a_number_is_told(look, shape, value):
    q, k = torch.randn(2, 3, 40, 8), torch.randn(2, 3, 40, 8)
    mask = torch.randn(shape)
    mask[..., -1, 5] = value
    told = pytest.warns(
        aw.AttentionWarning, match=r"1 of 1 layers of stack 'self' .*, or parameters or a mask with NaN or infinity"
    )
    with told, aw.capture(look) as cap:
        look(q, k, mask)
    expected = torch.softmax(q @ k.mT * 8**-0.5 + mask, -1).numpy()
    for example in range(2):
        np.testing.assert_allclose(cap.weights(0, batch=example), expected[example], atol=1e-6)


def test_layers_on_a_device_with_such_a_mask_are_told_together(monkeypatch):
    monkeypatch.setattr(FactoredAttention, "telling", property(lambda layer: (layer.q, layer.k)))
    bias = np.zeros((1, 1, 4, 4), dtype=np.float32)
    broken = bias.copy()
    broken[0, 0, 1, 2] = np.inf
    q = torch.randn(1, 2, 4, 8)
    layers = [FactoredAttention(q, q, mask=Mask(4, 4, bias=part)) for part in (bias, broken, bias)]
    assert with_nan(layers) == [1]


def test_what_is_no_number_where_the_mask_forbids_changes_nothing():
    bias = torch.zeros(4, 4)
    bias[1, 3] = torch.nan
    q = torch.randn(1, 2, 4, 8)
    layer = FactoredAttention(q, q, mask=Mask(4, 4, highest=0, bias=bias.numpy()[None, None]))
    assert not layer.has_nan()
    wanted = (q @ q.mT * 8**-0.5).masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    np.testing.assert_allclose(layer.weights(0, slice(0, 2), slice(0, 4), slice(0, 4)), wanted[0], atol=1e-6)


@pytest.mark.parametrize("tokens", [4, 200])
def test_a_row_with_an_infinite_score_is_no_number_as_softmax_has_it(tokens):
    q, k = torch.randn(1, 2, tokens, 8), torch.randn(1, 2, tokens, 8)
    k[0, 1, 2, 3], q[0, 1, 0, 3] = torch.inf, 1
    layer = FactoredAttention(q, k)
    assert layer.has_nan()
    every = slice(0, 2), slice(0, tokens)
    wanted = torch.softmax(q @ k.mT * 8**-0.5, -1)[0].numpy()
    np.testing.assert_allclose(layer.weights(0, *every, slice(0, tokens)), wanted, atol=1e-6)
    np.testing.assert_allclose(layer.rows(0, *every), wanted, atol=1e-6)


def test_padding_that_is_not_a_number_and_rows_that_see_nothing_are_no_reason_to_worry():
    look, mask = Look(), torch.ones(4, 4, dtype=torch.bool).tril()
    k = torch.randn(1, 2, 4, 8)
    k[:, :, 3] = torch.nan
    mask[:, 3] = mask[0] = False
    with aw.capture(look) as cap:  # a warning would be an error here
        look(torch.randn(1, 2, 4, 8), k, mask)
    np.testing.assert_allclose(cap.weights(0).sum(-1)[:, 1:], 1, atol=1e-5)
    assert not cap.weights(0)[:, 0].any()


@pytest.mark.parametrize("where", ["q", "k", "product", "lse", "nowhere"])
@pytest.mark.parametrize("known", [False, True])
def test_layers_on_a_device_are_told_together(monkeypatch, known, where):
    """As on a device, which is asked once."""
    asked = []
    monkeypatch.setattr(
        FactoredAttention,
        "telling",
        property(
            lambda layer: asked.append(1) or (layer.q, layer.k, *([] if layer.known_lse is None else [layer.known_lse]))
        ),
    )
    layers = []
    for number in range(4):
        q, k = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 5, 8)
        broken = number == 2
        if broken and where == "q":
            q[0, 1, 2, 3] = torch.nan
        if broken and where == "k":
            k[0, 0, 1, 7] = torch.nan
        if broken and where == "product":
            q[0, 0, 1, 3] = k[0, 0, 1, 3] = 1e30
        lse = torch.logsumexp(q @ k.mT * 8**-0.5, -1) if known else None
        if broken and known and where == "lse":
            lse[0, 0, 0] = -torch.inf  # only a suspicion: the row may look at nothing
        dtype = torch.bfloat16 if number % 2 else torch.float32
        layers.append(FactoredAttention(q.to(dtype), k.to(dtype), lse))
    assert with_nan(layers) == ([2] if where in {"q", "k", "product"} else [])
    assert len(asked) == len(layers)


def test_weights_a_model_returned():
    weights = np.full((2, 1, 3, 3), 1 / 3)
    weights[1, 0, 0, 2] = np.nan
    assert DenseAttention(weights).has_nan()
    assert not DenseAttention(weights, Mask.causal(3, 3)).has_nan()
    assert not DenseAttention(weights[:1]).has_nan()


def test_no_weight_is_above_one():
    look, q = Look(), torch.randn(1, 2, 64, 8) * 30
    with aw.capture(look) as cap:
        look(q, q, torch.where(torch.rand(64, 64) > 0.5, 0.0, -1e4))
    assert cap.weights().max() <= 1
