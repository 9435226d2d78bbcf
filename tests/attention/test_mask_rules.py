"""Chunks, packed documents, prefixes, relative biases: exactly what was passed, in memory linear in the tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget.attention import Mask, devicemask, packed, recognise, recognise_mask
from attnwidget.attention.devicemask import DeviceMask
from attnwidget.attention.rules import find_rule

PREFIX = np.arange(64) < 5


def whole(mask, shape):
    if mask is None:
        return np.ones(shape, dtype=bool)
    picks = slice(0, shape[1]), slice(0, shape[2]), slice(0, shape[3])
    return np.stack([np.broadcast_to(mask.allowed(example, *picks), shape[1:]) for example in range(shape[0])])


def added(mask, shape):
    picks = slice(0, shape[1]), slice(0, shape[2]), slice(0, shape[3])
    parts = [mask.added(example, *picks) for example in range(shape[0])]
    return np.stack([np.broadcast_to(0 if part is None else part, shape[1:]) for part in parts])


def segments(*sizes):
    """(T, T) bool: both tokens are in the same document."""
    document = np.repeat(np.arange(len(sizes)), sizes)
    return document[:, None] == document[None]


def causal(size):
    return np.tri(size, dtype=bool)


def window(size, reach):
    offset = np.arange(size)[:, None] - np.arange(size)[None]
    return (offset >= 0) & (offset < reach)


def image(size, start, stop):
    inside = (np.arange(size) >= start) & (np.arange(size) < stop)
    return inside[:, None] & inside[None]


def heads_of_their_own():
    return np.stack([window(64, 4), causal(64), segments(32, 32)])[None]


def padded(array, left=0, right=0):
    array = array.copy()
    array[:, :left] = False
    array[:, array.shape[1] - right :] = False
    return array


RULES = {
    "causal in segments of 16": causal(64) & segments(16, 16, 16, 16),
    "causal in segments of 9 to 30": causal(64) & segments(25, 30, 9),
    "causal in segments of 9 to 30, window 7": window(64, 7) & segments(25, 30, 9),
    "segments of 16": segments(16, 16, 16, 16),
    "segments of 1 to 40": segments(1, 40, 23),
    "prefix, then causal (prefix of 5)": causal(64) | (PREFIX[:, None] & PREFIX[None]),
    "causal, both ways within blocks": causal(64) | image(64, 3, 9) | image(64, 20, 40),
    "ranges of keys": heads_of_their_own(),
    "causal in segments of 16, padding": padded(causal(64) & segments(3, 16, 16, 16, 13), left=3),
    "segments of 16, padding": padded(segments(16, 16, 16, 16), right=6),
}


@pytest.mark.parametrize("words", RULES)
@pytest.mark.parametrize("kind", ["bool", "float", "bfloat16"])
def test_rules_are_known_by_name(words, kind):
    array = RULES[words].reshape((-1, 64, 64))
    mask = torch.from_numpy(array)
    if kind != "bool":
        dtype = getattr(torch, "float32" if kind == "float" else kind)
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    found = recognise_mask(mask, n_queries=64, n_keys=64)
    assert found is not None
    assert (found.bits, found.describe()) == (None, words)
    assert found.nbytes <= len(array) * 64 * 8 + 64
    np.testing.assert_array_equal(whole(found, (1, *array.shape))[0], array)
    assert found.is_causal == (not np.triu(array, k=1).any())


def test_first_tokens_with_a_window_are_two_ranges():
    array = (window(512, 20) | (np.arange(512) < 4)) & causal(512)
    found = recognise_mask(array, n_queries=512, n_keys=512)
    assert found is not None
    assert (found.describe(), found.nbytes) == ("up to 2 ranges of keys", 512 * 2 * 8)
    np.testing.assert_array_equal(whole(found, (1, 1, 512, 512))[0, 0], array)


def test_examples_with_documents_of_their_own():
    array = np.stack([causal(12) & segments(5, 7), causal(12) & segments(2, 3, 7)])[:, None]
    found = recognise_mask(array, n_queries=12, n_keys=12)
    assert found is not None
    assert found.describe() == "causal in segments"
    np.testing.assert_array_equal(whole(found, (2, 1, 12, 12)), array)
    same = recognise_mask(np.repeat(array[:1], 2, axis=0), n_queries=12, n_keys=12)
    assert same is not None
    assert same.ranges is not None
    assert same.ranges.shape[0] == 1


def test_rows_that_a_model_opened_do_not_spoil_chunks():
    array = padded(causal(40) & segments(10, 10, 10, 10), left=3)
    array[:3] = True
    found = recognise_mask(array, n_queries=40, n_keys=40)
    assert found is not None
    assert found.bits is None
    np.testing.assert_array_equal(whole(found, (1, 1, 40, 40))[0, 0], array)


@st.composite
def rules(draw, n_queries, n_keys):
    """(Tq, Tk): a band, documents, chunks, a block open both ways, first tokens."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    rows, columns = np.arange(n_queries)[:, None], np.arange(n_keys)[None]
    one = np.ones((n_queries, n_keys), dtype=bool)
    if draw(st.booleans()):
        one &= columns - rows <= draw(st.integers(-3, 5))
    if draw(st.booleans()):
        one &= columns - rows >= -draw(st.integers(0, 30))
    if draw(st.booleans()):
        ids = np.sort(rng.integers(0, 4, max(n_queries, n_keys)))
        one &= ids[:n_queries, None] == ids[None, :n_keys]
    if draw(st.booleans()):
        size, start = draw(st.integers(1, 9)), draw(st.integers(0, 8))
        one &= (rows + start) // size == (columns + start) // size
    if draw(st.booleans()):
        start, stop = sorted(rng.integers(0, n_keys + 1, 2))
        one[start:stop, start:stop] = True
    if draw(st.booleans()):
        one[:, : draw(st.integers(1, 3))] = True
    return one


