"""What runs along the edges of a tile, against NumPy over the full weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from heads import captures, ranges
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import even_edges, pooled

from attnwidget.attention import AttentionCapture, AttentionStack, DenseAttention, FactoredAttention, Mask
from attnwidget.attention.bins import Bins, Picks
from attnwidget.attention.limits import limits


def entropies(weights, allowed):
    """Bits of each row, NaN where nothing is allowed."""
    weights = weights.astype(np.float64)
    terms = np.where(weights > 0, weights * np.log2(np.where(weights > 0, weights, 1)), 0)
    return np.where(allowed.any(axis=1), -terms.sum(axis=1), np.nan)


def mean_by(values, edges):
    """Mean of what is no NaN."""
    cells = [values[start:stop] for start, stop in pairwise(edges)]
    return np.array([cell[~np.isnan(cell)].mean() if (~np.isnan(cell)).any() else np.nan for cell in cells])


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_marginals_equal_numpy(data):
    cap = data.draw(captures())
    weights, allowed = cap.weights(0, 1), cap.allowed(0, 1)
    if data.draw(st.booleans()):
        dense = DenseAttention(cap.weights(0)[None], cap.stacks["self"].layers[0].mask)
        cap = AttentionCapture([AttentionStack("self", [dense])])
    queries, keys = data.draw(ranges(len(weights))), data.draw(ranges(weights.shape[1]))
    height, width = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    before, limits.block_bytes = limits.block_bytes, data.draw(st.sampled_from([1, 4000, 1 << 25]))
    try:
        found = cap.marginals(0, 1, queries=queries, keys=keys, height=height, width=width)
    finally:
        limits.block_bytes = before
    columns = even_edges(*keys, width)
    received = pooled(weights, allowed, [0, len(weights)], columns, "mean")[0]
    assert found.rows is None
    assert (found.received.dtype, found.entropy.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(found.received, received, rtol=1e-5, atol=1e-6)
    bits = mean_by(entropies(weights, allowed), even_edges(*queries, height))
    np.testing.assert_allclose(found.entropy, bits, rtol=1e-4, atol=1e-5)


def test_a_long_head_is_sampled_and_says_so():
    q = torch.randn(1, 1, 700, 8, generator=torch.Generator().manual_seed(0))
    cap = AttentionCapture([AttentionStack("self", [FactoredAttention(q, q, mask=Mask.causal(700, 700))])])
    weights, allowed = cap.weights(0, 0), cap.allowed(0, 0)
    found = cap.marginals(0, 0, queries=(100, 700), height=50, width=70, rows=120)
    assert found.rows == 120
    looked_at = next(Picks(Bins.even(0, 700, 1), 120).panels(700)).positions.ravel()
    received = pooled(weights, allowed, [0, 700], even_edges(0, 700, 70), "mean", looked_at)[0]
    np.testing.assert_allclose(found.received, received, rtol=1e-5, atol=1e-7)
    bits = np.full(700, np.nan)
    edges = even_edges(100, 700, 50)
    some = next(Picks(Bins(np.array(edges[:-1]), 700), 2).panels(700)).positions.ravel()
    bits[some] = entropies(weights, allowed)[some]
    np.testing.assert_allclose(found.entropy, mean_by(bits, edges), rtol=1e-4)
    assert cap.marginals(0, 0, rows=700).rows is None


def test_equal_weights_have_the_entropy_of_their_count():
    layer = FactoredAttention(torch.zeros(1, 1, 8, 4), torch.zeros(1, 1, 8, 4), mask=Mask.causal(8, 8))
    cap = AttentionCapture([AttentionStack("self", [layer])])
    found = cap.marginals(0, 0)
    np.testing.assert_allclose(found.entropy, np.log2(np.arange(1, 9)), atol=1e-6)
    np.testing.assert_allclose(found.received[7], 1 / 8)


def test_what_is_not_a_number_is_left_out():
    q = torch.zeros(1, 1, 4, 2)
    q[0, 0, 2] = torch.nan
    for layer in (
        FactoredAttention(q, torch.zeros(1, 1, 4, 2), mask=Mask.causal(4, 4)),
        DenseAttention(FactoredAttention(q, torch.zeros(1, 1, 4, 2)).weights(0, *[slice(0, 4)] * 3)[None]),
    ):
        found = AttentionCapture([AttentionStack("self", [layer])]).marginals(0, 0)
        assert np.isnan(found.entropy).tolist() == [False, False, True, False]
        assert np.isnan(found.received[:3]).all()


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"rows": 0}, ValueError, "rows is 0; expected an int of at least 1"),
        ({"height": "a"}, ValueError, "height is 'a'; expected an int of at least 1"),
        ({"keys": (0, 9)}, IndexError, "expected 0 <= start < stop <= 3"),
    ],
)
def test_what_marginals_refuse(options, kind, text):
    cap = AttentionCapture.from_weights(np.full((1, 1, 3, 3), 1 / 3))
    with pytest.raises(kind) as error:
        cap.marginals(0, 0, **options)
    assert text in str(error.value)
