"""Every number between q and k and one weight, against torch computing by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import (
    AttentionCapture,
    AttentionStack,
    DenseAttention,
    FactoredAttention,
    FramedAttention,
    Mask,
    PairDetail,
)
from attnwidget.attention.pairdetail import number_text
from attnwidget.attention.segmented import SegmentedAttention

HEADS, KEY_HEADS, TOKENS, SIZE = 4, 2, 6, 8


class Shifted:
    """A score modifier: something per distance, and nothing beyond three tokens."""

    words, may_forbid = "shifted", True

    @property
    def held(self):
        return {}

    def __call__(self, scores, example, heads, queries, keys):
        distance = torch.from_numpy(keys[None, :] - queries[:, None])
        return (scores - 0.5 * distance.abs()).masked_fill(distance.abs() > 3, -torch.inf)


def capture(layer, names="abcdef", **spans):
    return AttentionCapture([AttentionStack("self", [layer], **spans)], model="toy")


def by_hand(layer, added, example, head, query, key):
    """What torch makes of the factors: raw score, capped, after the modifier, with everything added, and lse."""
    q, k = layer.q[example, head, query].float(), layer.k[example, head // 2].float()
    raw = k @ q * layer.scale
    capped = layer.softcap * torch.tanh(raw / layer.softcap) if layer.softcap else raw
    places = np.arange(TOKENS)
    score = (
        capped if layer.modifier is None else layer.modifier(capped[None, None], 0, 0, np.array([query]), places)[0, 0]
    )
    logits = score if added is None else score + torch.from_numpy(added[0, head, query])
    if layer.mask is not None and layer.mask.highest == 0:
        logits = logits.masked_fill(torch.arange(TOKENS) > query, -torch.inf)
    lse = torch.logsumexp(logits if layer.sinks is None else torch.cat([logits, layer.sinks[head : head + 1]]), 0)
    return raw[key], capped[key], score[key], logits[key], lse


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_all_numbers_are_those_of_torch(data):
    """softmax over the scores with everything in it, written out for whole rows."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    q = torch.randn(2, HEADS, TOKENS, SIZE, generator=generator).to(dtype) * data.draw(st.sampled_from([1, 4]))
    k = torch.randn(2, KEY_HEADS, TOKENS, SIZE, generator=generator).to(dtype)
    added = data.draw(st.sampled_from([None, torch.randn(1, HEADS, TOKENS, TOKENS, generator=generator).numpy()]))
    mask = data.draw(st.sampled_from([None, Mask.causal(TOKENS, TOKENS)]))
    layer = FactoredAttention(
        q,
        k,
        scale=data.draw(st.sampled_from([None, 1.0, 0.2])),
        softcap=data.draw(st.sampled_from([None, 2.0])),
        sinks=data.draw(st.sampled_from([None, torch.randn(HEADS, generator=generator)])),
        modifier=data.draw(st.sampled_from([None, Shifted()])),
        mask=mask if added is None else dataclasses.replace(mask or Mask(TOKENS, TOKENS), bias=added),
    )
    cap = capture(layer)
    example, head = data.draw(st.integers(0, 1)), data.draw(st.integers(0, HEADS - 1))
    query, key = data.draw(st.integers(0, TOKENS - 1)), data.draw(st.integers(0, TOKENS - 1))
    found = cap.detail(0, head, query, key, batch=example)

    raw, capped, score, logit, lse = map(float, by_hand(layer, added, example, head, query, key))
    mine, other = q[example, head, query].float().numpy(), k[example, head // 2, key].float().numpy()
    np.testing.assert_array_equal([found.q, found.k, found.products], [mine, other, mine * other])
    assert found.q.dtype == found.k.dtype == found.products.dtype == np.float32
    near = {"rel": 1e-5, "abs": 2e-5}
    assert (found.products.sum(), found.dot) == pytest.approx((float(mine @ other),) * 2, **near)
    assert (found.scale, found.softcap, found.key_head, found.group) == (layer.scale, layer.softcap, head // 2, 2)
    assert (found.raw, found.capped, found.score) == pytest.approx((raw, capped, score), **near)
    assert found.modified == pytest.approx(score - capped, **near)
    assert found.bias == (0 if added is None else pytest.approx(float(added[0, head, query, key])))
    assert (found.lse, found.log_weight) == pytest.approx((lse, logit - lse), **near)
    assert found.masked == (logit == -np.inf)
    assert found.weight == pytest.approx(np.exp(logit - lse), abs=1e-5)
    assert found.weight == cap.weights(0, head, queries=[query], keys=[key], batch=example)[0, 0]
    assert found.weight == pytest.approx(cap.weights(0, head, batch=example)[query, key], abs=1e-6)
    share = None if layer.sinks is None else pytest.approx(np.exp(float(layer.sinks[head]) - lse), abs=1e-5)
    assert found.sink_share == share
    assert ("modifier" in repr(found)) == (found.modified != 0)
    assert f"key head {head // 2} shared by 2 heads" in repr(found)


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20), st.floats(0, 1))
def test_how_few_components_hold_a_share(numbers, share):
    size = len(numbers)
    cap = capture(FactoredAttention(torch.tensor(numbers)[None, None, None], torch.ones(1, 1, 1, size)))
    found = cap.detail(0, 0, 0, 0)
    magnitudes = sorted((abs(number) for number in numbers), reverse=True)
    n = found.components(share)
    assert sum(magnitudes[:n]) >= share * sum(magnitudes) * (1 - 1e-9)
    assert n == 0 or sum(magnitudes[: n - 1]) < share * sum(magnitudes)