@st.composite
def compositions(draw):
    """(B, H, Tq, Tk): rules per example and head, padding, open and closed rows, and noise."""
    batch, heads = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2]))
    n_queries, n_keys = draw(st.integers(1, 40)), draw(st.integers(1, 150))
    alike = draw(st.booleans())
    kinds = [draw(rules(n_queries, n_keys)) for _ in range(1 if alike else batch * heads)]
    array = np.resize(np.stack(kinds), (batch, heads, n_queries, n_keys))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if draw(st.booleans()):
        for example in array:
            example[..., : rng.integers(0, n_keys)] = False
    if draw(st.booleans()):
        array[:, :, rng.integers(0, n_queries)] = draw(st.booleans())
    if draw(st.booleans()):
        array[rng.integers(0, batch), :, rng.integers(0, n_queries), rng.integers(0, n_keys)] ^= True
    return array


@settings(max_examples=400, deadline=None)
@given(compositions(), st.booleans())
def test_any_composition_is_reproduced_exactly(array, repeated):
    mask = torch.from_numpy(array)
    if repeated:
        mask = mask[:1, :1].expand(mask.shape)
        array = mask.numpy()
    found = recognise_mask(mask, n_queries=array.shape[2], n_keys=array.shape[3])
    np.testing.assert_array_equal(whole(found, array.shape), array)
    if found is None:
        return
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, array.shape[2], 5), rng.integers(0, array.shape[3], 7)
    part = found.allowed(array.shape[0] - 1, np.array([array.shape[1] - 1]), rows, columns)
    expected = array[-1, -1][np.ix_(rows, columns)]
    np.testing.assert_array_equal(np.broadcast_to(part, (1, 5, 7))[0], expected)


@settings(max_examples=150, deadline=None)
@given(compositions(), st.booleans(), st.booleans(), st.sampled_from([1, 100, 1 << 20]))
def test_a_mask_is_read_on_a_device_as_it_is_in_memory(array, additive, is_causal, pairs):
    mask = torch.from_numpy(array.copy())
    if additive:
        mask = torch.rand(mask.shape).masked_fill(~mask, -torch.inf) * (array.shape[3] % 2)
    options = {"n_queries": array.shape[2], "n_keys": array.shape[3], "is_causal": is_causal}
    options["lowest"] = packed.lowest_of(mask)
    here = packed.pack(mask, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devicemask, "_BLOCK_PAIRS", pairs)
        check_same(here, DeviceMask(mask, **options), array.shape)


