"""Several masks as one: what all of them allow, and what they add together."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from attnwidget.attention import combine_masks, recognise_mask, without_bias

B, H, T = 2, 2, 5
KINDS = ["causal", "window", "padding", "random", "rows", "ranges", "bias", "relative", "per key"]


def array_of(kind, seed):
    """What a model might pass as one of several masks, (B | 1, H | 1, T, T)."""
    rng = np.random.default_rng(seed)
    distance = np.arange(T)[None, :] - np.arange(T)[:, None]
    causal, segment = distance <= 0, np.arange(T) // 2
    table, random = rng.normal(size=(1, H, 2 * T - 1)).astype(np.float32), rng.random((B, H, T, T))
    made = {
        "causal": causal[None, None],
        "window": (causal & (distance > -2))[None, None],
        "padding": np.broadcast_to((np.arange(T) < rng.integers(1, T + 1, (B, 1)))[:, None, None], (B, 1, T, T)),
        "random": random > 0.4,
        "rows": (random[:1, :1, :, :1] > 0.3) & causal,
        "ranges": (segment[None, :] == segment[:, None])[None, None],
        "bias": random[:1].astype(np.float32),
        "relative": table[..., distance + T - 1],
        "per key": np.broadcast_to(table[..., None, :T], (1, H, 1, T)),
    }
    return made[kind]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 99)), min_size=1, max_size=4))
def test_any_of_them(drawn):
    arrays = [array_of(kind, seed) for kind, seed in drawn]
    masks = [recognise_mask(array, n_queries=T, n_keys=T) for array in arrays]
    known = [mask for mask in masks if mask is not None]
    if not known:
        return
    found = combine_masks(known)
    everything = slice(0, H), slice(0, T), slice(0, T)
    for example in range(B):
        allowed, added = np.ones((H, T, T), dtype=bool), np.zeros((H, T, T), dtype=np.float32)
        for array in arrays:
            part = array[example if len(array) > 1 else 0]
            if array.dtype == bool:
                allowed &= part
            else:
                added += part
        np.testing.assert_array_equal(np.broadcast_to(found.allowed(example, *everything), allowed.shape), allowed)
        sums = found.added(example, *everything)
        np.testing.assert_allclose(np.broadcast_to(0 if sums is None else sums, added.shape), added, atol=1e-6)
        alone = without_bias(found)
        if alone is not None:
            assert alone.added(example, *everything) is None
            np.testing.assert_array_equal(np.broadcast_to(alone.allowed(example, *everything), allowed.shape), allowed)
        else:
            assert allowed.all()


def test_rules_stay_rules():
    causal, padding = (recognise_mask(array_of(kind, 3), n_queries=T, n_keys=T) for kind in ("causal", "padding"))
    relative = recognise_mask(array_of("relative", 0), n_queries=T, n_keys=T)
    found = combine_masks([causal, padding, relative, relative])
    assert (found.highest, found.bits, found.bias) == (0, None, None)
    np.testing.assert_allclose(found.relative, 2 * relative.relative)
    assert found.describe() == "causal, padding, relative bias"
