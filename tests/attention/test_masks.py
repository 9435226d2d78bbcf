"""Compact masks reproduce the mask a kernel received, to the bit."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, GPT2Config, MistralConfig

from attnwidget.attention import Mask, recognise_mask

ALL = slice(0, None)


def whole(mask: Mask | None, shape: tuple[int, ...]) -> np.ndarray:
    if mask is None:
        return np.ones(shape, dtype=bool)
    rows, columns = slice(0, shape[2]), slice(0, shape[3])
    return np.stack(
        [
            np.broadcast_to(mask.allowed(example, slice(0, shape[1]), rows, columns), shape[1:])
            for example in range(shape[0])
        ]
    )


@st.composite
def rule_masks(draw):
    """(B, 1, Tq, Tk): a band and padding, some rows closed or opened."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    batch, n_queries, n_keys = draw(st.integers(1, 3)), draw(st.integers(1, 14)), draw(st.integers(1, 14))
    offset = np.arange(n_keys)[None] - np.arange(n_queries)[:, None]
    band = np.ones((n_queries, n_keys), dtype=bool)
    if draw(st.booleans()):
        band &= offset <= draw(st.integers(-3, 5))
    if draw(st.booleans()):
        band &= offset >= -draw(st.integers(0, 6))
    array = np.broadcast_to(band, (batch, n_queries, n_keys)).copy()
    if draw(st.booleans()):
        for example in array:
            start = rng.integers(0, n_keys)
            example[:, :start] = False
    if draw(st.booleans()):
        array[:, rng.integers(0, n_queries)] = draw(st.booleans())
    return array[:, None]


@settings(max_examples=200, deadline=None)
@given(rule_masks())
def test_rules_reproduce_the_mask(array):
    found = recognise_mask(torch.from_numpy(array), n_queries=array.shape[2], n_keys=array.shape[3])
    np.testing.assert_array_equal(whole(found, array.shape), array)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(1, 20))
def test_any_other_mask_is_kept_as_bits(seed, batch, heads, n_queries, n_keys):
    array = np.random.default_rng(seed).random((batch, heads, n_queries, n_keys)) > 0.5
    found = recognise_mask(array, n_queries=n_queries, n_keys=n_keys)
    np.testing.assert_array_equal(whole(found, array.shape), array)
    if found is not None and found.bits is not None:
        rows, columns = np.array([n_queries - 1, 0]), np.array([n_keys - 1, 0])
        part = found.allowed(batch - 1, np.array([heads - 1]), rows, columns)
        expected = array[batch - 1, heads - 1][np.ix_(rows, columns)]
        np.testing.assert_array_equal(np.broadcast_to(part, (1, 2, 2))[0], expected)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    ("make", "config", "words"),
    [
        ("create_causal_mask", GPT2Config(), "causal, padding"),
        ("create_sliding_window_causal_mask", MistralConfig(sliding_window=5), "causal, window 5, padding"),
        ("create_bidirectional_mask", BertConfig(), "padding"),
    ],
)
def test_the_masks_transformers_makes_are_rules(make, config, words, left, implementation):
    config._attn_implementation = implementation
    padding = torch.ones(3, 16, dtype=torch.long)
    padding[1, 10:] = padding[2, 4:] = 0
    if left:
        padding = padding.flip(1)
    masking = pytest.importorskip("transformers.masking_utils", reason="transformers makes masks elsewhere")
    if not hasattr(masking, make):
        pytest.skip("this transformers has no such mask")
    embeds = torch.zeros(3, 16, 8)
    options = {"config": config, "attention_mask": padding}
    if make != "create_bidirectional_mask":
        options["past_key_values"] = None
    if "cache_position" in (known := inspect.signature(getattr(masking, make)).parameters):
        options["cache_position"] = torch.arange(16)
    made = getattr(masking, make)(
        **options, **{"inputs_embeds" if "inputs_embeds" in known else "input_embeds": embeds}
    )
    assert made is not None
    found = recognise_mask(made, n_queries=16, n_keys=16)
    assert found is not None
    assert (found.bits, found.bias) == (None, None)
    assert found.describe() == words
    allowed = made if made.dtype == torch.bool else made == 0
    np.testing.assert_array_equal(whole(found, (3, 1, 16, 16)), np.broadcast_to(allowed.numpy(), (3, 1, 16, 16)))


def test_is_causal_is_aligned_to_the_upper_left_as_torch_does():
    found = recognise_mask(None, n_queries=3, n_keys=5, is_causal=True)
    q, k, v = torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 5, 4), torch.eye(5)[None, None]
    seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True) > 0
    np.testing.assert_array_equal(whole(found, (1, 1, 3, 5)), seen.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("low", ["min", "inf"])
def test_additive_masks_that_only_forbid_become_boolean(dtype, low):
    value = torch.finfo(dtype).min if low == "min" else -torch.inf
    allowed = torch.ones(6, 6, dtype=torch.bool).tril()
    found = recognise_mask(torch.zeros(6, 6, dtype=dtype).masked_fill(~allowed, value), n_queries=6, n_keys=6)
    assert found is not None
    assert (found.describe(), found.nbytes) == ("causal", 0)


def test_a_bias_is_kept_beside_the_rule_it_comes_with():
    bias = torch.randn(1, 4, 6, 6)
    allowed = torch.ones(6, 6, dtype=torch.bool).tril()
    found = recognise_mask(bias.masked_fill(~allowed, torch.finfo(torch.float32).min), n_queries=6, n_keys=6)
    assert found is not None
    assert found.describe() == "causal, bias"
    added = found.added(0, slice(1, 2), slice(2, 6), slice(0, 3))
    np.testing.assert_array_equal(added[0], bias[0, 1].masked_fill(~allowed, 0)[2:6, 0:3].numpy())


def test_no_mask_and_a_mask_that_allows_everything_are_none():
    assert recognise_mask(None, n_queries=4, n_keys=4) is None
    assert recognise_mask(torch.ones(4, 4, dtype=torch.bool), n_queries=4, n_keys=4) is None
    assert recognise_mask(torch.zeros(2, 1, 4, 4), n_queries=4, n_keys=4) is None


def test_a_long_mask_costs_a_few_bytes():
    mask = torch.ones(1, 1, 512, 512, dtype=torch.bool).tril()
    mask[:, :, :, :7] = False
    found = recognise_mask(mask, n_queries=512, n_keys=512)
    assert found is not None
    assert found.nbytes == 512
