"""Masks of steps joined into one say what the steps said, pair by pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import Mask, recognise_mask
from attnwidget.attention.joining import StepMask, join_masks
from attnwidget.attention.maskparts import Tail, compact, cut, take


def whole(mask, shape):
    """(B, H, Tq, Tk) of any mask."""
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
def run_masks(draw):
    """A (B, 1, T, T + past) mask as models have them, and where runs ended."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    batch, rows, past = draw(st.integers(1, 3)), draw(st.integers(2, 14)), draw(st.integers(0, 3))
    offset = np.arange(rows + past)[None] - np.arange(past, rows + past)[:, None]
    band = offset <= 0
    kind = draw(st.sampled_from(["plain", "window", "chunks", "odd", "prefix"]))
    if kind == "window":
        band &= offset >= -draw(st.integers(0, 4))
    elif kind == "chunks":
        size = draw(st.integers(1, 5))
        band &= np.arange(past, rows + past)[:, None] // size == np.arange(rows + past)[None] // size
    elif kind == "odd":
        band &= rng.random(band.shape) < 0.8
    elif kind == "prefix":
        band[:2, : past + 2] = True
    array = np.broadcast_to(band, (batch, *band.shape)).copy()
    if draw(st.booleans()):
        for example in array:
            example[:, : rng.integers(0, 4)] = False
    cuts = sorted(draw(st.sets(st.integers(1, rows - 1), max_size=rows - 1)) | {0, rows})
    return array[:, None], cuts, draw(st.booleans()), kind


def steps_of(array, cuts, *, tight):
    for start, stop in itertools.pairwise(cuts):
        part = array[:, :, start:stop]
        used = np.flatnonzero(part.any(axis=(0, 1, 2)))
        low = used[0] if tight and len(used) else 0
        high = used[-1] + 1 if len(used) else low + 1
        part = part[..., low:high]
        mask = compact(recognise_mask(part, n_queries=part.shape[2], n_keys=part.shape[3]))
        yield StepMask(start, stop - start, int(low), part.shape[3], mask)


@settings(max_examples=400, deadline=None)
@given(run_masks())
def test_joined_steps_are_the_whole(run):
    array, cuts, tight, kind = run
    n_rows, n_keys = array.shape[2:]
    joined = join_masks(list(steps_of(array, cuts, tight=tight)), n_rows=n_rows, n_keys=n_keys)
    np.testing.assert_array_equal(whole(joined, array.shape), array)
    if kind in {"plain", "window", "chunks", "prefix"}:
        assert joined is None or joined.bits is None


@settings(max_examples=200, deadline=None)
@given(run_masks(), st.data())
def test_parts_of_a_mask_are_parts_of_what_it_says(run, data):
    array, _, _, _ = run
    mask = recognise_mask(array, n_queries=array.shape[2], n_keys=array.shape[3])
    rows, keys = (
        tuple(sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True))))
        for size in array.shape[2:]
    )
    part = array[:, :, slice(*rows), slice(*keys)]
    np.testing.assert_array_equal(whole(cut(mask, rows, keys), part.shape), part)
    order = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), min_size=1, max_size=4)))
    np.testing.assert_array_equal(whole(take(mask, order), (len(order), *array.shape[1:])), array[order])


def test_a_row_that_sees_the_end_is_a_number():
    found = compact(Mask(1, 5, keys=np.array([[False, True, True, True, True], [True] * 5])))
    assert isinstance(found, Tail)
    assert found.starts.tolist() == [1, 0]
    assert take(found, np.array([1, 0, 0])).starts.tolist() == [0, 1, 1]
    assert isinstance(compact(Mask(1, 3, keys=np.array([[True, False, True]]))), Mask)