def test_a_share_beyond_all():
    cap = capture(FactoredAttention(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2)))
    with pytest.raises(ValueError, match=r"share is 1\.5; expected a number from 0 to 1"):
        cap.detail(0, 0, 0, 0).components(1.5)


def test_it_prints_as_a_table():
    q, k = torch.tensor([[1.0, 2.0, 0.0, 0.0]]), torch.tensor([[3.0, 0.5, 9.0, 9.0], [0.0, 0.0, 1.0, 0.0]])
    layer = FactoredAttention(q[None, None], k[None, None], softcap=50.0, sinks=torch.zeros(1))
    tokens = AttentionCapture.from_weights(np.full((1, 1, 1, 2), 0.5), ["it"], key_tokens=["an", "<s>"]).stacks["self"]
    stack = AttentionStack("self", [layer], query_tokens=tokens.query_tokens, key_tokens=tokens.key_tokens)
    assert repr(AttentionCapture([stack]).detail(0, 0, 0, 0)) == (
        "PairDetail(layer 0 head 0 of example 0 of stack 'self': query 0 'it' -> key 0 'an')\n"
        "  score 2.00 = scale 0.500 × q · k 4.00\n"
        "  soft cap 50.0 → 2.00\n"
        "  + bias 0\n"
        "  − lse 2.24\n"
        "  weight = exp(−0.240) = 0.787\n"
        "  sink 0.107 of the row\n"
        "  2 of 4 components make 80 % of the sum of |q × k|"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.25, "−0.250"),
        (1 / 3, "0.333"),
        (12345.67, "12345.7"),
        (-2.5e-7, "−2.50 × 10⁻⁷"),
        (1.25e-38, "1.25 × 10⁻³⁸"),
        (9.999e-5, "1.00 × 10⁻⁴"),
        (-np.inf, "−∞"),
        (np.nan, "not a number"),
    ],
)
def test_numbers_are_printed_as_the_view_prints_them(number, text):
    assert number_text(number) == text


def test_masked_pairs_and_rows_that_may_look_at_nothing():
    mask = Mask(3, 3, highest=0, keys=np.array([[False, True, True]]))
    torch.manual_seed(0)
    cap = capture(FactoredAttention(torch.randn(1, 1, 3, 4), torch.randn(1, 1, 3, 4), mask=mask))
    found = cap.detail(0, 0, 1, 2)
    assert (found.masked, found.weight, found.log_weight) == (True, 0, -np.inf)
    assert np.isfinite([found.score, found.lse]).all()
    assert "not allowed by the mask" in repr(found)
    nothing = cap.detail(0, 0, 0, 0)
    assert (nothing.masked, nothing.weight, nothing.lse) == (True, 0, -np.inf)
    assert "lse" not in repr(nothing)


