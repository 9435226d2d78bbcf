"""Lift over uniform, against NumPy over the full weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from heads import captures, ranges
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import even_edges, pooled

from attnwidget.attention import (
    AttentionCapture,
    AttentionStack,
    DenseAttention,
    FactoredAttention,
    LiftAttention,
    Mask,
)
from attnwidget.attention.limits import limits


def lifted(cap):
    """The same capture, its weights on the scale that tiles are sent on."""
    return AttentionCapture(
        [
            stack.with_layers([LiftAttention(layer, stack.key_spans) for layer in stack.layers])
            for stack in cap.stacks.values()
        ]
    )


def expected(weights, allowed):
    """Weight over what a uniform row would give: (q, k), in float64."""
    allowed = np.broadcast_to(allowed, weights.shape)
    uniform = allowed / np.maximum(1, allowed.sum(axis=-1, keepdims=True))
    return np.divide(weights, uniform, where=uniform > 0, out=np.zeros(weights.shape))


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_lift_and_its_tiles_equal_numpy_under_any_mask(data):
    cap = data.draw(captures())
    weights, allowed = cap.weights(0, 1), cap.allowed(0, 1)
    if data.draw(st.booleans()):
        dense = DenseAttention(cap.weights(0)[None], cap.stacks["self"].layers[0].mask)
        cap = AttentionCapture([AttentionStack("self", [dense])])
    lift = expected(weights, allowed)
    queries, keys = data.draw(ranges(len(weights))), data.draw(ranges(weights.shape[1]))
    height, width = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    reduce = data.draw(st.sampled_from(["max", "mean"]))
    before, limits.block_bytes = limits.block_bytes, data.draw(st.sampled_from([1, 4000, 1 << 25]))
    try:
        found = cap.lift(0, 1, queries=queries, keys=keys)
        tile = lifted(cap).tile(0, 1, queries=queries, keys=keys, height=height, width=width, reduce=reduce)
    finally:
        limits.block_bytes = before
    assert (found.dtype, tile.values.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(found, lift[slice(*queries), slice(*keys)], rtol=1e-5, atol=1e-6)
    cells = pooled(lift, allowed, even_edges(*queries, height), even_edges(*keys, width), reduce)
    np.testing.assert_allclose(tile.values * weights.shape[1], cells, rtol=2e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_row_of_lift_is_one_on_average_and_a_uniform_one_everywhere(data):
    cap = data.draw(captures())
    allowed, lift = cap.allowed(0, 0), cap.lift(0, 0)
    sinks = cap.stacks["self"].layers[0].sink_share(0, slice(0, 1), slice(0, len(lift)))[0]
    means = [row[may].mean() + sink for row, may, sink in zip(lift, allowed, sinks, strict=True) if may.any()]
    np.testing.assert_allclose(means, 1, rtol=1e-3)
    uniform = np.where(allowed, 1 / np.maximum(1, allowed.sum(axis=1, keepdims=True)), 0).astype(np.float32)
    flat = AttentionCapture([AttentionStack("self", [DenseAttention(uniform[None, None], cap_mask(cap))])])
    np.testing.assert_allclose(flat.lift(0, 0)[allowed], 1, rtol=1e-6)


def cap_mask(cap):
    return cap.stacks["self"].layers[0].mask


def test_padding_is_no_key_that_could_have_been_looked_at():
    weights = np.full((1, 1, 5, 5), 0.25, dtype=np.float32)
    stack = AttentionStack("self", [DenseAttention(weights)], query_spans=[(1, 5)])
    assert AttentionCapture([stack]).lift(0, 0).tolist() == [[1.0] * 4] * 4


def test_masked_zero_and_not_a_number_stay_apart():
    weights = np.array([[[[0.0, 1.0, 0.0], [np.nan, 0.5, 0.0], [0.0, 0.0, 0.0]]]], dtype=np.float32)
    allowed = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=bool)
    packed = np.packbits(allowed, axis=-1)[None, None]
    cap = AttentionCapture([AttentionStack("self", [DenseAttention(weights, Mask(3, 3, bits=packed))])])
    tile = lifted(cap).tile(0, 0, height=3, width=3).values
    np.testing.assert_allclose(tile * 3, [[0, 2, np.nan], [np.inf, 1.5, 0], [np.nan] * 3], rtol=1e-6)


def test_shapes_are_those_of_weights_and_entropy_is_that_of_the_weights():
    q = torch.randn(1, 2, 9, 4, generator=torch.Generator().manual_seed(0))
    layers = [FactoredAttention(q, q, mask=Mask.causal(9, 9)), FactoredAttention(q + 1, q)]
    cap = AttentionCapture([AttentionStack("self", layers)])
    assert cap.lift().shape == (2, 2, 9, 9)
    assert cap.lift(layer=1, queries=[3, 4]).shape == (2, 2, 9)
    derived = lifted(cap)
    np.testing.assert_array_equal(derived.marginals(0, 1).entropy, cap.marginals(0, 1).entropy)
    np.testing.assert_array_equal(derived.scores(0, 1), cap.scores(0, 1))
    assert "lift over uniform" in repr(derived)
    with pytest.raises(IndexError, match="layer 2 does not exist"):
        cap.lift(layer=2)


def test_queries_are_counted_once_for_all_heads_that_share_a_mask():
    asked = []

    class Watched(DenseAttention):
        def allowed(self, example, heads, queries, keys):
            if not isinstance(queries, slice):
                asked.extend(np.asarray(queries).tolist())
            return super().allowed(example, heads, queries, keys)

    lift = LiftAttention(Watched(np.full((1, 3, 8, 8), 1 / 8, np.float32), Mask.causal(8, 8)), [(0, 8)])
    for head in range(3):
        lift.share(0, slice(head, head + 1), np.arange(2, 6))
    np.testing.assert_allclose(lift.share(0, slice(0, 3), slice(0, 8)), [np.arange(1, 9) / 8])
    assert sorted(asked) == list(range(8))
