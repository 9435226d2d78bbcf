"""Two captures in one frame, against NumPy over full weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captures import make_capture
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import even_edges, pooled

import attnwidget as aw
from attnwidget.attention import (
    AttentionCapture,
    AttentionStack,
    DenseAttention,
    FactoredAttention,
    Tokens,
    recognise_mask,
)
from attnwidget.attention.aligning import align
from attnwidget.attention.limits import limits

LAYERS, HEADS = 2, 2
ALPHABET = "abcd"


def draw_side(data, batch):
    """A capture of random heads: causal or not, padded on the left or the right, dense or factored."""
    texts = [data.draw(st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=7)) for _ in range(batch + 1)]
    length = max(map(len, texts))
    left, causal = data.draw(st.booleans()), data.draw(st.booleans())
    spans = [(length - len(text), length) if left else (0, len(text)) for text in texts]
    allowed = np.zeros((len(texts), 1, length, length), dtype=bool)
    for example, (start, stop) in enumerate(spans):
        allowed[example, 0, :, start:stop] = True
    if causal:
        allowed &= np.tril(np.ones((length, length), dtype=bool))
    mask = recognise_mask(allowed, n_queries=length, n_keys=length)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    layers = [
        FactoredAttention(*torch.randn(2, len(texts), HEADS, length, 4).unbind(0), mask=mask) for _ in range(LAYERS)
    ]
    if data.draw(st.booleans()):
        whole = slice(0, length)
        layers = [
            DenseAttention(
                np.stack([one.weights(example, slice(0, HEADS), whole, whole) for example in range(len(texts))]), mask
            )
            for one in layers
        ]
    tokens = [Tokens.from_pieces(text) for text in texts]
    return AttentionCapture([AttentionStack("self", layers, query_tokens=tokens, query_spans=spans)])


def scattered(values, aligned, side, fill):
    """A matrix of one side at its places in the frame."""
    found = np.full((len(aligned), len(aligned)), fill, dtype=values.dtype)
    places = [(frame, pair[side]) for frame, pair in enumerate(aligned) if pair[side] is not None]
    for i, own in places:
        for j, other in places:
            found[i, j] = values[own, other]
    return found


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_difference_and_its_tiles_equal_numpy(data):
    batch = data.draw(st.integers(0, 1))
    a, b = draw_side(data, batch), draw_side(data, batch)
    both = aw.compare(a, b, batch=batch)
    texts = [one.stacks["self"].query_tokens[batch] for one in (a, b)]
    aligned = align(*texts)
    assert both.aligned == aligned
    n = len(aligned)
    layer, head = data.draw(st.integers(0, LAYERS - 1)), data.draw(st.integers(0, HEADS - 1))
    weights = [scattered(one.weights(layer, head, batch=batch), aligned, side, 0) for side, one in enumerate((a, b))]
    allowed = [
        scattered(one.allowed(layer, head, batch=batch), aligned, side, False) for side, one in enumerate((a, b))
    ]
    here = np.array([None not in pair for pair in aligned])
    expected = weights[1].astype(np.float64) - weights[0]
    expected[~((allowed[0] | allowed[1]) & here & here[:, None])] = np.nan
    before, limits.block_bytes = limits.block_bytes, data.draw(st.sampled_from([1, 4000, 1 << 25]))
    height, width = data.draw(st.integers(1, n)), data.draw(st.integers(1, n))
    try:
        found = both.difference(layer, head)
        tiles = [both.excess.tile(layer, head, height=height, width=width, stack=name).values for name in both.names]
        moved = both.moved()
    finally:
        limits.block_bytes = before
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for side, name in enumerate(both.names):
        np.testing.assert_allclose(both.weights(layer, head, stack=name), weights[side], atol=1e-6)
        np.testing.assert_array_equal(both.allowed(layer, head, stack=name), allowed[side])
    edges = even_edges(0, n, height), even_edges(0, n, width)
    for tile, sign in zip(tiles, (-1, 1), strict=True):
        wanted = pooled(np.maximum(sign * expected, 0), ~np.isnan(expected), *edges, "max")
        np.testing.assert_allclose(tile, wanted, atol=1e-6)
    rows = [np.nansum(np.abs(row)) / 2 for row in expected if not np.isnan(row).all()]
    np.testing.assert_allclose(moved[layer, head], np.mean(rows) if rows else np.nan, atol=1e-6)
    part = both.difference(layer, head, queries=[n - 1], keys=(0, n))
    np.testing.assert_allclose(part, expected[-1:], atol=1e-6)


def test_two_prompts_say_what_they_share():
    a = AttentionCapture.from_weights(np.full((1, 1, 3, 3), 1 / 3), ["the", "cat", "sat"], model="small")
    b = AttentionCapture.from_weights(np.full((1, 1, 4, 4), 1 / 4), ["the", "black", "dog", "sat"], model="small")
    both = aw.compare(a, b, names=("cat", "dog"))
    assert both.names == ("cat", "dog")
    assert both.tokens == ["the", "cat", "black", "dog", "sat"]
    assert both.aligned == [(0, 0), (1, None), (None, 1), (None, 2), (2, 3)]
    assert both.model == "small"
    note = "compares 'cat' of 'small', 'dog' of 'small': 2 tokens match, 1 only in 'cat', 2 only in 'dog'"
    assert both.notes == (note,)
    assert repr(both).startswith("Comparison('small', ")
    assert f"note: {note}" in repr(both)
    np.testing.assert_allclose(both.moved(), [[1 / 12]], atol=1e-6)
    hidden = aw.compare(a, b.without_keys([0]))
    assert hidden.notes[1] == 'b: key 0 "the" hidden, rows renormalised over the rest'
    b.close()
    assert both.closed
    assert hidden.closed


def test_a_side_that_needs_no_frame_is_asked_itself():
    a, b = make_capture(seed=1), make_capture(seed=2)
    both = aw.compare(a, b)
    for one, name in ((a, "a"), (b, "b")):
        assert both.stacks[name].layers == one.stacks["self"].layers
    assert not np.isnan(both.difference(1, 2)).any()
    assert both.nbytes == a.nbytes + b.nbytes


def test_cross_attention_aligns_keys_by_themselves():
    weights = np.full((1, 1, 2, 3), 1 / 3)
    a = AttentionCapture.from_weights(weights, ["x", "y"], key_tokens=["k", "l", "m"])
    b = AttentionCapture.from_weights(weights, ["x", "y"], key_tokens=["k", "m", "n"])
    both = aw.compare(a, b)
    assert both.aligned == [(0, 0), (1, 1)]
    assert both.aligned_keys == [(0, 0), (1, None), (2, 1), (None, 2)]
    np.testing.assert_array_equal(np.isnan(both.difference(0, 0))[0], [False, True, False, True])


def test_two_heads_of_one_capture():
    cap = make_capture(causal=True)
    both = aw.compare(cap, cap, heads=((0, 1), (2, 3)))
    assert both.names == ("layer 0 head 1", "layer 2 head 3")
    expected = cap.weights(2, 3) - cap.weights(0, 1)
    np.testing.assert_allclose(both.difference(0, 0), np.where(cap.allowed(0, 0), expected, np.nan), atol=1e-7)
    infos = [stack.infos[0] for stack in both.stacks.values()]
    assert [(info.number, info.picked) for info in infos] == [(0, (1,)), (2, (3,))]
    with pytest.raises(IndexError, match="layer 3 does not exist"):
        aw.compare(cap, cap, heads=((0, 1), (3, 0)))


def test_aggregates_and_hidden_keys_are_those_of_both_sides():
    a, b = make_capture(seed=1), make_capture(seed=2)
    both = aw.compare(a, b)
    mean = both.aggregate("mean", layers=[1])
    expected = b.weights(1).mean(axis=0) - a.weights(1).mean(axis=0)
    np.testing.assert_allclose(mean.difference(0, 0), expected, atol=1e-6)
    excess = both.excess.aggregate("mean", layers=[1], stack="b").weights(0, 0, stack="b")
    np.testing.assert_allclose(excess, np.maximum(expected, 0), atol=1e-6)
    hidden = both.without_keys([0, 2], stack="b")
    expected = b.without_keys([0, 2]).weights(1, 1) - a.without_keys([0, 2]).weights(1, 1)
    expected[:, [0, 2]] = np.nan
    np.testing.assert_allclose(hidden.difference(1, 1), expected, atol=1e-6)
    np.testing.assert_allclose(both.moved(rows=7), both.moved())
    assert (both.moved(rows=2) >= 0).all()


def test_what_cannot_be_compared_says_so(tmp_path):
    a, b = make_capture(layers=2), make_capture(layers=3)
    with pytest.raises(ValueError, match=r"a has 2 layers x 4 heads and b has 3 layers x 4 heads; .*heads=\(\(layer"):
        aw.compare(a, b)
    with pytest.raises(ValueError, match="both sides are called 'x'"):
        aw.compare(a, a, names=("x", "x"))
    both = aw.compare(a, a)
    with pytest.raises(ValueError, match=r"compare words instead: aw.compare\(a.in_words\(\), b.in_words\(\)\)"):
        both.in_words()
    with pytest.raises(ValueError, match="save the two captures"):
        both.save(tmp_path / "x")
    with pytest.raises(ValueError, match="a difference of weights has no scores"):
        both.excess.scores(0, 0)
    with pytest.raises(ValueError, match="a difference of weights has no share of a sink"):
        both.excess.sink_share(0, 0)
