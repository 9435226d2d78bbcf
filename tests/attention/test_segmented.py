"""Rows over keys that changed on the way: each from the keys that it saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attnwidget.attention import AttentionCapture, AttentionStack, FactoredAttention, Mask
from attnwidget.attention.maskparts import cut
from attnwidget.attention.segmented import SegmentedAttention


@pytest.fixture
def attention():
    torch.manual_seed(0)
    q, keys = torch.randn(2, 4, 7, 8), [torch.randn(2, 2, 7, 8) for _ in range(3)]
    mask, ends = Mask.causal(7, 7), [0, 3, 4, 7]
    parts = [
        FactoredAttention(q[:, :, a:b], k, mask=cut(mask, (a, b), (0, 7)))
        for k, a, b in zip(keys, ends, ends[1:], strict=False)
    ]
    whole = [FactoredAttention(q, k, mask=mask) for k in keys]
    return SegmentedAttention(parts, mask), whole, [0, 0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize("rows", [slice(0, 7), slice(2, 5), np.array([6, 0, 3, 3, 2]), slice(3, 4)])
@pytest.mark.parametrize("keys", [slice(0, 7), np.array([4, 1])])
def test_rows_come_from_their_own_keys(attention, rows, keys):
    segmented, whole, owners = attention
    heads = slice(1, 4)
    for example in range(2):
        for question in ("weights", "scores"):
            found = getattr(segmented, question)(example, heads, rows, keys)
            wanted = [
                getattr(whole[owners[row]], question)(example, heads, slice(row, row + 1), keys)
                for row in np.arange(7)[rows]
            ]
            np.testing.assert_allclose(found, np.concatenate(wanted, axis=1), atol=1e-6)
        share = segmented.sink_share(example, heads, rows)
        assert share.shape == (3, len(np.arange(7)[rows]))
        assert not share.any()


def test_it_is_a_layer_like_any_other(attention):
    segmented, whole, _ = attention
    cap = AttentionCapture([AttentionStack("self", [segmented, whole[0]])])
    assert cap.weights(0, 0)[6].sum() == pytest.approx(1)
    assert not cap.allowed(0, 0, queries=[0], keys=[1]).any()
    assert cap.tile(0, 0, height=3, width=3).values.shape == (3, 3)
    assert "keys in 3 versions, causal" in repr(cap)
    assert repr(segmented) == ("SegmentedAttention(2 x 4 heads, 7 x 7, q k float32, keys in 3 versions, causal)")
    assert (segmented.n_key_heads, segmented.head_size, segmented.has_nan()) == (2, 8, False)
    assert segmented.nbytes >= sum(part.nbytes for part in segmented.parts)
    free = SegmentedAttention(segmented.parts)
    assert free.allowed(0, slice(0, 1), slice(0, 1), slice(0, 7)).all()


def test_parts_that_do_not_fit(attention):
    segmented, _, _ = attention
    other = FactoredAttention(torch.randn(2, 4, 2, 8), torch.randn(2, 2, 6, 8))
    with pytest.raises(
        ValueError, match=r"parts have \(batch, heads, keys\) = \[\(2, 4, 6\), \(2, 4, 7\)\]; expected one"
    ):
        SegmentedAttention([*segmented.parts, other])
