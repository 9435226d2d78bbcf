"""Many heads as one: the mean or the largest of their weights, made where they are looked at."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias, get_args

import numpy as np

from attnwidget.attention.blockwise import Block, pool_blocks, pool_by_weights
from attnwidget.attention.dense import DenseAttention
from attnwidget.attention.layertable import ranges
from attnwidget.attention.limits import limits
from attnwidget.attention.marginals import entropies_by_weights
from attnwidget.attention.memory import not_on_disk
from attnwidget.attention.pooling import PoolsItself
from attnwidget.attention.protocol import Bools, Floats, Index, length_of
from attnwidget.attention.selection import check_index, is_int
from attnwidget.attention.stack import LayerInfo, held_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.bins import Picks
    from attnwidget.attention.pooling import Reduce
    from attnwidget.attention.protocol import Attention
    from attnwidget.attention.stack import AttentionStack

Aggregation: TypeAlias = Literal["mean", "max"]

_AT_ONCE = 1 << 22
"""Weights of several heads of a layer that are made at once, at most, before they become one."""
_BLOCK_PAIRS = 1 << 18
"""Pairs of a block that is pooled: of all the heads of a layer they take a few hundredths of a second."""
_WEIGHT_BYTES = 16
"""What one of them takes at most, with its score and mask on the way."""


class AggregateAttention:
    """Several heads of several layers as one layer of one head, never holding more than what is asked for.

    A pair is allowed where any of the heads allows it, and a head that forbids it counts with a weight of 0. So rows of
    the mean sum to 1 as those of its heads do (less, with a sink), and the mean is over all the heads everywhere. Rows
    of the maximum sum to more than 1: they are no distribution, and have no entropy.

    Args:
        layers: of one shape, at least one.
        heads: which of each, at least one.
        reduce: "mean" or "max".

    Raises:
        ValueError: no layers or heads, or another way to reduce.
    """

    n_heads = 1
    n_key_heads = None
    """Not one number: that of the layers is theirs."""
    head_size = None
    mask = None
    """No rule: what any of the heads allows is asked pair by pair."""
    probe = None

    def __init__(self, layers: Sequence[Attention], heads: Sequence[int], reduce: Aggregation) -> None:
        if reduce not in get_args(Aggregation):
            raise ValueError(f"reduce is {reduce!r}; expected 'mean' or 'max' over heads")
        if not layers or not heads:
            raise ValueError(f"{len(layers)} layers and {len(heads)} heads are chosen; expected at least one of each")
        self.layers, self.reduce = tuple(layers), reduce
        self._heads = np.asarray(heads, dtype=np.intp)
        # Layers that share a mask allow the same pairs: one of them is asked.
        self._asked: dict[tuple[int, ...], Attention] = {}
        for layer in self.layers:
            plain = layer.mask is not None and isinstance(layer, (DenseAttention, PoolsItself))
            rule = (id(layer.mask), id(getattr(layer, "modifier", None))) if plain else (id(layer),)
            self._asked.setdefault(rule, layer)

    @property
    def signed(self) -> bool:
        """Whether the layers hold a measure that may be below 0."""
        return any(getattr(layer, "signed", False) for layer in self.layers)

    @property
    def count(self) -> int:
        """Heads that are made one."""
        return len(self.layers) * len(self._heads)

    @property
    def n_examples(self) -> int:
        """Examples in the batch."""
        return self.layers[0].n_examples

    @property
    def n_queries(self) -> int:
        """Rows, padding included."""
        return self.layers[0].n_queries

    @property
    def n_keys(self) -> int:
        """Columns, padding included."""
        return self.layers[0].n_keys

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at, in any of the layers; None where nothing bounds them."""
        windows = [layer.window for layer in self.layers]
        return None if None in windows else max(window for window in windows if window is not None)

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held by the layers, by where they are; nothing of its own."""
        return Counter(held_by(self.layers))

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""
        return not_on_disk(self.held)

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return f"{self.reduce} of {_count(self.count, 'head')}"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """The mean or the largest of the weights of the heads, (h, q, k); 0 where none of them allows the pair."""
        *_, found = self._combined(example, queries, keys)
        assert found is not None  # noqa: S101 - the last one always is; this is for the type checker
        return found[None][heads]

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> NoReturn:  # noqa: ARG002
        """Not defined: raises."""
        raise ValueError(
            f"the {self.reduce} of {_count(self.count, 'head')} has no scores, only its heads have: ask the capture "
            "it was made from, with a layer and a head"
        )

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row goes to an attention sink that is no token, (h, q): the mean over the heads.

        Raises:
            ValueError: of a maximum, whose rows are no distribution; or the layers hold weights only.
        """
        if self.reduce == "max":
            raise ValueError(
                f"the max over {_count(self.count, 'head')} has no share of a sink, as its rows are no distribution: "
                "ask the capture it was made from, with a layer and a head"
            )
        shares = [
            layer.sink_share(example, self._heads, queries).mean(axis=0, dtype=np.float64) for layer in self.layers
        ]
        share: Floats = np.mean(shares, axis=0).astype(np.float32)
        return share[None][heads]

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs any of the heads may look at, broadcastable to (h, q, k)."""
        found: Bools = np.zeros((1, 1, 1), dtype=np.bool_)
        for layer in self._asked.values():
            found = found | layer.allowed(example, self._heads, queries, keys).any(axis=0, keepdims=True)
            if found.all():
                break
        shape = 1, length_of(queries, self.n_queries), length_of(keys, self.n_keys)
        return np.broadcast_to(found, shape)[heads]

    def pool(self, example: int, head: int, rows: Picks, keys: Picks, reduce: Reduce) -> Iterator[Block]:  # noqa: ARG002
        """Pool a rectangle, block by block. What comes in between takes as long as one layer."""
        if self.reduce == reduce == "max":  # the largest of the largest: each head has its own fast way
            heads = self._heads.tolist()
            return chain.from_iterable(
                self._largest(layer, example, one, rows, keys) for layer in self.layers for one in heads
            )

        def block(queries: Index, columns: Index) -> Iterator[Floats | None]:
            for found in self._combined(example, queries, columns):
                if found is None:
                    yield None
                else:
                    allowed = self.allowed(example, slice(0, 1), queries, columns)[0]
                    yield np.where(allowed, found, np.float32(-np.inf))

        return pool_blocks(block, rows, keys, reduce, _BLOCK_PAIRS)

    def entropies(self, example: int, head: int, rows: NDArray[np.intp]) -> Floats:
        """Entropy of whole rows in bits, (q,); NaN where nothing is allowed, and of a maximum."""
        if self.reduce == "max":
            return np.full(len(rows), np.nan, dtype=np.float32)
        return entropies_by_weights(self, example, head, rows)

    def probe_errors(self) -> None:
        """Nothing of its own to check by: `verify` of the capture it was made from does."""

    def has_nan(self) -> bool:
        """Whether weights that the masks allow are not numbers."""
        return any(layer.has_nan() for layer in self.layers)

    def _combined(self, example: int, queries: Index, keys: Index) -> Iterator[Floats | None]:
        """(q, k), at the end; None whenever some heads have been added."""
        shape = length_of(queries, self.n_queries), length_of(keys, self.n_keys)
        mean = self.reduce == "mean"
        total: NDArray[np.floating] = np.zeros(shape) if mean else np.full(shape, -np.inf, dtype=np.float32)
        step = max(1, min(_AT_ONCE, limits.block_bytes // _WEIGHT_BYTES) // max(1, total.size))
        add = np.add if mean else np.maximum
        for layer in self.layers:
            for first in range(0, len(self._heads), step):
                for weights in layer.weights(example, self._heads[first : first + step], queries, keys):
                    add(total, weights, out=total)
                yield None
        yield (total / self.count if mean else total).astype(np.float32)

    def _largest(self, layer: Attention, example: int, head: int, rows: Picks, keys: Picks) -> Iterator[Block]:
        """The blocks of one head of a layer, which does its share of the work."""
        if isinstance(layer, PoolsItself):
            blocks = layer.pool(example, head, rows, keys, "max")
        else:
            blocks = pool_by_weights(layer, example, head, rows, keys, "max")
        for block in blocks:
            yield Block(block.pairs // self.count, block.rows, block.columns, block.values)

    def __repr__(self) -> str:
        return f"AggregateAttention({self.detail}, {self.n_queries} x {self.n_keys})"


def aggregate_stack(
    shown: AttentionStack, reduce: Aggregation, layers: Sequence[int] | None, heads: Sequence[int] | None
) -> tuple[AttentionStack, str]:
    """A stack of one layer of one head, with the tokens of another; and a note that says what it is.

    Args:
        shown: whose heads.
        reduce: "mean" or "max".
        layers: which layers; all of them if None.
        heads: which heads of each; all of them if None.

    Returns:
        Both.

    Raises:
        IndexError: no such layer or head.
        TypeError: something else than a list of whole numbers.
        ValueError: no layers or heads, one that is named twice, or another way to reduce.
    """
    picked_layers = _picked("layer", layers, shown.n_layers, shown.name)
    picked_heads = _picked("head", heads, shown.n_heads, shown.name)
    made = AggregateAttention([shown.layers[layer] for layer in picked_layers], picked_heads, reduce)
    words = f"{reduce} of the weights of {_count(made.count, 'head')}"
    if made.count < shown.n_layers * shown.n_heads:
        words += f": heads {ranges(picked_heads)} of layers {ranges(picked_layers)}"
    words += f" of stack {shown.name!r}"
    rows = "sum to 1 as theirs do" if reduce == "mean" else "sum to more than 1"
    note = f"{words}; a pair is allowed where any of them allows it, and rows {rows}"
    return shown.with_layers([made], [LayerInfo()]), note


def _picked(what: str, chosen: Sequence[int] | None, count: int, stack: str) -> list[int]:
    """Numbers that exist, in order."""
    if chosen is None:
        return list(range(count))
    if not hasattr(chosen, "__iter__") or not all(is_int(one) for one in chosen):
        raise TypeError(f"{what}s is {chosen!r}; expected a list of whole numbers, or None for all of them")
    found = sorted(check_index(what, one, count, f"stack {stack!r}") for one in chosen)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{what}s is {list(chosen)}; expected at least one, each once, or None for all of them")
    return found


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
