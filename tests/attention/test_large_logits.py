"""Rows all of whose logits are far from 0: as the model had them, whatever a float32 of minus a billion cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pooled import even_edges, pooled
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.attention import (
    AttentionCapture,
    AttentionStack,
    FactoredAttention,
    LiftAttention,
    recognise_mask,
)
from attnwidget.attention.limits import limits

HEADS, QUERIES, KEYS = 2, 40, 150
ALL = slice(0, HEADS), slice(0, QUERIES), slice(0, KEYS)
FAR = [-300.0, -1e4, -1e6, -1e9, -1e30, 1e5]


class Look(nn.Module):
    def forward(self, q, k, mask):
        return functional.scaled_dot_product_attention(q, k, k, attn_mask=mask, scale=0.5)


def factors(batch=1):
    """Sums of their products have no rounding, so that they are the same in whatever order they are added up."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randint(-6, 7, (batch, HEADS, QUERIES, 4), generator=generator) / 4
    k = torch.randint(-6, 7, (batch, HEADS, KEYS, 4), generator=generator) / 4
    return q, k


def far_mask(far):
    """Causal and padded by a finite number, as some models do it: the first rows may look at nothing."""
    allowed = torch.ones(QUERIES, KEYS, dtype=torch.bool).tril()
    allowed[:, :3] = False
    allowed[:, 100:] = False
    return torch.where(allowed, 0.0, far)


def softmax_of(q, k, mask, scale=0.5, sinks=None):
    """(H, Tq, Tk) float64, of logits that are rounded to float32 as the model rounds them."""
    logits = (q @ k.mT * scale + mask)[0].double()
    if sinks is not None:
        logits = torch.cat([logits, sinks.double()[:, None, None].expand(HEADS, QUERIES, 1)], -1)
    return logits.softmax(-1)[..., :KEYS].numpy()


def captured(q, k, mask):
    module = Look()
    with aw.capture(module) as cap:
        module(q, k, mask)
    assert cap.stacks["self"].layers[0].known_lse is not None, "as the kernel gave it"
    return cap


def made(q, k, mask):
    layer = FactoredAttention(q, k, scale=0.5, mask=recognise_mask(mask, n_queries=QUERIES, n_keys=KEYS))
    return AttentionCapture([AttentionStack("self", [layer])])