def check_same(here, there, shape):
    assert (here.shape, here.adds) == (there.shape, there.adds)
    for part in ("first", "stop", "count"):
        np.testing.assert_array_equal(getattr(here.rows, part), getattr(there.rows, part))
    whole_rows = here.rows.count == shape[3]
    for spared in (None, whole_rows):
        np.testing.assert_array_equal(here.seen(spared), there.seen(spared))
    assert here.without_equal_heads().shape == there.without_equal_heads().shape
    one, other = (find_rule(mask, shape[2], shape[3]) for mask in (here, there))
    assert (one.describe(), one.nbytes) == (other.describe(), other.nbytes)
    np.testing.assert_array_equal(whole(one, shape), whole(other, shape))
    np.testing.assert_array_equal(here.bits, there.bits)


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("additive", [True, False])
def test_a_mask_on_a_device_is_recognised_there_or_else_here(monkeypatch, additive, works):
    array = padded(causal(48), left=5)[None, None]
    mask = torch.from_numpy(array)
    mask = torch.where(mask, torch.arange(48.0), -torch.inf) if additive else mask
    wanted = recognise_mask(mask, n_queries=48, n_keys=48)
    asked = []
    monkeypatch.setattr(recognise, "_is_elsewhere", lambda _: True)
    monkeypatch.setattr(DeviceMask, "_allowed", asking(DeviceMask._allowed, asked, works=works))
    found = recognise_mask(mask, n_queries=48, n_keys=48)
    assert asked
    assert (found.describe(), found.nbytes) == (wanted.describe(), wanted.nbytes)
    np.testing.assert_array_equal(whole(found, array.shape), array)


def asking(original, asked, *, works):
    def allowed(*args):
        asked.append(args)
        if not works:
            raise NotImplementedError("the operator 'aten::tril' is not implemented for this device")
        return original(*args)

    return allowed


def test_bits_are_counted_with_and_without_the_instruction_of_numpy_2(monkeypatch):
    bits = np.random.default_rng(0).integers(0, 256, (2, 5, 9), dtype=np.uint8)
    wanted = np.unpackbits(bits, axis=-1).sum(axis=-1)
    np.testing.assert_array_equal(packed.count_ones(bits), wanted)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(packed.count_ones(bits), wanted)


