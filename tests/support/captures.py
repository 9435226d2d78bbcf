"""Captures of random weights, made by NumPy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget import AttentionCapture

if TYPE_CHECKING:
    from numpy.typing import NDArray


def softmax(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Softmax over the last axis."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def make_capture(
    layers: int = 3,
    heads: int = 4,
    queries: int = 7,
    keys: int | None = None,
    examples: int = 1,
    *,
    causal: bool = False,
    seed: int = 0,
) -> AttentionCapture:
    """A capture of random heads of this size."""
    keys = keys or queries
    scores = np.random.default_rng(seed).normal(size=(layers, examples, heads, queries, keys)) * 3
    if causal:
        scores[..., np.triu(np.ones((queries, keys), dtype=bool), k=1)] = -np.inf
    weights = softmax(scores).astype(np.float32)
    names = {} if queries == keys else {"key_tokens": [f"k{index}" for index in range(keys)]}
    tokens = [f"t{index}" for index in range(queries)]
    return AttentionCapture.from_weights(list(weights), tokens if examples == 1 else [tokens] * examples, **names)
