"""Masks that hold at once, as one, against all of them asked one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import Mask, combine_masks, recognise_mask, without_bias

N = 9


@st.composite
def masks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    kind = draw(st.sampled_from(["band", "padding", "bits", "blocks", "bias", "relative", "rows"]))
    tri, positions = np.tri(N, dtype=bool), np.arange(N)
    array = {
        "band": lambda: tri & ~np.tri(N, k=-draw(st.integers(2, 5)), dtype=bool),
        "padding": lambda: np.broadcast_to(rng.random((2, 1, 1, N)) > 0.3, (2, 1, N, N)),
        "bits": lambda: rng.random((1, 2, N, N)) > 0.4,
        "blocks": lambda: positions[:, None] // 3 == positions // 3,
        "bias": lambda: rng.standard_normal((1, 2, N, N)).astype(np.float32),
        "relative": lambda: (positions[:, None] - positions).astype(np.float32) * 0.5,
        "rows": lambda: tri & (positions[:, None] != draw(st.integers(0, 8))),
    }[kind]()
    return recognise_mask(array, n_queries=N, n_keys=N) or Mask(N, N)


@settings(deadline=None, max_examples=150)
@given(st.lists(masks(), min_size=1, max_size=3))
def test_combined_is_all_of_them(several):
    one = combine_masks(several)
    everything = slice(0, 2), slice(0, N), slice(0, N)
    shape = (2, N, N)
    for example in range(2):
        allowed = np.ones(shape, dtype=bool)
        added = np.zeros(shape, dtype=np.float32)
        for mask in several:
            allowed &= mask.allowed(example, *everything)
            more = mask.added(example, *everything)
            added = added if more is None else added + more
        np.testing.assert_array_equal(np.broadcast_to(one.allowed(example, *everything), shape), allowed)
        found = one.added(example, *everything)
        found = np.zeros(shape) if found is None else np.broadcast_to(found, shape)
        np.testing.assert_allclose(found[allowed], added[allowed], rtol=1e-6)
        alone = without_bias(one)
        if alone is None:
            assert allowed.all()
        else:
            assert alone.added(example, *everything) is None
            np.testing.assert_array_equal(np.broadcast_to(alone.allowed(example, *everything), shape), allowed)


def test_bands_stay_bands():
    one = combine_masks([Mask.causal(N, N), Mask(N, N, lowest=-3), Mask(N, N, keys=np.ones((1, N), dtype=bool))])
    assert (one.lowest, one.highest, one.bits, one.ranges) == (-3, 0, None, None)
