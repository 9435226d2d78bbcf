"""Tiles against NumPy pooling of the full weights."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
import torch
from heads import captures, ranges
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import even_edges, level_edges, pooled

from attnwidget.attention import (
    AttentionCapture,
    AttentionStack,
    DenseAttention,
    FactoredAttention,
    Mask,
    blocks,
    recognise_mask,
)
from attnwidget.attention.bins import Bins, Picks
from attnwidget.attention.limits import limits

BLOCKS = (1, 32 * 40 * 3, 1 << 25)


def capture_of(mask, queries, keys, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(1, 2, queries, 4, generator=generator)
    k = torch.randn(1, 2, keys, 4, generator=generator)
    layer = FactoredAttention(q, k, mask=recognise_mask(mask, n_queries=queries, n_keys=keys))
    return AttentionCapture([AttentionStack("self", [layer])])


def stored(cap):
    """The same weights as arrays, pooled by another way."""
    weights, mask = cap.weights(0)[None], cap.stacks["self"].layers[0].mask
    return AttentionCapture([AttentionStack("self", [DenseAttention(weights, mask)])])


@st.composite
def questions(draw, cap):
    """Keyword arguments of a tile, and the edges they stand for."""
    (layer,) = cap.stacks["self"].layers
    queries, keys = draw(ranges(layer.n_queries)), draw(ranges(layer.n_keys))
    asked = {"queries": queries, "keys": keys, "reduce": draw(st.sampled_from(["max", "mean"]))}
    if draw(st.booleans()):
        asked["height"], asked["width"] = draw(st.integers(1, 50)), draw(st.integers(1, 50))
        return asked, even_edges(*queries, asked["height"]), even_edges(*keys, asked["width"])
    asked["level"] = draw(st.integers(0, 6))
    return asked, level_edges(*queries, asked["level"]), level_edges(*keys, asked["level"])


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_a_tile_is_numpy_pooling_of_the_full_matrix(data):
    factored = data.draw(captures())
    cap = factored if data.draw(st.booleans()) else stored(factored)
    asked, rows, columns = data.draw(questions(cap))
    before, limits.block_bytes = limits.block_bytes, data.draw(st.sampled_from(BLOCKS))
    try:
        tile = cap.tile(0, 1, **asked)
    finally:
        limits.block_bytes = before
    expected = pooled(cap.weights(0, 1), cap.allowed(0, 1), rows, columns, asked["reduce"])
    assert tile.values.dtype == np.float32
    assert (tile.queries, tile.keys, tile.reduce) == (asked["queries"], asked["keys"], asked["reduce"])
    assert (tile.exact, tile.rows) == (True, None)
    np.testing.assert_allclose(tile.values, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_sample_is_numpy_pooling_of_the_rows_it_looked_at(data):
    factored = data.draw(captures())
    cap = factored if data.draw(st.booleans()) else stored(factored)
    asked, rows, columns = data.draw(questions(cap))
    most = data.draw(st.integers(1, 5))
    tile = cap.tile(0, 1, rows=most, **asked)
    picks = Picks(Bins(np.array(rows[:-1]), rows[-1]), most)
    looked_at = np.concatenate([panel.positions.ravel() for panel in picks.panels(64)])
    expected = pooled(cap.weights(0, 1), cap.allowed(0, 1), rows, columns, asked["reduce"], looked_at)
    assert tile.rows == (None if len(np.unique(looked_at)) == rows[-1] - rows[0] else most)
    assert tile.exact == (tile.rows is None)
    np.testing.assert_allclose(tile.values, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_refinement_ends_in_the_tile(data):
    cap = data.draw(captures())
    asked, _, _ = data.draw(questions(cap))
    before, limits.block_bytes = limits.block_bytes, data.draw(st.sampled_from(BLOCKS))
    try:
        at_once = cap.tile(0, 1, **asked)
        work = cap.refine(0, 1, **asked)
        done = [work.done]
        while not work.step(0):
            assert work.tile is None
            done.append(work.done)
    finally:
        limits.block_bytes = before
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] < 1 == work.done
    np.testing.assert_array_equal(work.tile.values, at_once.values)
    assert work.step() is True


@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_long_heads_are_pooled_in_many_blocks(reduce):
    """Longer than a block, so that parts are skipped, taken without the mask, and with it."""
    cap = capture_of(None, 3000, 3000)
    layer = cap.stacks["self"].layers[0]
    layer.mask = Mask(3000, 3000, lowest=-1700, highest=0, keys=np.arange(3000)[None] >= 300)
    tile = cap.tile(0, 1, height=37, width=300, reduce=reduce)
    expected = pooled(cap.weights(0, 1), cap.allowed(0, 1), even_edges(0, 3000, 37), even_edges(0, 3000, 300), reduce)
    np.testing.assert_allclose(tile.values, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["factored", "stored"])
@pytest.mark.parametrize("options", [{"reduce": "max"}, {"reduce": "mean"}, {"height": 1, "width": 1}])
def test_no_more_than_the_limit_is_held(monkeypatch, kind, options):
    """What torch takes at most at a time is what it was asked for; NumPy's own memory is watched as a whole."""
    n = 1500
    cap = capture_of(np.tri(n, n, dtype=bool), n, n)
    if kind == "stored":
        cap = stored(cap)
    asked = {"height": 20, "width": 20, **options}
    monkeypatch.setattr(limits, "block_bytes", 1 << 21)
    alone(monkeypatch)
    held = LargestTensor()
    with held:
        cap.tile(0, 0, **asked)
    tracemalloc.start()
    try:
        cap.tile(0, 0, **asked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak + 2 * held.nbytes < limits.block_bytes  # scores, and as much again for what is made of them
    assert peak > 0
    assert (held.nbytes > 0) == (kind == "factored")


def alone(monkeypatch):
    """What watches torch watches one thread."""
    monkeypatch.setattr(blocks, "crew_size", lambda device: 1)


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """The largest tensor that was made, in bytes."""

    nbytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and function is not torch.ops.aten.slice.Tensor:
            self.nbytes = max(self.nbytes, result.numel() * result.element_size())
        return result


def test_what_the_mask_forbids_is_not_computed(monkeypatch):
    alone(monkeypatch)
    n = 4096
    cap = capture_of(np.tri(n, n, dtype=bool), n, n)
    counter = Multiplications()
    with counter:
        cap.tile(0, 0, height=64, width=64)
    layer = cap.stacks["self"].layers[0]
    assert n * n < counter.pairs < 1.3 * n * n  # the lower triangle twice: for the denominators, and for the tile
    layer.mask = Mask(n, n, lowest=-255, highest=0)
    counter.pairs = 0
    with counter:
        cap.tile(0, 0, height=64, width=64)
    assert counter.pairs < 0.35 * n * n


class Multiplications(torch.utils._python_dispatch.TorchDispatchMode):
    """How many scores were computed."""

    pairs = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.mm.default:
            self.pairs += result.numel()
        return result


def test_only_denominators_of_rows_that_are_looked_at_are_computed():
    cap = capture_of(None, 400, 300)
    layer = cap.stacks["self"].layers[0]
    full = capture_of(None, 400, 300).weights(0)
    tile = cap.tile(0, 1, height=20, width=10, rows=2)
    assert int(layer.denominators.known_rows[0, 1].sum()) == 40
    assert not tile.exact
    np.testing.assert_allclose(cap.weights(0, 0, queries=[7]), full[0, [7]], atol=1e-6)
    assert layer.denominators.known_rows[0, 0].nonzero()[0].tolist() == [7]
    np.testing.assert_allclose(cap.weights(0), full, atol=1e-6)
    assert layer.denominators.known.all()
    assert not layer.denominators.known_rows


def test_work_that_was_interrupted_begins_again(monkeypatch):
    cap = capture_of(np.tri(600, 600, dtype=bool), 600, 600)
    work = cap.refine(0, 0, height=30, width=30)
    while work.done == 0:
        assert not work.step(0)
    monkeypatch.setattr(type(work._work), "_add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        work.step()
    monkeypatch.undo()
    assert (work.done, work.tile) == (0, None)
    np.testing.assert_array_equal(work.finish().values, cap.tile(0, 0, height=30, width=30).values)


def test_a_tile_with_a_progress_bar_can_be_interrupted(monkeypatch, capsys):
    cap = capture_of(np.tri(600, 600, dtype=bool), 600, 600)
    expected = cap.tile(0, 0, height=30, width=30)
    with monkeypatch.context() as patch:
        patch.setattr("attnwidget.attention.pooling.Pooling._add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cap.tile(0, 0, height=30, width=30, progress=True)
    again = cap.tile(0, 0, height=30, width=30, progress=True)
    np.testing.assert_array_equal(again.values, expected.values)
    assert "360k/360k" in capsys.readouterr().err


def interrupt(*_):
    raise KeyboardInterrupt


def test_threads_may_step_one_refinement_and_ask_for_other_tiles():
    cap = capture_of(np.tri(500, 500, dtype=bool), 500, 500)
    expected = capture_of(np.tri(500, 500, dtype=bool), 500, 500).tile(0, 0, height=25, width=25).values
    work, tiles = cap.refine(0, 0, height=25, width=25), []

    def step():
        while not work.step(0):
            pass
        tiles.append(work.tile.values)

    def ask():
        tiles.append(cap.tile(0, 0, height=25, width=25).values)

    threads = [threading.Thread(target=target) for target in (step, ask, step, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tiles) == 4
    for values in tiles:
        np.testing.assert_allclose(values, expected, atol=1e-6)


def test_padding_counts_for_nothing_in_bins_and_samples():
    q = k = torch.randn(1, 1, 64, 4, generator=torch.Generator().manual_seed(0))
    stack = AttentionStack("self", [FactoredAttention(q, k)], query_spans=[(10, 60)], key_spans=[(10, 60)])
    cap = AttentionCapture([stack])
    tile = cap.tile(0, 0, level=3)
    expected = pooled(cap.weights(0, 0), np.ones((50, 50), bool), level_edges(0, 50, 3), level_edges(0, 50, 3), "max")
    np.testing.assert_allclose(tile.values, expected, atol=1e-6)
    assert cap.tile(0, 0, level=3, rows=8).exact
    assert not cap.tile(0, 0, level=3, rows=7).exact


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"height": 0}, ValueError, "height is 0; expected an int of at least 1"),
        ({"width": True}, ValueError, "width is True; expected an int of at least 1"),
        ({"rows": 0}, ValueError, "rows is 0; expected an int of at least 1"),
        ({"level": -1}, ValueError, "level is -1; expected an int of at least 0: cells of 2^level tokens a side"),
        (
            {"level": 1, "height": 2},
            ValueError,
            "level is 1, height 2 and width None; expected a level, or a height and a width",
        ),
        ({"reduce": "min"}, ValueError, "reduce is 'min'; expected 'max', 'mean' or 'extreme'"),
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


def test_a_refinement_says_how_far_it_is():
    work = capture_of(None, 6, 6).refine(0, 0)
    assert repr(work) == "Refinement(0% of 36 weights)"
    work.finish()
    assert repr(work) == "Refinement(100% of 36 weights)"


def test_an_example_without_tokens_has_a_tile_without_cells():
    q = k = torch.zeros(2, 1, 3, 4)
    spans = [(0, 3), (3, 3)]
    stack = AttentionStack("self", [FactoredAttention(q, k)], query_spans=spans, key_spans=spans)
    assert AttentionCapture([stack]).tile(0, 0, batch=1).values.shape == (0, 0)
    assert AttentionCapture([stack]).tile(0, 0, batch=0).values.shape == (3, 3)
