"""Tiles against NumPy pooling of the full weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import AttentionCapture, AttentionStack, FactoredAttention, recognise_mask
from attnwidget.attention.limits import limits


def capture_of(mask, queries, keys, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(1, 2, queries, 4, generator=generator)
    k = torch.randn(1, 2, keys, 4, generator=generator)
    layer = FactoredAttention(q, k, mask=recognise_mask(mask, n_queries=queries, n_keys=keys))
    return AttentionCapture([AttentionStack("self", [layer])])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_tile_is_numpy_pooling_of_the_full_matrix(data):
    queries, keys = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    allowed = np.tri(queries, keys, dtype=bool) if data.draw(st.booleans()) else rng.random((queries, keys)) > 0.5
    cap = capture_of(allowed, queries, keys)
    a = data.draw(st.integers(0, queries - 1))
    b = data.draw(st.integers(a + 1, queries))
    c = data.draw(st.integers(0, keys - 1))
    d = data.draw(st.integers(c + 1, keys))
    height, width = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    reduce = data.draw(st.sampled_from(["max", "mean"]))
    block = data.draw(st.sampled_from([1, 32 * 40 * 3, 1 << 25]))
    before, limits.block_bytes = limits.block_bytes, block
    try:
        tile = cap.tile(0, 1, queries=(a, b), keys=slice(c, d), height=height, width=width, reduce=reduce)
    finally:
        limits.block_bytes = before
    height, width = min(height, b - a), min(width, d - c)
    weights = np.where(allowed, cap.weights(0, 1), np.nan).astype(np.float64)
    rows = [a + (r * (b - a)) // height for r in range(height)] + [b]
    columns = [c + (r * (d - c)) // width for r in range(width)] + [d]
    expected = np.full((height, width), np.nan)
    for r in range(height):
        for s in range(width):
            cell = weights[rows[r] : rows[r + 1], columns[s] : columns[s + 1]]
            if not np.isnan(cell).all():
                expected[r, s] = np.nanmax(cell) if reduce == "max" else np.nanmean(cell)
    assert tile.values.dtype == np.float32
    assert (tile.queries, tile.keys, tile.reduce, tile.exact) == ((a, b), (c, d), reduce, True)
    np.testing.assert_allclose(tile.values, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"height": 0}, ValueError, "height is 0; expected an int of at least 1"),
        ({"width": True}, ValueError, "width is True; expected an int of at least 1"),
        ({"reduce": "min"}, ValueError, "reduce is 'min'; expected 'max' or 'mean'"),
        ({"queries": (3, 3)}, IndexError, "queries (3, 3) do not exist: example 0 of stack 'self' has queries 0 to 5"),
        ({"keys": (0, 9)}, IndexError, "expected 0 <= start < stop <= 6"),
        ({"keys": [1, 2, 3]}, TypeError, "keys are [1, 2, 3]; expected a range (start, stop) or a slice"),
        ({"batch": 1}, IndexError, "example 1 does not exist: stack 'self' has examples 0 to 0"),
        ({"stack": "cross"}, KeyError, "stack 'cross' does not exist: this capture has 'self'"),
    ],
)
def test_what_a_tile_refuses(options, kind, text):
    with pytest.raises(kind) as error:
        capture_of(None, 6, 6).tile(0, 0, **options)
    assert text in str(error.value)


def test_a_list_is_no_range():
    with pytest.raises(TypeError, match=r"queries are \[0, 2\]; expected a range \(start, stop\) or a slice"):
        capture_of(None, 3, 3).tile(0, 0, queries=[0, 2])
