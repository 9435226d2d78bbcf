"""Keys left out and rows renormalised, against NumPy on full weights and against torch.softmax under another mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captures import make_capture
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget import AttentionCapture, CaptureError
from attnwidget.attention import AttentionStack, DenseAttention, FactoredAttention, FramedAttention, Mask, Tokens
from attnwidget.attention.masks import OPEN

LAYERS, HEADS = 2, 2


def factors(seed, n, *, examples=1, mask=None, sinks=None, peaked=None):
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(examples, HEADS, n, 8, generator=generator) for _ in "qk")
    if peaked is not None:
        k[:, :, peaked] = 6 * q.mean(dim=2)
    return FactoredAttention(q, k, mask=mask, sinks=sinks)


def softmax_without(layer, hidden, allowed):
    """In double precision; rows that may look at nothing are 0."""
    scores = layer.scale * layer.q[0].double() @ layer.k[0].double().transpose(1, 2)
    scores = scores.masked_fill(~torch.from_numpy(allowed), -torch.inf)
    scores[:, :, hidden] = -torch.inf
    if layer.sinks is not None:
        column = layer.sinks.double()[:, None, None].expand(HEADS, layer.n_queries, 1)
        return torch.softmax(torch.cat([scores, column], dim=2), dim=2)[:, :, :-1].numpy()
    return torch.nan_to_num(torch.softmax(scores, dim=2)).numpy()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_stored_weights_are_renormalised_as_numpy_does_it(data):
    n, m = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    cap = make_capture(LAYERS, HEADS, n, m, seed=data.draw(st.integers(0, 99)))
    hidden = data.draw(st.lists(st.integers(0, m - 1), max_size=m))
    made = cap.without_keys(hidden)
    full = cap.weights().astype(np.float64)
    rest = full.copy()
    rest[..., hidden] = 0
    sums = rest.sum(axis=-1, keepdims=True)
    expected = np.divide(rest * full.sum(axis=-1, keepdims=True), sums, out=np.zeros_like(rest), where=sums > 0)
    np.testing.assert_allclose(made.weights(), expected, rtol=2e-6, atol=1e-12)
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=4))
    columns = data.draw(st.lists(st.integers(0, m - 1), max_size=4))
    np.testing.assert_array_equal(
        made.weights(1, 0, queries=rows, keys=columns), made.weights(1, 0)[np.ix_(rows, columns)]
    )
    assert not made.allowed()[..., hidden].any()
    assert made.allowed().sum() == LAYERS * HEADS * n * (m - len(set(hidden)))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_factors_give_the_softmax_over_the_other_keys(data):
    n = data.draw(st.integers(1, 12))
    causal = data.draw(st.booleans())
    sinks = torch.tensor([0.5, 2.0]) if data.draw(st.booleans()) else None
    layer = factors(data.draw(st.integers(0, 99)), n, mask=Mask.causal(n, n) if causal else None, sinks=sinks)
    hidden = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    allowed = np.tri(n, dtype=bool) if causal else np.ones((n, n), dtype=bool)
    expected = softmax_without(layer, hidden, allowed)
    direct = AttentionCapture([AttentionStack("self", [layer])]).without_keys(hidden)
    places = np.arange(n)[None]
    framed = FramedAttention(layer, places, places, n_examples=1, n_queries=n, n_keys=n)
    through = AttentionCapture([AttentionStack("self", [framed])]).without_keys(hidden)
    for made in (direct, through):
        np.testing.assert_allclose(made.weights(0), expected, rtol=2e-4, atol=1e-6)
        seen = allowed.copy()
        seen[:, hidden] = False
        np.testing.assert_array_equal(made.allowed(0, 0), seen)
        for reduce in ("max", "mean"):
            tile = made.tile(0, 1, reduce=reduce)
            np.testing.assert_allclose(tile.values, np.where(seen, expected[1], np.nan), rtol=2e-4, atol=1e-6)
        if sinks is not None:
            share = made.sink_share(0)
            some = seen.any(axis=1)
            np.testing.assert_allclose(share[:, some], (1 - expected.sum(axis=-1))[:, some], atol=1e-5)


def test_a_sink_with_nearly_all_of_the_mass_leaves_an_exact_rest():
    layer = factors(1, 16, peaked=0)
    layer.k[:, :, 0] *= 40
    whole = AttentionCapture([AttentionStack("self", [layer])])
    rows = np.flatnonzero(whole.weights(0, 0)[:, 0] > 1 - 1e-6)
    assert len(rows) > 0, "1 - w says nothing about the rest of these rows"
    made = whole.without_keys([0])
    expected = softmax_without(layer, [0], np.ones((16, 16), dtype=bool))
    np.testing.assert_allclose(made.weights(0, 0)[rows], expected[0, rows], rtol=1e-4)
    np.testing.assert_allclose(made.weights(0, 0).sum(axis=-1), 1, rtol=1e-5)


def test_rows_that_see_hidden_keys_only_become_zero_and_are_not_allowed():
    cap = make_capture(1, HEADS, 5, causal=True).without_keys([0, 1])
    np.testing.assert_array_equal(cap.weights(0)[:, :2], 0)
    assert not cap.allowed(0)[:, :2].any()
    assert np.isnan(cap.marginals(0, 0).entropy[:2]).all()
    np.testing.assert_allclose(cap.weights(0)[:, 2:].sum(axis=-1), 1, rtol=1e-6)


def test_a_row_that_gives_hidden_keys_nothing_keeps_its_bits():
    weights = np.random.default_rng(0).random((1, 1, 3, 4), dtype=np.float32)
    weights[..., 1] = 0
    cap = AttentionCapture.from_weights(weights / weights.sum(axis=-1, keepdims=True))
    np.testing.assert_array_equal(cap.without_keys([1]).weights(0, 0), cap.weights(0, 0))


def test_rows_that_see_everything_whatever_the_mask_says_lose_hidden_keys_too():
    mask = Mask(4, 4, highest=0, rows=np.array([[0, OPEN, 0, 0]], dtype=np.int8))
    made = AttentionCapture([AttentionStack("self", [factors(0, 4, mask=mask)])]).without_keys([3])
    assert made.allowed(0, 0)[1].tolist() == [True, True, True, False]
    np.testing.assert_allclose(made.weights(0).sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(made.weights(0)[:, :, 3], 0)


def test_keys_are_counted_in_each_example_and_passed_over_where_there_are_none():
    layers = [factors(0, 4, examples=2)]
    spans = [(0, 4), (2, 4)]  # the second is padded on the left
    stack = AttentionStack("self", layers, query_spans=spans)
    made = AttentionCapture([stack]).without_keys([1, 3])
    assert made.allowed(0, 0, batch=0)[0].tolist() == [True, False, True, False]
    assert made.allowed(0, 0, batch=1)[0].tolist() == [True, False]


def test_it_shares_the_factors_says_what_it_is_and_is_closed_with_the_first():
    layers = [factors(seed, 64) for seed in range(3)]
    cap = AttentionCapture([AttentionStack("self", layers, query_tokens=[Tokens.numbered(64)])])
    made = cap.without_keys([5, 0])
    twins = zip(cap.stacks["self"].layers, made.stacks["self"].layers, strict=True)
    assert all(one.q is two.q and one.k is two.k for one, two in twins)
    assert made.nbytes <= cap.nbytes + 3 * 64
    assert 'note: keys 0 "0", 5 "5" hidden, rows renormalised over the rest' in repr(made)
    assert "padding" not in repr(made)
    assert "2 keys hidden" in repr(made)
    assert "hidden" not in repr(cap)
    words = made.in_words()
    cap.close()
    for closed in (made, words):
        assert closed.closed
        with pytest.raises(CaptureError, match="the capture that this one was made from was closed, and holds nothing"):
            closed.weights(0, 0)
    with pytest.raises(CaptureError, match=r"^this capture was closed, and holds nothing any more: capture the model"):
        cap.weights(0, 0)


def test_closing_what_was_made_leaves_the_first_open():
    cap = make_capture()
    cap.without_keys([0]).close()
    assert cap.weights(0, 0).shape == (7, 7)


def test_masks_that_layers_share_are_counted_once():
    bits = np.full((1, 1, 64, 8), 255, dtype=np.uint8)
    mask = Mask(64, 64, bits=bits)
    cap = AttentionCapture([AttentionStack("self", [factors(seed, 64, mask=mask) for seed in range(4)])])
    made = cap.without_keys([0])
    assert made.nbytes - cap.nbytes == 64, "one more row of padding, for all layers"
    dense = [DenseAttention(cap.weights(number)[None], mask) for number in range(4)]
    plain = AttentionCapture([AttentionStack("self", dense)])
    assert plain.without_keys([0]).nbytes - plain.nbytes == 4 * 64


def test_every_question_works_on_it():
    cap = AttentionCapture([AttentionStack("self", [factors(3, 40, peaked=0)])])
    made = cap.without_keys([0])
    full = made.weights(0, 1)
    assert made.pair(query=9, key=3)[0, 1] == pytest.approx(full[9, 3])
    work = made.refine(0, 1, level=2)
    while not work.step():
        pass
    np.testing.assert_allclose(
        work.tile.values, np.where(made.allowed(0, 1), full, -1).reshape(10, 4, 10, 4).max(axis=(1, 3)), rtol=1e-5
    )
    received = made.marginals(0, 1, width=40).received
    assert np.isnan(received[0])
    np.testing.assert_allclose(received[1:], full[:, 1:].mean(axis=0), rtol=1e-4)
    assert made.patterns()["first"][0, 1] == 0
    np.testing.assert_array_equal(made.scores(0, 1), cap.scores(0, 1))
    assert not made.verify().ok


def test_wrong_keys_are_named():
    cap = make_capture()
    with pytest.raises(IndexError, match="key 7 does not exist: stack 'self' has keys 0 to 6"):
        cap.without_keys([7])
    with pytest.raises(TypeError, match="key is 'a'; expected an int from 0 to 6"):
        cap.without_keys(["a"])
    with pytest.raises(KeyError, match="stack 'x' does not exist"):
        cap.without_keys([0], stack="x")


def test_no_keys_change_nothing():
    cap = make_capture()
    made = cap.without_keys([])
    np.testing.assert_array_equal(made.weights(), cap.weights())
    assert made.notes == cap.notes
