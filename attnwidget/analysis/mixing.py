"""What a layer does if it only mixes tokens: the mean of its heads and the residual connection, in equal parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention import CaptureError
from attnwidget.attention.aggregate import AggregateAttention
from attnwidget.attention.limits import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from attnwidget.attention import AttentionStack
    from attnwidget.attention.protocol import Floats

_WEIGHT_BYTES = 16
"""What a number of a block takes at most, with those that it is made of."""


class Mixing:
    """The matrices of Abnar and Zuidema 2020: A = 0.5 W + 0.5 I, W the mean over heads, each row divided by its sum.

    Rows of W sum to 1, so that dividing changes nothing, except where a sink that is no token takes a part (less is
    left for attention, and more stays where it is) and where a query may look at nothing (all of it stays).

    Args:
        stack: of layers that follow one another over the same tokens.
        example: of the batch.
        measure: what this is for, as errors say it.

    Raises:
        CaptureError: only some layers or heads were kept.
        ValueError: queries and keys are not the same tokens.
    """

    def __init__(self, stack: AttentionStack, example: int, measure: str) -> None:
        queries, keys = stack.query_spans[example], stack.key_spans[example]
        same = queries == keys and stack.query_tokens[example] == stack.key_tokens[example]
        if not same or stack.name.startswith("cross"):
            raise ValueError(
                f"{measure} follows tokens from layer to layer, and stack {stack.name!r} looks from "
                f"{len(stack.query_tokens[example])} tokens at {len(stack.key_tokens[example])} others; expected a "
                "stack that looks at its own tokens: name one with stack="
            )
        numbers = [place if info.number is None else info.number for place, info in enumerate(stack.infos)]
        if numbers != list(range(stack.n_layers)) or any(info.picked or info.ranks for info in stack.infos):
            raise CaptureError(
                f"{measure} needs every head of every layer from the first on, and of stack {stack.name!r} only some "
                "were kept: capture without layers= and heads=, or gather the heads of all processes"
            )
        self.start, self.n_tokens = queries[0], queries[1] - queries[0]
        self._example = example
        self._layers = [AggregateAttention([layer], range(layer.n_heads), "mean") for layer in stack.layers]

    def rows(self, layer: int, positions: NDArray[np.intp]) -> Floats:
        """Some rows of a layer's matrix, (q, T) float32.

        Args:
            layer: which.
            positions: of tokens, counted without padding.
        """
        span = slice(self.start, self.start + self.n_tokens)
        found: Floats = self._layers[layer].weights(self._example, slice(0, 1), positions + self.start, span)[0]
        found[np.arange(len(positions)), positions] += 1
        # An equal share of each: the halves cancel.
        found /= found.sum(axis=1, keepdims=True, dtype=np.float64)
        return found

    def blocks(self, layer: int) -> Iterator[tuple[slice, Floats]]:
        """All rows of a layer's matrix, as many at a time as a block may hold."""
        step = max(1, limits.block_bytes // (_WEIGHT_BYTES * max(1, self.n_tokens)))
        for first in range(0, self.n_tokens, step):
            stop = min(first + step, self.n_tokens)
            yield slice(first, stop), self.rows(layer, np.arange(first, stop))
