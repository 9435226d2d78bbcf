"""Windows put back into the sequence, against the windows scattered into a full matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import AttentionCapture, AttentionStack, DenseAttention, FactoredAttention, FramedAttention

HEADS = 2


def cut(n_examples, n_tokens, size, order):
    """Places of the tokens of windows: any order of the tokens, cut into windows, the last one padded."""
    count = -(-n_tokens // size)
    padded = np.full(count * size, -1, dtype=np.int64)
    padded[:n_tokens] = order
    one = padded.reshape(count, size)
    return np.concatenate([np.where(one >= 0, one + example * n_tokens, -1) for example in range(n_examples)])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_cut_is_put_back(data):
    n_examples, n_tokens = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 14))
    size = data.draw(st.integers(1, n_tokens))
    places = cut(n_examples, n_tokens, size, data.draw(st.permutations(range(n_tokens))))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    inner = rng.random((len(places), HEADS, size, size), dtype=np.float32)
    framed = FramedAttention(
        DenseAttention(inner), places, places, n_examples=n_examples, n_queries=n_tokens, n_keys=n_tokens
    )
    whole = np.zeros((n_examples * n_tokens, HEADS, n_examples * n_tokens), dtype=np.float32)
    held = np.zeros((n_examples * n_tokens,) * 2, dtype=bool)
    for window, row in enumerate(places):
        for a, i in enumerate(row):
            for b, j in enumerate(row):
                if i >= 0 and j >= 0:
                    whole[i, :, j], held[i, j] = inner[window, :, a, b], True
    rows = np.array(data.draw(st.lists(st.integers(0, n_tokens - 1), max_size=5)), dtype=np.intp)
    keys = np.array(data.draw(st.lists(st.integers(0, n_tokens - 1), max_size=5)), dtype=np.intp)
    everything = slice(0, n_tokens)
    for example in range(n_examples):
        part = slice(example * n_tokens, (example + 1) * n_tokens)
        expected = whole[part, :, part].transpose(1, 0, 2)
        np.testing.assert_array_equal(framed.weights(example, slice(0, HEADS), everything, everything), expected)
        np.testing.assert_array_equal(
            framed.weights(example, slice(1, 2), rows, keys), expected[1:][:, rows][:, :, keys]
        )
        allowed = framed.allowed(example, slice(0, 1), everything, everything)
        np.testing.assert_array_equal(allowed[0], held[part, part])


def test_factors_scores_and_overlapping_keys():
    torch.manual_seed(0)
    q, k = torch.randn(3, HEADS, 2, 4), torch.randn(3, HEADS, 4, 4)
    queries = np.array([[0, 1], [2, 3], [4, 5]])
    keys = np.array([[-1, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, -1]])  # neighbours too
    windows = FactoredAttention(q, k)
    framed = FramedAttention(windows, queries, keys, n_examples=1, n_queries=6, n_keys=6)
    scores = framed.scores(0, slice(0, HEADS), slice(0, 6), slice(0, 6))
    assert np.isnan(scores[:, 0, 3:]).all()
    np.testing.assert_allclose(scores[:, 2, 1:5], (q[1, :, 0, None] @ k[1].mT)[:, 0].numpy() * 0.5, atol=1e-6)
    weights = framed.weights(0, slice(0, HEADS), slice(0, 6), slice(0, 6))
    np.testing.assert_allclose(weights[:, 2:4, 1:5], windows.weights(1, slice(0, 2), slice(0, 2), slice(0, 4)))
    np.testing.assert_allclose(weights[:, 2:4].sum(-1), 1, atol=1e-6)
    assert not framed.sink_share(0, slice(0, HEADS), np.array([5, 0])).any()
    assert not framed.has_nan()
    assert framed.detail == "q k float32, 3 windows of 2 x 4"
    assert framed.window == 4
    cap = AttentionCapture([AttentionStack("self", [framed])])
    assert "3 windows of 2 x 4" in repr(cap)
    assert np.isnan(cap.tile(0, 0, height=6, width=6).values[0, 3])
    assert cap.pair(query=2, key=1)[0, 1] == weights[1, 2, 1]


@pytest.mark.parametrize(
    ("queries", "keys", "text"),
    [
        (
            [[0, 1]],
            [[0, 1], [2, 3]],
            r"query_places have shape \(1, 2\) .* expected \(2, 2\), windows x query positions",
        ),
        ([[0, 1], [2, 4]], [[0, 1], [2, 3]], "values 0 to 4; expected .* values -1 to 3"),
        ([[0, 1], [1, 2]], [[0, 1], [2, 3]], "two windows hold the same query"),
        ([[0, 1], [2, 3]], [[0, 1], [1, 3]], "a window holds tokens of two examples"),
    ],
)
def test_places_that_do_not_fit(queries, keys, text):
    inner = DenseAttention(np.full((2, 1, 2, 2), 0.5))
    with pytest.raises(ValueError, match=text):
        FramedAttention(inner, np.array(queries), np.array(keys), n_examples=2, n_queries=2, n_keys=2)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_rows_with_keys_of_their_own(data):
    """Each head and query may look at other keys, also at one several times, as gathered blocks do."""
    examples, tokens, count = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    heads, rows = data.draw(st.sampled_from([1, HEADS])), data.draw(st.sampled_from([1, tokens]))
    inner = rng.random((examples, HEADS, tokens, count), dtype=np.float32)
    places = rng.integers(-1, tokens, (examples, heads, rows, count))
    queries = np.stack([rng.permutation(tokens) for _ in range(examples)])
    offset = np.arange(examples)[:, None] * tokens
    framed = FramedAttention(
        DenseAttention(inner),
        queries + offset,
        np.where(places < 0, -1, places + offset[:, :, None, None]),
        n_examples=examples,
        n_queries=tokens,
        n_keys=tokens,
    )
    whole = np.zeros((examples, HEADS, tokens, tokens), dtype=np.float32)
    held = np.zeros(whole.shape, dtype=bool)
    for index in np.ndindex(inner.shape):
        example, head, slot, number = index
        place = places[example, head if heads > 1 else 0, slot if rows > 1 else 0, number]
        if place >= 0:
            whole[example, head, queries[example, slot], place] += inner[index]
            held[example, head, queries[example, slot], place] = True
    some = np.array(data.draw(st.lists(st.integers(0, tokens - 1), max_size=5)), dtype=np.intp)
    everything = slice(0, tokens)
    for example in range(examples):
        found = framed.weights(example, slice(0, HEADS), everything, everything)
        np.testing.assert_allclose(found, whole[example], atol=1e-6)
        np.testing.assert_array_equal(framed.weights(example, slice(1, 2), some, some), found[1:][:, some][:, :, some])
        np.testing.assert_array_equal(framed.allowed(example, slice(0, HEADS), everything, everything), held[example])
    assert framed.counts_padding == (places < 0).any()
