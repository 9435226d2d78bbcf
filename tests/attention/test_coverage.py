"""What a mask allows in blocks, against the mask pair by pair."""

from __future__ import annotations

import numpy as np
from heads import MASKS, mask_of, ranges
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import Mask
from attnwidget.attention.bins import Bins
from attnwidget.attention.coverage import ALL, NONE, SOME, coverage, runs


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_none_and_all_are_only_said_where_they_hold(data):
    n_queries, n_keys = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    kind = data.draw(st.sampled_from(MASKS))
    mask = mask_of(kind, n_queries, n_keys, np.random.default_rng(data.draw(st.integers(0, 99))))
    span = data.draw(ranges(n_keys))
    queries = np.array(sorted(data.draw(st.sets(st.integers(0, n_queries - 1), min_size=1))))
    allowed = np.ones((1, 1, 1), bool)
    if mask is not None:
        allowed = mask.allowed(0, slice(1, 2), queries, slice(*span))
    allowed = np.broadcast_to(allowed, (1, len(queries), span[1] - span[0]))[0]
    states = coverage(mask, 0, 1, queries, span)
    assert not allowed[:, states == NONE].any()
    assert allowed[:, states == ALL].all()
    if kind in {"none", "causal", "window", "padding", "dense", "segments", "one row"} and len(queries) == n_queries:
        # Nothing is left to look at that could have been told.
        np.testing.assert_array_equal(states == ALL, allowed.all(axis=0))
        if kind != "segments":
            np.testing.assert_array_equal(states == NONE, ~allowed.any(axis=0))


def test_ranges_that_overlap_are_not_taken_for_all():
    ranges_ = np.array([[[[[0, 3], [1, 4]], [[4, 5], [0, 0]]]]], dtype=np.int32)
    mask = Mask(2, 6, ranges=ranges_)
    states = coverage(mask, 0, 0, np.arange(2), (0, 6))
    assert states.tolist() == [SOME, SOME, SOME, SOME, SOME, NONE]


def test_runs_are_cut_at_bins_and_short_ones_join_their_neighbours():
    states = np.repeat([ALL, SOME, NONE], [1000, 100, 948]).astype(np.uint8)
    assert runs(states, Bins.of_level(5, 5 + 2048, 6)) == [(0, 15, ALL), (15, 18, SOME), (18, 32, NONE)]
    noise = np.tile(np.array([ALL, NONE], np.uint8), 500)
    assert runs(noise, Bins.of_level(0, 1000, 0)) == [(0, 1000, SOME)]
    assert runs(np.full(10, ALL, np.uint8), Bins.even(0, 10, 3)) == [(0, 3, ALL)]


@given(st.integers(1, 3000), st.integers(0, 9), st.data())
def test_runs_cover_all_bins_in_order(length, level, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    states = np.repeat(rng.integers(0, 3, 8), 400)[:length].astype(np.uint8)
    length = len(states)
    bins = Bins.of_level(0, length, level)
    found = runs(states, bins)
    assert [first for first, _, _ in found] == [0, *(last for _, last, _ in found[:-1])]
    assert found[-1][1] == len(bins)
    edges = [*bins.starts.tolist(), bins.stop]
    for first, last, state in found:
        assert state == SOME or (states[edges[first] : edges[last]] == state).all()
