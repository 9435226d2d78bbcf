"""Layers that share a mask share what was recognised, whether it is one tensor or built anew by each of them."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from attnwidget.attention import MaskMemo, memo

SIZE = {"n_queries": 9, "n_keys": 9}
ROWS, COLUMNS = torch.arange(9)[:, None], torch.arange(9)[None]


def whole(mask):
    return mask.allowed(0, slice(0, 1), slice(0, 9), slice(0, 9))[0]


def chunked():
    return (COLUMNS <= ROWS) & (ROWS // 4 == COLUMNS // 4)


def sliding():
    return (COLUMNS <= ROWS) & (COLUMNS > ROWS - 3)


def full():
    return torch.zeros(9, 9).masked_fill(COLUMNS > ROWS, -torch.inf)


def biased():
    return torch.randn(3, 9, 9, generator=torch.Generator().manual_seed(0))


def odd():
    return torch.rand(9, 9, generator=torch.Generator().manual_seed(0)) > 0.5


@pytest.mark.parametrize("inference", [False, True])
def test_a_tensor_and_its_views(inference):
    known = MaskMemo()
    with torch.inference_mode(inference):
        mask = torch.rand(1, 1, 9, 9) > 0.5
        first = known.recognise(mask, **SIZE)
        assert known.recognise(mask[:, :, :, :9], **SIZE) is first
        assert known.recognise(mask.clone(), **SIZE) is first
        before = mask.clone()
        mask.logical_not_()
        second = known.recognise(mask, **SIZE)
    np.testing.assert_array_equal(whole(first), before[0, 0].numpy())
    np.testing.assert_array_equal(whole(second), ~before[0, 0].numpy())


@pytest.mark.parametrize("inference", [False, True])
def test_masks_of_many_kinds_built_anew_in_every_layer(inference):
    known, kinds = MaskMemo(), [sliding, full, chunked, biased, odd]
    with torch.inference_mode(inference):
        found = [[known.recognise(kind(), **SIZE) for kind in kinds] for _ in range(4)]
    assert known.recognise(None, **SIZE, is_causal=True) is found[0][1], "a kernel told to be causal, without a mask"
    assert all([id(mask) for mask in again] == [id(mask) for mask in found[0]] for again in found)
    assert len({id(mask) for mask in found[0]}) == 5


def test_a_tensor_is_recognised_once(monkeypatch):
    asked = []
    monkeypatch.setattr(memo, "recognise_mask", lambda mask, **options: asked.append(mask))
    known, mask = MaskMemo(), chunked()
    for _ in range(5):
        known.recognise(mask, **SIZE)
    assert len(asked) == 1
    known.recognise(mask[:, :5], n_queries=9, n_keys=5)
    assert len(asked) == 2


def test_what_is_known_keeps_no_tensor_alive_and_takes_no_new_one_for_an_old():
    known = MaskMemo()
    for number in range(30):  # memory that is freed is soon used again, for another mask at the same place
        mask = torch.ones(9, 9, dtype=torch.bool).tril(number % 3)
        gone = weakref.ref(mask)
        np.testing.assert_array_equal(whole(known.recognise(mask, **SIZE)), mask.numpy())
        del mask
        gc.collect()
        assert gone() is None


def test_the_number_of_tensors_known_is_bounded():
    known = MaskMemo()
    tensors = [torch.full((9, 9), float(number)) for number in range(100)]
    for tensor in tensors:
        known.recognise(tensor, **SIZE)
    assert len(known._tensors._known) == memo._REMEMBERED
