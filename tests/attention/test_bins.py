"""Bins, and the positions that are looked at under each."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attnwidget.attention.bins import Bins, Picks


@st.composite
def some_bins(draw):
    start, length = draw(st.integers(0, 50)), draw(st.integers(1, 200))
    if draw(st.booleans()):
        return Bins.even(start, start + length, draw(st.integers(1, length)))
    return Bins.of_level(start, start + length, draw(st.integers(0, 8)))


def read(picks, most, first=0, last=None):
    """Positions by bin, each once, in the order of the panels."""
    found = {}
    for panel in picks.panels(most, first, last):
        assert panel.positions.size <= max(most, 1)
        for row, (positions, count) in enumerate(zip(panel.positions, panel.counts, strict=True)):
            assert set(positions[count:]) <= {positions[count - 1]}
            found.setdefault(panel.first + row, []).extend(positions[:count].tolist())
        flat = panel.positions.reshape(-1)
        index = panel.index
        taken = np.arange(index.start, index.stop) if isinstance(index, slice) else index
        np.testing.assert_array_equal(taken, flat)
    return found


@given(some_bins(), st.integers(1, 64), st.data())
def test_panels_hold_every_position_of_their_bins_once(bins, most, data):
    first = data.draw(st.integers(0, len(bins) - 1))
    last = data.draw(st.integers(first + 1, len(bins)))
    edges = [*bins.starts.tolist(), bins.stop]
    expected = {number: list(range(edges[number], edges[number + 1])) for number in range(first, last)}
    assert read(Picks(bins), most, first, last) == expected


@given(some_bins(), st.integers(1, 9), st.integers(1, 64))
def test_a_sample_takes_one_position_of_each_part_of_its_bin(bins, rows, most):
    picks = Picks(bins, rows)
    edges = [*bins.starts.tolist(), bins.stop]
    found = read(picks, most)
    assert picks.total == sum(map(len, found.values()))
    assert picks.are_all == (max(np.diff(edges)) <= rows)
    for number, positions in found.items():
        start, size = edges[number], edges[number + 1] - edges[number]
        count = min(rows, size)
        assert len(positions) == count
        for turn, position in enumerate(positions):
            # The part of a position that lies on the edge of two is the one that its middle lies in.
            assert start + turn * size // count <= position < start + -(-(turn + 1) * size // count)
        assert positions == sorted(set(positions))


def test_the_same_bin_has_the_same_sample_whatever_lies_beside_it():
    whole = read(Picks(Bins.of_level(0, 256, 5), 2), 1000)
    part = read(Picks(Bins.of_level(64, 200, 5), 2), 1000)
    assert part[0] == whole[2]
    assert part[3] == whole[5]


def test_bins_of_equal_size_are_not_all_met_at_the_same_place():
    found = read(Picks(Bins.of_level(0, 64 * 64, 6), 1), 1000)
    assert len({position % 64 for [position] in found.values()}) > 32
