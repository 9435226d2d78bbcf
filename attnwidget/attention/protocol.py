"""The questions that every kind of attention answers, and the array types they are asked with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.attention.masks import Mask
    from attnwidget.attention.probe import Probe

Floats: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]
Index: TypeAlias = slice | NDArray[np.intp]
"""Positions along one axis: a slice with step 1 inside the axis, or an array of positions >= 0."""


class Attention(Protocol):
    """One layer's attention. Indices are checked by whoever asks; these methods trust them."""

    @property
    def n_examples(self) -> int:
        """Examples in the batch."""

    @property
    def n_heads(self) -> int:
        """Query heads."""

    @property
    def n_key_heads(self) -> int | None:
        """Key-value heads; None where only weights are known."""

    @property
    def head_size(self) -> int | None:
        """Numbers in a query of one head; None where only weights are known."""

    @property
    def n_queries(self) -> int:
        """Rows, padding included."""

    @property
    def n_keys(self) -> int:
        """Columns, padding included."""

    @property
    def mask(self) -> Mask | None:
        """Which pairs are allowed, where that is known."""

    @property
    def probe(self) -> Probe | None:
        """What to check the weights by, where values and output of the run were seen."""

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at; None where nothing bounds them."""

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are: "memory", "disk", or a device such as "cuda:0"; shared masks included."""

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights after the softmax, (h, q, k)."""

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Scores before the softmax, scale and soft cap applied, mask and bias not, (h, q, k)."""

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row goes to an attention sink that is no token, (h, q)."""

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask allows, broadcastable to (h, q, k)."""

    def probe_errors(self) -> Floats | None:
        """(B, H, r), how far softmax(...) v is from the output of the run; None without a probe."""

    def has_nan(self) -> bool:
        """Whether weights that the mask allows are not numbers, as an overflow in the model leaves them."""


def length_of(index: Index, size: int) -> int:
    """How many positions an index picks from an axis of this size."""
    return len(range(*index.indices(size))) if isinstance(index, slice) else len(index)


def positions_of(index: Index, size: int) -> NDArray[np.intp]:
    """The positions an index picks from an axis of this size."""
    return np.arange(*index.indices(size), dtype=np.intp) if isinstance(index, slice) else index


def part_of(index: Index, size: int, start: int, stop: int) -> Index:
    """The positions `start` to `stop`, counted within an index of an axis of this size."""
    if isinstance(index, slice):
        first, _, _ = index.indices(size)
        return slice(first + start, first + stop)
    return index[start:stop]


def shape_text(array: Any) -> str:  # noqa: ANN401 - any array type
    """A shape as people write it: (2, 12, 9, 9)."""
    return str(tuple(int(size) for size in array.shape))
