"""Queries and keys kept in a smaller type: how far weights are from those of the run, and what is told of it."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnwidget as aw
from attnwidget.intercept.keeping import Keeper
from attnwidget.intercept.narrowing import kept
from attnwidget.intercept.terms import Terms

TYPES = [torch.bfloat16, torch.float16]
PADDED = torch.ones_like(tiny.ids()).index_fill_(1, torch.arange(4), 0)


def run(model, mask=PADDED, **options):
    with torch.no_grad(), aw.capture(model, **options) as cap:
        model(tiny.ids(), attention_mask=mask)
    return cap


def bound(layer, eps, example):
    """By how much of itself each weight may be off, (H, Tq, Tk): twice what a score may, exponentiated.

    Each number is off by eps / 2 of itself at most, so a product by (1 + eps / 2)^2 - 1, and a weight in a row whose
    denominator is off likewise by the square of exp of that.
    """
    q, k = layer.q[min(example, len(layer.q) - 1)].abs(), layer.k[min(example, len(layer.k) - 1)].abs()
    k = k.repeat_interleave(len(q) // len(k), dim=0)
    score = (eps + eps**2 / 4) * abs(layer.scale) * (q @ k.transpose(1, 2))
    return np.expm1(2 * score.amax(-1, keepdim=True).numpy())


@pytest.mark.parametrize("dtype", [*TYPES, "bfloat16", "torch.float16"])
@pytest.mark.parametrize("store", ["device", "cpu", "disk"])
@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_within_what_rounding_explains_and_rows_sum_to_one(dtype, store, make):
    model = make()
    full, cap = run(model), run(model, dtype=dtype, store=store)
    eager = make(attn_implementation="eager")
    with torch.no_grad():
        true = eager(tiny.ids(), attention_mask=PADDED, output_attentions=True).attentions
    wanted = getattr(torch, dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    for number, layer in enumerate(cap.stacks["self"].layers):
        assert layer.q.dtype == layer.k.dtype == wanted
        assert layer.known_lse is None, "of what is kept, not of what the kernel saw"
        for example in range(2):
            found = cap.weights(layer=number, batch=example)
            limit = bound(full.stacks["self"].layers[number], torch.finfo(wanted).eps, example)
            exact = true[number][example].numpy() * (PADDED[example].numpy()[:, None] == 1)
            assert (np.abs(found - exact) <= limit * exact + 1e-5).all()
            seen = cap.allowed(layer=number, batch=example)
            np.testing.assert_array_equal(seen, full.allowed(layer=number, batch=example))
            np.testing.assert_allclose(found.sum(-1)[seen.any(-1)], 1, atol=2e-6)
            assert found.max() <= 1
    assert np.abs(cap.weights() - full.weights()).max() > 1e-6, "rounding shows"
    check = cap.verify()
    assert check.ok
    assert 1e-5 < check.largest < max(layer.tolerance for layer in check.layers)
    assert f"q k {str(wanted).removeprefix('torch.')}" in repr(cap)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(TYPES),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0.01, 4),
    st.integers(0, 99),
)
def test_the_bound_holds_for_any_factors(dtype, group, n_queries, n_keys, size, seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(1, 4, n_queries, 8, generator=generator) * size
    k = torch.randn(1, 4 // group, n_keys, 8, generator=generator) * size
    v = torch.randn(1, 4 // group, n_keys, 5, generator=generator)
    true = torch.softmax((q @ k.repeat_interleave(group, 1).transpose(2, 3) * 8**-0.5).double(), -1)
    plain = Keeper()
    lent = aw.FactoredAttention(q, k, probe=plain.probe(v, true.float() @ v.repeat_interleave(group, 1)))
    found = kept(lent, Keeper(Terms(dtype=dtype)))
    weights = found.weights(0, slice(0, 4), slice(0, n_queries), slice(0, n_keys))
    limit = bound(lent, torch.finfo(dtype).eps, 0) * true[0].numpy()
    assert (np.abs(weights - true[0].numpy()) <= limit + 1e-5).all()
    assert found.probe.kept == torch.finfo(dtype).eps
    assert aw.AttentionCapture([aw.AttentionStack("self", [found])]).verify().ok


def test_denominators_of_what_is_kept_are_nearer_to_the_truth_than_the_kernels():
    """A head whose first key takes most of every row by one large number, as models of language have them."""
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 4, 256, 64, generator=generator) for _ in range(2))
    q[..., 3] += 8
    k[:, :, 0, 3] += 20
    lse = torch.logsumexp(q @ k.transpose(2, 3) / 8, -1)
    everything = 0, slice(0, 4), slice(0, 256), slice(0, 256)
    true = aw.FactoredAttention(q, k, lse).weights(*everything)
    for dtype in TYPES:
        own = aw.FactoredAttention(q.to(dtype), k.to(dtype)).weights(*everything)
        kernels = aw.FactoredAttention(q.to(dtype), k.to(dtype), lse).weights(*everything)
        assert np.abs(own - true).max() * 20 < np.abs(kernels - true).max()


def test_verify_still_tells_a_wrong_layer_from_a_rounded_one():
    cap = run(tiny.llama(), dtype="float16")
    layer = cap.stacks["self"].layers[2]
    layer.k = layer.k.flip(2)
    assert [check.layer for check in cap.verify().wrong] == [2]


def test_half_of_the_bytes_and_a_model_in_that_type_is_kept_as_it_is():
    full, cap = run(tiny.llama()), run(tiny.llama(), dtype="bfloat16")
    factors = sum(part.nbytes for layer in full.stacks["self"].layers for part in (layer.q, layer.k))
    lse = sum(layer.known_lse.nbytes for layer in full.stacks["self"].layers)
    assert cap.nbytes == full.nbytes - factors // 2 - lse
    model = tiny.llama().to(torch.bfloat16)
    same, asked = run(model), run(model, dtype="bfloat16")
    assert asked.held == same.held
    np.testing.assert_array_equal(asked.weights(), same.weights())
    assert asked.stacks["self"].layers[0].probe.kept == 0
    exact = run(model, dtype="float16")  # has more bits for the same numbers
    np.testing.assert_array_equal(exact.weights(), same.weights())


def test_numbers_that_float16_does_not_hold_are_kept_as_bfloat16_and_that_is_told():
    model = tiny.llama()
    with torch.no_grad():
        model.model.layers[1].self_attn.k_proj.weight[0] *= 1e6
        model.model.layers[1].self_attn.q_proj.weight[0] *= 1e-6
    cap = run(model, dtype="float16")
    types = [(layer.q.dtype, layer.k.dtype) for layer in cap.stacks["self"].layers]
    assert types == [(torch.float16,) * 2, (torch.float16, torch.bfloat16), *[(torch.float16,) * 2] * 2]
    assert np.isfinite(cap.weights()).all()
    assert (
        "some queries or keys are larger than float16 holds (65504): those are kept as bfloat16, which is as small and "
        "rounds 8 times as coarsely" in cap.notes
    )
    assert cap.verify().ok


def test_numbers_that_the_model_made_infinite_are_no_overflow_of_ours():
    model = tiny.llama(2)
    with torch.no_grad():
        model.model.layers[1].self_attn.k_proj.weight[0] = torch.inf
    with pytest.warns(aw.AttentionWarning, match="hold weights that are not numbers"):
        cap = run(model, dtype="float16")
    assert not any("float16 holds" in note for note in cap.notes)


@pytest.mark.parametrize("dtype", TYPES)
def test_weights_that_are_kept_themselves_are_kept_in_that_type_too(dtype):
    model = tiny.deberta()
    full, cap = run(model), run(model, dtype=dtype)
    assert f"weights, {str(dtype).removeprefix('torch.')}" in repr(cap)
    eps = torch.finfo(dtype).eps
    true = full.weights(batch=1)
    assert (np.abs(cap.weights(batch=1) - true) <= eps / 2 * true + 1e-7).all()
    assert 0 < np.abs(cap.weights(batch=1).sum(-1) - 1).max() <= eps
    assert cap.verify().ok


def test_generate():
    model = aw.AttentionModel(tiny.llama())
    options = {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}
    full = model.generate([[3, 4, 5, 6, 7]], **options)
    for dtype in TYPES:
        cap = model.generate([[3, 4, 5, 6, 7]], dtype=dtype, **options)
        assert cap.generation.ids == full.generation.ids
        for number, layer in enumerate(cap.stacks["self"].layers):
            assert layer.q.dtype == layer.k.dtype == dtype
            true = full.weights(layer=number)
            limit = bound(full.stacks["self"].layers[number], torch.finfo(dtype).eps, 0)
            assert (np.abs(cap.weights(layer=number) - true) <= limit * true + 1e-5).all()
        assert cap.verify().ok


@pytest.mark.parametrize("beams", [1, 3])
def test_examples_that_move_are_followed_all_the_same(beams):
    model = aw.AttentionModel(tiny.llama())
    options = {"max_new_tokens": 7, "num_beams": beams, "do_sample": False, "pad_token_id": 0}
    prompts = [[3, 4, 5, 6, 7], [8, 9, 10]]
    full, cap = model.generate(prompts, **options), model.generate(prompts, dtype="bfloat16", **options)
    assert cap.generation.ids == full.generation.ids
    for example in range(2):
        assert np.abs(cap.weights(batch=example) - full.weights(batch=example)).max() < 0.05
    assert cap.verify().ok


@pytest.mark.parametrize("dtype", ["float32", torch.float64, torch.int8, "half", 16])
def test_other_types_are_refused(dtype):
    with pytest.raises(
        ValueError, match=r"dtype is .*; expected torch.bfloat16 or torch.float16, their names, or None"
    ):
        run(tiny.llama(), dtype=dtype)