ALLOWED = {
    "everything": np.ones((1, 1, 48, 48), dtype=bool),
    "causal": causal(48)[None, None],
    "left": padded(causal(48), left=5)[None, None],
    "two examples": np.stack([padded(causal(48), right=9), padded(causal(48), left=5)])[:, None],
    "padding": np.stack([padded(np.ones((48, 48), bool), right=9), np.ones((48, 48), bool)])[:, None],
}
OFFSET = torch.arange(48)[None] - torch.arange(48)[:, None]
SLOPES = 0.5 ** torch.arange(1, 4)
TABLE = torch.randn(3, 95, generator=torch.Generator().manual_seed(0))
RELATIVE = {
    "ALiBi": SLOPES[:, None, None] * OFFSET,
    "ALiBi of both sides": -SLOPES[:, None, None] * OFFSET.abs(),
    "relative bias": TABLE[:, OFFSET + 47],
    "per key": SLOPES[:, None, None] * torch.arange(48).expand(48, 48),
    "other": torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("allowed", ALLOWED)
@pytest.mark.parametrize("name", RELATIVE)
def test_biases_are_kept_by_what_they_depend_on(name, allowed, dtype):
    allowed = ALLOWED[allowed]
    forbidden = torch.zeros(allowed.shape, dtype=dtype).masked_fill(~torch.from_numpy(allowed), torch.finfo(dtype).min)
    given = RELATIVE[name].to(dtype) + forbidden  # (B, 3, 48, 48)
    found = recognise_mask(given, n_queries=48, n_keys=48)
    assert found is not None
    shape = tuple(given.shape)
    np.testing.assert_array_equal(whole(found, shape), np.broadcast_to(allowed, shape))
    wanted = np.where(allowed, given.float().numpy(), 0)
    np.testing.assert_array_equal(np.where(allowed, added(found, shape), 0), wanted)
    rows, columns = np.array([40, 3, 40]), np.array([2, 45])
    part, place = found.added(shape[0] - 1, slice(1, 3), rows, columns), (slice(1, 3), rows[:, None], columns)
    known = np.broadcast_to(allowed, shape)[shape[0] - 1][place]
    np.testing.assert_array_equal(np.where(known, part, 0), np.where(known, wanted[shape[0] - 1][place], 0))
    words = {"ALiBi of both sides": "ALiBi", "per key": "ALiBi", "other": "bias"}.get(name, name)
    assert found.describe().endswith(words)
    bias = found.nbytes - sum(part.nbytes for part in (found.keys, found.rows) if part is not None)
    assert bias == 3 * 4 * {"per key": 48, "other": 48 * 48}.get(name, 95), "one entry for all examples"


def test_examples_with_biases_of_their_own_keep_them():
    given = torch.randn(2, 1, 6, 6)
    found = recognise_mask(given, n_queries=6, n_keys=6)
    assert found is not None
    np.testing.assert_array_equal(added(found, (2, 1, 6, 6)), given.numpy())
    tables = torch.randn(2, 1, 11)[:, :, OFFSET[:6, :6] + 5]
    found = recognise_mask(tables, n_queries=6, n_keys=6)
    assert found is not None
    assert found.relative is not None
    np.testing.assert_array_equal(added(found, (2, 1, 6, 6)), tables.numpy())


@pytest.mark.parametrize("low", [-5.0, -1e4])
def test_keys_that_are_made_small_are_no_slope(low):
    given = torch.zeros(2, 1, 1, 9)
    given[1, ..., 5:] = low
    found = recognise_mask(given, n_queries=6, n_keys=9)
    assert found is not None
    assert found.describe() == "bias per key"


def test_one_pair_that_differs_is_not_lost():
    given = RELATIVE["relative bias"].clone()
    given[2, 47, 46] += 1
    found = recognise_mask(given, n_queries=48, n_keys=48)
    assert found is not None
    assert found.relative is None
    np.testing.assert_array_equal(added(found, (1, 3, 48, 48))[0], given.numpy())


def test_numbers_that_are_none_stay_what_they_are():
    given = torch.zeros(4, 4)
    given[1, 2] = torch.nan
    found = recognise_mask(given, n_queries=4, n_keys=4)
    assert found is not None
    assert np.isnan(added(found, (1, 1, 4, 4))[0, 0, 1, 2])
    assert whole(found, (1, 1, 4, 4)).all()


def test_a_mask_of_another_size():
    with pytest.raises(
        ValueError, match=r"the mask has shape \(3, 5\); expected one that broadcasts to \(batch, heads, 4, 5\)"
    ):
        recognise_mask(torch.ones(3, 5, dtype=torch.bool), n_queries=4, n_keys=5)


def test_memory_is_linear_in_the_tokens():
    size = 1024
    ids = np.arange(size) // 100
    kinds = {
        "chunks": causal(size) & (ids[:, None] == ids[None]),
        "prefix": causal(size) | (np.arange(size) < 50),
        "documents": segments(size // 2, size // 4, size // 4),
    }
    for array in kinds.values():
        found = recognise_mask(array, n_queries=size, n_keys=size)
        assert isinstance(found, Mask)
        assert found.nbytes == size * 8
    offset = torch.arange(size)[None] - torch.arange(size)[:, None]
    alibi = (offset * SLOPES[:, None, None]).masked_fill(offset > 0, -torch.inf)
    found = recognise_mask(alibi, n_queries=size, n_keys=size)
    assert isinstance(found, Mask)
    assert found.nbytes == 3 * 4 * (2 * size - 1)
