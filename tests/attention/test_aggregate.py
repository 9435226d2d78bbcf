"""Many heads as one, against NumPy on full weights."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from captures import make_capture
from heads import MASKS, captures, mask_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import even_edges, pooled

from attnwidget import AttentionCapture
from attnwidget.attention import AttentionStack, DenseAttention, FactoredAttention

REDUCE = {"mean": np.mean, "max": np.max}


@st.composite
def stacks(draw: st.DrawFn) -> AttentionCapture:
    """Factored layers with masks of their own or one that they share, and now and then a dense one."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    queries, keys, heads = draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(st.sampled_from([2, 4]))
    shared = mask_of(draw(st.sampled_from(MASKS)), queries, keys, rng)
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        mask = shared if draw(st.booleans()) else mask_of(draw(st.sampled_from(MASKS)), queries, keys, rng)
        parts = () if mask is None else (mask.bits, mask.ranges)
        if any(part is not None and part.shape[1] not in {1, heads} for part in parts):
            mask = None
        q, k = (torch.from_numpy(rng.normal(size=(1, heads, n, 4))).float() for n in (queries, keys))
        layer = FactoredAttention(q, k[:, : draw(st.sampled_from([1, heads]))], mask=mask)
        if draw(st.booleans()):
            every = 0, slice(0, heads), slice(0, queries), slice(0, keys)
            layer = DenseAttention(layer.weights(*every)[None], mask)
        layers.append(layer)
    return AttentionCapture([AttentionStack("self", layers)])


@st.composite
def chosen(draw: st.DrawFn, count: int) -> list[int] | None:
    """Some of so many, in any order, or all of them."""
    return draw(st.none() | st.lists(st.integers(0, count - 1), min_size=1, unique=True))


def numpy_aggregate(capture, reduce, layers, heads):
    """Weights and what is allowed, from the full arrays."""
    shown = capture.stacks["self"]
    layers = list(range(shown.n_layers)) if layers is None else layers
    heads = list(range(shown.n_heads)) if heads is None else heads
    weights = capture.weights()[layers][:, heads].astype(np.float64)
    return REDUCE[reduce](weights, axis=(0, 1)), capture.allowed()[layers][:, heads].any(axis=(0, 1))