def test_padding_is_not_counted():
    torch.manual_seed(0)
    q = torch.randn(1, 1, 5, 4)
    cap = capture(FactoredAttention(q, q), query_spans=[(2, 5)])
    np.testing.assert_array_equal(cap.detail(0, 0, 1, 0).q, q[0, 0, 3])
    np.testing.assert_array_equal(cap.detail(0, 0, 1, 0).k, q[0, 0, 2])
    with pytest.raises(IndexError, match="key 3 does not exist: example 0 of stack 'self' has keys 0 to 2"):
        cap.detail(0, 0, 0, 3)
    with pytest.raises(IndexError, match="head 1 does not exist: stack 'self' has heads 0 to 0"):
        cap.detail(0, 1, 0, 0)
    with pytest.raises(KeyError, match="stack 'cross' does not exist"):
        cap.detail(0, 0, 0, 0, stack="cross")


def test_an_overflow_is_shown_as_it_is():
    q = torch.full((1, 1, 1, 2), 3e38)
    found = capture(FactoredAttention(q, q)).detail(0, 0, 0, 0)
    assert found.dot == np.inf
    assert not np.isfinite(found.log_weight)
    assert found.components() == 2
    assert "q · k ∞" in repr(found)


def test_rows_come_from_the_keys_that_they_saw():
    torch.manual_seed(0)
    q, early, late = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    cap = capture(SegmentedAttention([FactoredAttention(q[:, :, :2], early), FactoredAttention(q[:, :, 2:], late)]))
    np.testing.assert_array_equal(cap.detail(0, 1, 1, 2).k, early[0, 1, 2])
    np.testing.assert_array_equal(cap.detail(0, 1, 2, 2).k, late[0, 1, 2])
    np.testing.assert_array_equal(cap.detail(0, 1, 2, 2).q, q[0, 1, 2])


def test_windows_answer_for_the_pairs_that_they_hold():
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 2, 4), torch.randn(2, 2, 3, 4)
    queries, keys = np.array([[0, 1], [2, 3]]), np.array([[-1, 0, 1], [1, 2, 2]])
    windows = FactoredAttention(q, k)
    cap = capture(FramedAttention(windows, queries, keys, n_examples=1, n_queries=4, n_keys=4))
    found = cap.detail(0, 1, 2, 1)
    np.testing.assert_array_equal(found.q, q[1, 1, 0])
    np.testing.assert_array_equal(found.k, k[1, 1, 0])
    assert found.weight == cap.weights(0, 1)[2, 1]
    with pytest.raises(
        ValueError,
        match="there is no score: no window holds both query 0 and key 3, so their weight is 0; ask for a pair within",
    ):
        cap.detail(0, 0, 0, 3)
    with pytest.raises(ValueError, match="key 2 stands 2 times in the window of query 3, and its weight is their sum"):
        cap.detail(0, 0, 3, 2)


def test_weights_alone_say_that_q_and_k_are_not_known():
    weights = np.full((1, 1, 2, 2), 0.5, dtype=np.float32)
    says = "q and k are not known: this capture holds weights only, of this layer at least"
    with pytest.raises(ValueError, match=says):
        AttentionCapture.from_weights(weights).detail(0, 0, 0, 0)
    framed = FramedAttention(
        DenseAttention(weights), np.array([[0, 1]]), np.array([[0, 1]]), n_examples=1, n_queries=2, n_keys=2
    )
    with pytest.raises(ValueError, match=says):
        capture(framed).detail(0, 0, 0, 0)


def test_weights_made_from_others_say_so():
    class Mean:
        """Answers what is needed to be shown, and knows of no single pair."""

        n_examples = n_heads = 1
        n_queries = n_keys = 2
        n_key_heads = head_size = window = mask = probe = None
        detail = "mean of 4 heads"

    with pytest.raises(
        ValueError,
        match=r"q and k are not known: these weights \(mean of 4 heads\) are made from several others; ask the capture",
    ):
        capture(Mean()).detail(0, 0, 0, 0)


def test_it_cannot_be_written_to():
    found = PairDetail(
        *(np.ones(2, np.float32),) * 2, 0, 1, 2.0, 1.0, 2.0, None, 2.0, 0.0, 0.0, False, 2.0, 0.0, 1.0, None
    )  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.weight = 0.5