def test_rows_behind_an_end_see_nothing_and_do_not_count():
    steps = [StepMask(0, 3, 0, 3, Mask.causal(3, 3)), *(StepMask(row, 1, 0, row + 1, None) for row in (3, 4, 5))]
    joined = join_masks(steps, n_rows=6, n_keys=6, ends=np.array([6, 4]))
    assert (joined.lowest, joined.highest, joined.bits) == (None, 0, None)
    expected = np.stack([np.tri(6, dtype=bool)] * 2)
    expected[1, 4:] = False
    np.testing.assert_array_equal(whole(joined, (2, 1, 6, 6))[:, 0], expected)


@pytest.mark.parametrize("shared", [True, False])
def test_biases(shared):
    """One row for all queries stays one row where the steps agree (ALiBi); others are laid side by side."""
    rng = np.random.default_rng(0)
    full = rng.normal(size=(1, 2, 1 if shared else 5, 5)).astype(np.float32)
    full = np.where(np.tri(5, dtype=bool), full, 0) if not shared else full
    steps = []
    for start, stop in ((0, 3), (3, 4), (4, 5)):
        bias = full[:, :, :1, :stop] if shared else full[:, :, start:stop, :stop]
        steps.append(StepMask(start, stop - start, 0, stop, Mask(stop - start, stop, highest=start, bias=bias)))
    joined = join_masks(steps, n_rows=5, n_keys=5)
    assert (joined.highest, joined.bits) == (0, None)
    assert joined.bias.shape == (1, 2, 1 if shared else 5, 5)
    np.testing.assert_array_equal(joined.bias, full)


def test_the_same_bias_at_other_places_is_not_one_row():
    bias = np.arange(4, dtype=np.float32)[None, None, None]
    steps = [
        StepMask(0, 1, 0, 1, Mask(1, 1, bias=bias[..., -1:])),
        StepMask(1, 1, 0, 2, Mask(1, 2, bias=bias[..., -2:])),
    ]
    joined = join_masks(steps, n_rows=2, n_keys=2)
    assert joined.bias is None
    added = joined.added(0, slice(0, 1), slice(0, 2), slice(0, 2))[0]
    np.testing.assert_array_equal(np.tril(added), [[3, 0], [2, 3]])


@pytest.mark.parametrize("differs", [False, True])
def test_biases_by_distance_stay_so_if_the_steps_agree(differs):
    """A prefill with one number for each distance, then single rows, as a relative bias gives them."""
    table = np.random.default_rng(0).normal(size=(1, 2, 11)).astype(np.float32)  # from -5 to 5
    offset = np.arange(6)[None] - np.arange(6)[:, None]
    full = table[:, :, offset + 5] * np.tri(6, dtype=np.float32)
    if differs:
        full[0, 1, 4, 2] += 1
    steps = []
    for start, stop in ((0, 3), (3, 4), (4, 5), (5, 6)):
        part = np.where(np.tri(6, dtype=bool), full, -np.inf)[:, :, start:stop, :stop]
        steps.append(StepMask(start, stop - start, 0, stop, recognise_mask(part, n_queries=stop - start, n_keys=stop)))
    joined = join_masks(steps, n_rows=6, n_keys=6)
    assert (joined.relative is None, joined.highest) == (differs, 0)
    added = joined.added(0, slice(0, 2), slice(0, 6), slice(0, 6))
    np.testing.assert_array_equal(np.where(np.tri(6, dtype=bool), added, 0), full[0])


def test_parts_of_a_bias_by_distance():
    table = np.random.default_rng(0).normal(size=(1, 2, 13)).astype(np.float32)
    mask = Mask(6, 8, relative=table)
    everything = mask.added(0, slice(0, 2), slice(0, 6), slice(0, 8))
    for rows, keys in itertools.product(itertools.combinations(range(7), 2), itertools.combinations(range(9), 2)):
        part = cut(mask, rows, keys)
        found = part.added(0, slice(0, 2), slice(0, rows[1] - rows[0]), slice(0, keys[1] - keys[0]))
        np.testing.assert_array_equal(found, everything[:, slice(*rows), slice(*keys)])