@pytest.fixture(params=[4000, 1 << 25])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(limits, "block_bytes", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("way", [captured, made])
@pytest.mark.parametrize("far", FAR)
def test_rows_that_may_look_at_nothing_are_what_the_model_computed(far, way):
    q, k = factors()
    mask = far_mask(far)
    expected = softmax_of(q, k, mask)
    assert far > 0 or expected[0, 0].max() < 0.2, "a row that looks everywhere"
    cap = way(q, k, mask)
    layer = cap.stacks["self"].layers[0]
    np.testing.assert_allclose(cap.weights(0), expected, atol=2e-6)
    np.testing.assert_allclose(
        cap.weights(0, 1, queries=[5, 0], keys=[7, 149]), expected[1][[5, 0]][:, [7, 149]], atol=2e-6
    )
    np.testing.assert_allclose(layer.rows(0, slice(0, HEADS), np.array([1, 30])), expected[:, [1, 30]], atol=2e-6)
    for reduce in ("max", "mean"):
        tile = cap.tile(0, 1, height=7, width=11, reduce=reduce).values
        edges = even_edges(0, QUERIES, 7), even_edges(0, KEYS, 11)
        np.testing.assert_allclose(tile, pooled(expected[1], cap.allowed(0, 1), *edges, reduce), atol=2e-6)
    logs = np.log2(expected[0], out=np.zeros_like(expected[0]), where=expected[0] > 0)
    bits = layer.entropies(0, 0, np.arange(QUERIES))
    np.testing.assert_allclose(bits, -(expected[0] * logs).sum(-1), atol=1e-4)
    np.testing.assert_array_equal(cap.scores(0), (q @ k.mT * 0.5)[0])


@pytest.mark.parametrize("way", [captured, made])
@pytest.mark.parametrize("far", FAR)
def test_one_pair_of_such_a_row(far, way):
    q, k = factors()
    mask = far_mask(far)
    expected = softmax_of(q, k, mask)
    pair = way(q, k, mask).detail(0, 1, 0, 9)
    np.testing.assert_allclose(pair.weight, expected[1, 0, 9], atol=2e-6)
    assert pair.bias == np.float32(far)
    np.testing.assert_allclose(pair.log_weight, np.log(expected[1, 0, 9]), atol=2e-5)
    np.testing.assert_allclose(pair.lse, float((q @ k.mT * 0.5 + mask)[0, 1, 0].logsumexp(-1)), rtol=1e-6)
    assert pair.score == float((q @ k.mT * 0.5)[0, 1, 0, 9])


@pytest.mark.parametrize("far", FAR)
def test_lift_of_such_rows(far):
    q, k = factors()
    mask = far_mask(far)
    cap = captured(q, k, mask)
    expected = softmax_of(q, k, mask) * KEYS
    np.testing.assert_allclose(cap.lift(0), expected, atol=2e-4)
    stack = cap.stacks["self"]
    lifted = AttentionCapture([stack.with_layers([LiftAttention(stack.layers[0], stack.key_spans)])])
    tile = lifted.tile(0, 0, height=7, width=11).values * KEYS
    edges = even_edges(0, QUERIES, 7), even_edges(0, KEYS, 11)
    np.testing.assert_allclose(tile, pooled(expected[0], cap.allowed(0, 0), *edges, "max"), atol=2e-4)


@pytest.mark.parametrize("sink", [-2e9, -1e9, -1e9 + 64, 0.5, 1e6])
@pytest.mark.parametrize("far", [-300.0, -1e9])
def test_such_rows_beside_a_sink(far, sink):
    q, k = factors()
    mask = far_mask(far)
    sinks = torch.tensor([sink, 0.3])
    expected = softmax_of(q, k, mask, sinks=sinks)
    layer = FactoredAttention(q, k, scale=0.5, sinks=sinks, mask=recognise_mask(mask, n_queries=QUERIES, n_keys=KEYS))
    np.testing.assert_allclose(layer.weights(0, *ALL), expected, atol=2e-6)
    np.testing.assert_allclose(layer.rows(0, *ALL[:2]), expected, atol=2e-6)
    np.testing.assert_allclose(layer.sink_share(0, *ALL[:2]), 1 - expected.sum(-1), atol=4e-6)


def test_scores_with_a_large_common_part():
    """As a bias of keys makes them: no mask is needed for that."""
    q, k = factors()
    q, k = (torch.cat([part, torch.full_like(part[..., :1], common)], -1) for part, common in ((q, 1.0), (k, 65536.0)))
    expected = softmax_of(q, k, torch.zeros(QUERIES, KEYS))
    for way in (captured, made):
        np.testing.assert_allclose(way(q, k, torch.zeros(QUERIES, KEYS)).weights(0), expected, atol=2e-6)


def test_only_rows_that_need_it_are_computed_again_and_the_kernels_own_numbers_stay():
    q, k = factors()
    layer = captured(q, k, far_mask(-1e9)).stacks["self"].layers[0]
    given, before = layer.known_lse.clone(), layer.nbytes
    layer.weights(0, slice(0, 1), slice(10, 20), slice(0, 5))
    assert layer.denominators.known_rows[0, 0].nonzero()[0].tolist() == list(range(3, QUERIES))
    assert layer.nbytes <= before + HEADS * QUERIES
    layer.weights(0, slice(0, 1), slice(2, 20), slice(0, 5))
    assert layer.denominators.known_rows[0, 0].nonzero()[0].tolist() == list(range(2, QUERIES))
    layer.weights(0, *ALL)
    assert not layer.denominators.known_rows
    assert layer.nbytes == before + HEADS * 2 * QUERIES * 4
    assert torch.equal(layer.known_lse, given)


def test_a_model_of_transformers_with_a_mask_of_minus_a_billion():
    import tiny

    ids = tiny.ids(2, 8)
    allowed = torch.ones(8, 8, dtype=torch.bool).tril().repeat(2, 1, 1, 1)
    allowed[1, :, :, :3] = False
    mask = torch.where(allowed, 0.0, -1e9)
    model = tiny.llama(2)
    eager = tiny.llama(2, attn_implementation="eager")
    eager.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = eager(ids, attention_mask=mask, output_attentions=True).attentions
        with aw.capture(model) as cap:
            model(ids, attention_mask=mask)
    for layer, example in ((0, 0), (0, 1), (1, 1)):
        np.testing.assert_allclose(cap.weights(layer, batch=example), expected[layer][example], atol=1e-5)
    assert cap.verify().ok