@settings(deadline=None, max_examples=80)
@given(st.data(), stacks(), st.sampled_from(["mean", "max"]))
def test_every_question_is_answered_as_numpy_does_on_full_weights(data, capture, reduce):
    shown = capture.stacks["self"]
    layers, heads = data.draw(chosen(shown.n_layers)), data.draw(chosen(shown.n_heads))
    made = capture.aggregate(reduce, layers=layers, heads=heads)
    weights, allowed = numpy_aggregate(capture, reduce, layers, heads)
    n_queries, n_keys = weights.shape
    np.testing.assert_allclose(made.weights(0, 0), weights, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(made.allowed(0, 0), allowed)
    query, key = data.draw(st.integers(0, n_queries - 1)), data.draw(st.integers(0, n_keys - 1))
    np.testing.assert_allclose(made.pair(query=query, key=key), weights[query, key][None, None], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(made.weights(0, 0, queries=[query], keys=[key])[0, 0], weights[query, key], rtol=1e-5)

    height, width = data.draw(st.integers(1, n_queries)), data.draw(st.integers(1, n_keys))
    edges = even_edges(0, n_queries, height), even_edges(0, n_keys, width)
    for how in ("max", "mean"):
        expected = pooled(weights, allowed, *edges, how)
        work = made.refine(0, 0, height=height, width=width, reduce=how)
        while not work.step(0):
            pass
        np.testing.assert_allclose(work.tile.values, expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(made.tile(0, 0, height=height, width=width, reduce=how).values, work.tile.values)

    received = pooled(weights, allowed, [0, n_queries], edges[1], "mean")[0]
    found = made.marginals(0, 0, height=n_queries, width=width)
    np.testing.assert_allclose(found.received, received, rtol=1e-4, atol=1e-7)
    bits = -(weights * np.log2(weights, where=weights > 0, out=np.zeros_like(weights))).sum(axis=1)
    expected = np.where(allowed.any(axis=1) & (reduce == "mean"), bits, np.nan)
    np.testing.assert_allclose(found.entropy, expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(captures())
def test_one_head_is_its_own_mean_and_maximum(capture):
    for reduce in ("mean", "max"):
        made = capture.aggregate(reduce, layers=[0], heads=[1])
        np.testing.assert_allclose(made.weights(0, 0), capture.weights(0, 1), rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(made.allowed(0, 0), capture.allowed(0, 1))


@settings(deadline=None, max_examples=30)
@given(captures())
def test_a_mean_and_the_mean_share_of_the_sinks_make_up_all_of_a_row(capture):
    made = capture.aggregate("mean")
    some = made.allowed(0, 0).any(axis=1)
    total = made.weights(0, 0).sum(axis=-1) + made.sink_share(0, 0)
    np.testing.assert_allclose(total[some & capture.allowed(0).any(axis=-1).all(axis=0)], 1, rtol=1e-4)


def test_padding_is_cut_off_and_examples_are_kept():
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 3, 5)).astype(np.float32)  # (B, H, Tq, Tk)
    stack = AttentionStack("self", [DenseAttention(weights)], query_spans=[(1, 5), (0, 5)], key_spans=[(1, 5), (0, 5)])
    made = AttentionCapture([stack]).aggregate("mean")
    np.testing.assert_allclose(made.weights(0, 0), weights[0, :, 1:, 1:].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(made.weights(0, 0, batch=1), weights[1].mean(axis=0), rtol=1e-6)


def test_a_weight_that_is_no_number_is_none_in_the_aggregate_either():
    weights = np.full((1, 2, 3, 3), 1 / 3, dtype=np.float32)
    weights[0, 1, 2, 0] = np.nan
    capture = AttentionCapture([AttentionStack("self", [DenseAttention(weights)])])
    for reduce in ("mean", "max"):
        made = capture.aggregate(reduce)
        assert np.isnan(made.weights(0, 0)).sum() == 1
        assert np.isposinf(made.tile(0, 0, height=3, width=3).values[2, 0])


def test_it_says_what_it_is():
    capture = make_capture(layers=3, heads=4)
    assert capture.aggregate("max").notes[0] == (
        "max of the weights of 12 heads of stack 'self'; a pair is allowed where any of them allows it, and rows sum "
        "to more than 1"
    )
    assert capture.aggregate(layers=[2], heads=[3, 0, 1]).notes[0] == (
        "mean of the weights of 3 heads: heads 0-1, 3 of layers 2 of stack 'self'; a pair is allowed where any of them "
        "allows it, and rows sum to 1 as theirs do"
    )
    made = capture.aggregate(heads=[1])
    assert "mean of 3 heads" in repr(made)
    assert made.tokens == capture.tokens
    assert (made.stacks["self"].n_layers, made.stacks["self"].n_heads) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"reduce": "median"}, ValueError, "reduce is 'median'; expected 'mean' or 'max' over heads"),
        ({"layers": [3]}, IndexError, "layer 3 does not exist: stack 'self' has layers 0 to 2"),
        ({"heads": [-1]}, IndexError, "head"),
        ({"heads": []}, ValueError, "heads is []; expected at least one, each once, or None for all of them"),
        ({"heads": [1, 1]}, ValueError, "heads is [1, 1]; expected at least one, each once"),
        ({"heads": 1}, TypeError, "heads is 1; expected a list of whole numbers, or None for all of them"),
        ({"layers": [True]}, TypeError, "layers is [True]; expected a list of whole numbers"),
        ({"stack": "cross"}, KeyError, "stack 'cross' does not exist"),
    ],
)
def test_what_is_not_there_is_refused(arguments, error, text):
    with pytest.raises(error) as caught:
        make_capture(layers=3, heads=4).aggregate(**arguments)
    assert text in str(caught.value)


def test_what_an_aggregate_has_not_is_said():
    capture = make_capture()
    with pytest.raises(ValueError, match="the mean of 12 heads has no scores, only its heads have"):
        capture.aggregate("mean").scores(0, 0)
    with pytest.raises(ValueError, match="the max over 12 heads has no share of a sink, as its rows are no"):
        capture.aggregate("max").sink_share(0, 0)


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_a_tile_of_many_heads_of_a_long_text_never_holds_them(reduce):
    torch.manual_seed(0)
    n_tokens, heads = 2048, 8
    layers = [FactoredAttention(*(torch.randn(1, heads, n_tokens, 8) for _ in "qk")) for _ in range(3)]
    made = AttentionCapture([AttentionStack("self", layers)]).aggregate(reduce)
    made.tile(0, 0, height=4, width=4, rows=1)  # finds the denominators
    assert made.stacks["self"].layers[0].nbytes == sum(layer.nbytes for layer in layers)
    tracemalloc.start()
    made.tile(0, 0, height=64, width=64, rows=4)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < n_tokens * n_tokens * 4 * 2, "one whole head is half of this"


def test_a_step_of_a_refinement_is_short_and_says_how_far_it_is():
    torch.manual_seed(0)
    layers = [FactoredAttention(*(torch.randn(1, 4, 1024, 16) for _ in "qk")) for _ in range(4)]
    work = AttentionCapture([AttentionStack("self", layers)]).aggregate("mean").refine(0, 0, height=64, width=64)
    parts = [work.done]
    while not work.step(0):
        parts.append(work.done)
    assert len(parts) > 2 * len(layers), "each layer of each block is a step of its own"
    assert parts == sorted(parts)
    assert parts[len(parts) // 2] > 0.25
