"""Attention without some of its keys: their weights left out, and each row made to sum to what it did."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from attnwidget.attention.around import Around
from attnwidget.attention.limits import limits
from attnwidget.attention.masks import OPEN, Mask
from attnwidget.attention.protocol import Bools, Floats, Index, positions_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Attention

_PAIR_BYTES = 40
"""What a weight takes while its row is added up: copies in double precision, and what a layer needs."""


@runtime_checkable
class TakesMask(Protocol):
    """Attention that can be asked under another mask."""

    def under(self, mask: Mask, words: str) -> Attention:
        """The same under this mask, which does what the words say beside what its own does."""


def without_keys(layers: Sequence[Attention], hidden: Bools) -> list[Attention]:
    """Layers without some of their keys.

    Args:
        layers: any, of one shape.
        hidden: (B | 1, Tk), True where a key is left out.

    Returns:
        Attention that answers as if the mask had forbidden these keys.
    """
    masks: dict[int, Mask | None] = {}  # layers that share a mask share the other one, too
    found: list[Attention] = []
    for layer in layers:
        if not isinstance(layer, TakesMask):
            found.append(WithoutKeys(layer, hidden))
            continue
        if id(layer.mask) not in masks:
            masks[id(layer.mask)] = _forbidding(layer.mask or Mask(layer.n_queries, layer.n_keys), hidden)
        mask = masks[id(layer.mask)]
        found.append(WithoutKeys(layer, hidden) if mask is None else layer.under(mask, _hidden_text(hidden)))
    return found


def _forbidding(mask: Mask, hidden: Bools) -> Mask | None:
    """A mask that forbids some keys as well; None where some of its rows see all keys whatever they are."""
    if mask.rows is not None and (mask.rows == OPEN).any():
        return None
    return replace(mask, keys=~hidden if mask.keys is None else mask.keys & ~hidden)


class WithoutKeys(Around):
    """A layer without some of its keys, through its weights.

    With r the sum of a row over the keys that are left, m over those that are hidden, and s the share of a sink that is
    no token (0 where there is none or nobody knows), each weight of the row is multiplied with (r + m + s) / (r + s):
    of a softmax that is the softmax over what is left. A row that holds nothing else becomes all zero.

    Args:
        whole: the layer.
        hidden: (B | 1, Tk), True where a key is left out.
    """

    def __init__(self, whole: Attention, hidden: Bools) -> None:
        super().__init__(whole)
        self._hidden = hidden
        # By example and head: (Tq,) what to multiply rows with, and which of these are known.
        self._factors: dict[tuple[int, int], tuple[NDArray[np.float64], Bools]] = {}

    @property
    def own_bytes(self) -> int:
        """Of what rows are multiplied with."""
        return self._hidden.nbytes + sum(one.nbytes + two.nbytes for one, two in list(self._factors.values()))

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return f"{self.whole.detail}, {_hidden_text(self._hidden)}"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights after the softmax, (h, q, k); 0 at hidden keys."""
        found = self.whole.weights(example, heads, queries, keys)
        factors = self._row_factors(example, heads, queries)  # (h, q)
        result: Floats = (found * factors[:, :, None]).astype(np.float32)
        result[:, :, self._of(example)[keys]] = 0
        return result

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Scores before the softmax, (h, q, k), which hiding does not change."""
        return self.whole.scores(example, heads, queries, keys)

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row goes to an attention sink that is no token, (h, q)."""
        share: Floats = self.whole.sink_share(example, heads, queries)
        return (share * self._row_factors(example, heads, queries)).astype(np.float32)

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask allows and nobody has hidden, broadcastable to (h, q, k)."""
        return self.whole.allowed(example, heads, queries, keys) & ~self._of(example)[keys]

    def _of(self, example: int) -> Bools:
        found: Bools = self._hidden[example if len(self._hidden) > 1 else 0]
        return found

    def _row_factors(self, example: int, heads: Index, queries: Index) -> NDArray[np.float64]:
        """(h, q), found on first use: a number per row is kept."""
        rows = positions_of(queries, self.n_queries)
        found = np.empty((len(positions_of(heads, self.n_heads)), len(rows)))
        for place, head in enumerate(positions_of(heads, self.n_heads).tolist()):
            empty = np.empty(self.n_queries), np.zeros(self.n_queries, dtype=np.bool_)
            factors, known = self._factors.setdefault((example, head), empty)
            missing = np.unique(rows[~known[rows]])
            step = max(1, limits.block_bytes // (_PAIR_BYTES * self.n_keys))
            for start in range(0, len(missing), step):
                part = missing[start : start + step]
                factors[part] = self._measure(example, head, part)
                known[part] = True
            found[place] = factors[rows]
        return found

    def _measure(self, example: int, head: int, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        one, everything = slice(head, head + 1), slice(0, self.n_keys)
        weights = self.whole.weights(example, one, rows, everything)[0].astype(np.float64)
        weights = np.where(self.whole.allowed(example, one, rows, everything)[0], weights, 0)
        hidden = self._of(example)
        rest = weights[:, ~hidden].sum(axis=1)
        left = rest + self._sink(example, one, rows)
        factors: NDArray[np.float64] = (left + weights[:, hidden].sum(axis=1)) / np.where(rest == 0, np.inf, left)
        return factors

    def _sink(self, example: int, head: slice, rows: NDArray[np.intp]) -> Floats | float:
        try:
            share: Floats = self.whole.sink_share(example, head, rows)
        except ValueError:  # only weights are known
            return 0.0
        of_head: Floats = share[0]
        return of_head


def _hidden_text(hidden: Bools) -> str:
    """How many keys are hidden, in words, of the example that has the most."""
    count = int(hidden.sum(axis=1).max())
    return f"{count} key{'s' * (count != 1)} hidden"
