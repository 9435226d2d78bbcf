"""Captures of one factored layer with random factors, masks of all kinds, and what comes with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from attnwidget.attention import AttentionCapture, AttentionStack, FactoredAttention, Mask, recognise_mask

MASKS = ("none", "causal", "window", "padding", "dense", "segments", "sink and window", "one row", "open and closed")


def mask_of(kind: str, queries: int, keys: int, rng: np.random.Generator) -> Mask | None:
    """A mask of this kind, as a capture would keep it."""
    i, j = np.arange(queries)[:, None], np.arange(keys)[None, :]
    allowed = {
        "none": np.ones((queries, keys), bool),
        "causal": j <= i,
        "window": (j <= i) & (j > i - 5),
        "padding": (j <= i) & (j >= keys // 4),
        "dense": rng.random((2, queries, keys)) > 0.5,
        "segments": (i // 6 == j // 6) & (j <= i),
        "sink and window": (j <= i) & ((j > i - 4) | (j < 2)),
        "one row": np.broadcast_to(rng.random((1, keys)) > 0.3, (queries, keys)),
        "open and closed": ((j <= i) | (i % 7 == 3)) & (i % 5 != 4),
    }[kind]
    return recognise_mask(np.ascontiguousarray(allowed), n_queries=queries, n_keys=keys)


def bias_of(kind: str, queries: int, keys: int, rng: np.random.Generator) -> np.ndarray | None:
    """What is added to the scores, additive, to be recognised with the mask."""
    distance = np.arange(keys)[None, :] - np.arange(queries)[:, None]
    return {
        "none": None,
        "relative": (-0.2 * np.abs(distance))[None].astype(np.float32),
        "any": rng.normal(size=(2, queries, keys)).astype(np.float32),
    }[kind]


@st.composite
def captures(draw: st.DrawFn, longest: int = 40) -> AttentionCapture:
    """Any kind of factored head, small enough for its full matrix."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    queries, keys = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    group = draw(st.sampled_from([1, 2]))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    q = torch.from_numpy(rng.normal(size=(1, 2, queries, 4))).to(dtype)
    k = torch.from_numpy(rng.normal(size=(1, 2 // group, keys, 4))).to(dtype)
    mask = mask_of(draw(st.sampled_from(MASKS)), queries, keys, rng)
    bias = bias_of(draw(st.sampled_from(["none", "none", "relative", "any"])), queries, keys, rng)
    if bias is not None:
        every = slice(0, 2), slice(0, queries), slice(0, keys)
        allowed = np.ones((1, 1, 1), bool) if mask is None else mask.allowed(0, *every)
        mask = recognise_mask(np.where(allowed, bias, -np.inf)[None], n_queries=queries, n_keys=keys)
    options: dict[str, Any] = {
        "scale": draw(st.sampled_from([None, 1.0, -0.5, 0.0])),
        "softcap": draw(st.sampled_from([None, 2.0])),
        "sinks": torch.from_numpy(rng.normal(size=2)).float() if draw(st.booleans()) else None,
    }
    return AttentionCapture([AttentionStack("self", [FactoredAttention(q, k, mask=mask, **options)])])


@st.composite
def ranges(draw: st.DrawFn, length: int) -> tuple[int, int]:
    """A range that is not empty."""
    start = draw(st.integers(0, length - 1))
    return start, draw(st.integers(start + 1, length))
