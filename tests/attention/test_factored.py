"""Factored weights against torch.softmax over the full matrix."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import FactoredAttention, Mask, recognise_mask
from attnwidget.attention.limits import limits

ALL = slice(0, None)


def reference(q, k, *, scale, softcap=None, sinks=None, bias=None, allowed=None):
    """(B, H, Tq, Tk): the whole matrix, by torch.softmax."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    if sinks is not None:
        column = sinks.double()[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    weights = torch.softmax(scores, dim=-1).nan_to_num(0)
    return weights[..., : k.shape[2]].float().numpy()


@st.composite
def cases(draw):
    torch.manual_seed(draw(st.integers(0, 2**16)))
    batch, group, key_heads = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    n_queries, n_keys, size = draw(st.integers(1, 17)), draw(st.integers(1, 17)), draw(st.integers(1, 8))
    q = torch.randn(batch, group * key_heads, n_queries, size) * 2
    k = torch.randn(batch, key_heads, n_keys, size) * 2
    options = {
        "scale": draw(st.sampled_from([1.0, 0.3, size**-0.5])),
        "softcap": draw(st.sampled_from([None, 2.0, 30.0])),
        "sinks": torch.randn(group * key_heads) if draw(st.booleans()) else None,
    }
    shape = (draw(st.sampled_from([1, batch])), draw(st.sampled_from([1, group * key_heads])), n_queries, n_keys)
    allowed = torch.rand(shape) > 0.4 if draw(st.booleans()) else None
    bias = torch.randn(shape) if draw(st.booleans()) else None
    return q, k, options, allowed, bias


@settings(max_examples=150, deadline=None)
@given(cases())
def test_weights_equal_a_softmax_over_the_full_matrix(case):
    q, k, options, allowed, bias = case
    passed = allowed
    if bias is not None:
        passed = bias if allowed is None else bias.masked_fill(~allowed, -torch.inf)
    mask = recognise_mask(passed, n_queries=q.shape[2], n_keys=k.shape[2])
    attention = FactoredAttention(q, k, mask=mask, **options)
    expected = reference(q, k, allowed=allowed, bias=bias, **options)
    # The rounding of a float32 score becomes the relative error of its weight.
    largest = max(np.abs(attention.scores(example, ALL, ALL, ALL)).max() for example in range(q.shape[0]))
    tolerance = 4 * np.finfo(np.float32).eps * max(4.0, float(largest))
    for example in range(q.shape[0]):
        np.testing.assert_allclose(attention.weights(example, ALL, ALL, ALL), expected[example], atol=tolerance)
        rows, columns = np.array([q.shape[2] - 1, 0]), np.array([0, k.shape[2] - 1])
        picked = attention.weights(example, np.array([q.shape[1] - 1]), rows, columns)
        np.testing.assert_allclose(picked[0], expected[example][-1][np.ix_(rows, columns)], atol=tolerance)


def test_a_row_that_may_look_at_nothing_is_zero_also_with_the_lse_of_a_kernel():
    q = k = torch.randn(1, 2, 5, 8)
    allowed = torch.ones(5, 5, dtype=torch.bool).tril()
    allowed[3] = False
    additive = torch.zeros(5, 5).masked_fill(~allowed, -torch.inf)
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, k, attn_mask=additive)
    assert not output[:, :, 3].nan_to_num(0).any()  # torch 2.4 returns NaN for such a row
    mask = recognise_mask(allowed, n_queries=5, n_keys=5)
    for kernel_lse in (lse, None):
        weights = FactoredAttention(q, k, kernel_lse, mask=mask).weights(0, ALL, ALL, ALL)
        assert not weights[:, 3].any()
        np.testing.assert_allclose(weights[:, [0, 1, 2, 4]].sum(-1), 1, atol=1e-5)


def test_lse_is_computed_in_blocks_once_by_many_threads(monkeypatch):
    monkeypatch.setattr(limits, "block_bytes", 4 * 33 * 5)
    q, k = torch.randn(1, 4, 33, 8), torch.randn(1, 2, 33, 8)
    attention = FactoredAttention(q, k, mask=Mask.causal(33, 33))
    calls, results = [], []
    keep = attention.denominators.keep

    def counted(example, head, rows, found):
        calls.append(head)
        keep(example, head, rows, found)

    attention.denominators.keep = counted
    threads = [threading.Thread(target=lambda: results.append(attention.weights(0, ALL, ALL, ALL))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = reference(q, k, scale=8**-0.5, allowed=torch.ones(33, 33, dtype=torch.bool).tril())[0]
    assert sorted(calls) == [0, 1, 2, 3]
    for found in results:
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_half_precision_factors_are_looked_at_in_float32():
    q, k = torch.randn(1, 2, 9, 16).bfloat16(), torch.randn(1, 2, 9, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        found = FactoredAttention(q, k).weights(0, ALL, ALL, ALL)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(q.float(), k.float(), scale=0.25)[0], atol=2e-6)


def test_made_in_inference_mode_and_asked_outside():
    with torch.inference_mode():
        q = torch.randn(1, 2, 9, 16)
        attention = FactoredAttention(q, q)
        attention.weights(0, slice(0, 1), ALL, ALL)
    np.testing.assert_allclose(attention.weights(0, ALL, ALL, ALL), reference(q, q, scale=0.25)[0], atol=2e-6)


def test_scores_have_scale_and_cap_and_no_mask():
    q, k = torch.randn(1, 2, 4, 8), torch.randn(1, 1, 4, 8)
    found = FactoredAttention(q, k, scale=0.5, softcap=3.0, mask=Mask.causal(4, 4)).scores(0, ALL, ALL, ALL)
    expected = 3 * torch.tanh(q[0] @ k[0, 0].T * 0.5 / 3)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("q", "k", "options", "text"),
    [
        ((1, 2, 3), (1, 2, 3), {}, "q has shape (1, 2, 3) and k (1, 2, 3); expected (batch, heads, tokens, head size)"),
        ((1, 3, 4, 8), (1, 2, 4, 8), {}, "a number of query heads that is a multiple of the key heads"),
        ((1, 2, 4, 8), (1, 2, 4, 8), {"lse": torch.zeros(1, 2, 5)}, "lse has shape (1, 2, 5); expected"),
        (
            (1, 2, 4, 8),
            (1, 2, 4, 8),
            {"sinks": torch.zeros(3)},
            "sinks have shape (3,); expected one per head, here (2,)",
        ),
        (
            (1, 2, 4, 8),
            (1, 2, 4, 8),
            {"mask": Mask.causal(4, 5)},
            "the mask is 4 x 5; expected queries x keys, here 4 x 4",
        ),
    ],
)
def test_shapes_that_do_not_fit(q, k, options, text):
    with pytest.raises(ValueError, match="expected") as error:
        FactoredAttention(torch.zeros(q), torch.zeros(k), **options)
    assert text in str(error.value)


def test_a_mask_for_other_heads_or_examples_is_refused():
    q = torch.zeros(2, 4, 3, 8)
    for shape, words in (
        ((1, 3, 3, 1), "'bits' of the mask has shape"),
        ((3, 1, 3, 1), "expected one entry for all of 2"),
    ):
        with pytest.raises(ValueError, match=words):
            FactoredAttention(q, q, mask=Mask(3, 3, bits=np.zeros(shape, np.uint8)))
    with pytest.raises(ValueError, match="'keys' of the mask has shape"):
        FactoredAttention(q, q, mask=Mask(3, 3, keys=np.ones((3, 3), np.bool_)))
