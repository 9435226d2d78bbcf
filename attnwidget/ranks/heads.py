"""A layer whose heads are in several places: each question goes to where the heads are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import to_numpy
from attnwidget.attention.memory import not_on_disk
from attnwidget.attention.pairdetail import pair_detail
from attnwidget.attention.pooling import Pooling
from attnwidget.attention.protocol import Bools, Floats, Index, length_of, positions_of
from attnwidget.attention.rounding import moved_by_rounding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from attnwidget.attention import AttentionStack, Mask, Probe
    from attnwidget.attention.pairdetail import PairDetail
    from attnwidget.attention.protocol import Attention

    Ask = Callable[..., Any]
    """Ask (question, *arguments) of the layer of another rank."""


_FEW = 5


@dataclass(frozen=True)
class HeadsFacts:
    """What one rank tells the others of its heads of a layer.

    Attributes:
        n_heads: query heads.
        n_key_heads: key-value heads; None where only weights are known.
        head_size: numbers in a query of one head; None likewise.
        shape: examples, queries and keys.
        ranks: that share the heads; none where every rank has all of them.
        mark: of what the heads computed: the same on two ranks if they hold the same heads.
        key_mark: of the keys, likewise.
    """

    n_heads: int
    n_key_heads: int | None
    head_size: int | None
    shape: tuple[int, int, int]
    ranks: tuple[int, ...]
    mark: str
    key_mark: str

    @classmethod
    def of(cls, layer: Attention, ranks: tuple[int, ...]) -> HeadsFacts:
        """Those of a layer of this rank."""
        shape = layer.n_examples, layer.n_queries, layer.n_keys
        keys = getattr(layer, "k", None)
        key_mark = "" if keys is None else _mark(to_numpy(keys[-1:, :, -1]))
        return cls(layer.n_heads, layer.n_key_heads, layer.head_size, shape, ranks, _head_mark(layer), key_mark)


@dataclass(frozen=True)
class StackFacts:
    """What one rank tells the others of a stack.

    Attributes:
        layers: one for each.
        tokens: a mark of all of them.
        text: the first few.
    """

    layers: tuple[HeadsFacts, ...]
    tokens: str
    text: str

    @classmethod
    def of(cls, stack: AttentionStack) -> StackFacts:
        """Those of a stack of this rank."""
        layers = tuple(HeadsFacts.of(layer, info.ranks) for layer, info in zip(stack.layers, stack.infos, strict=True))
        pieces = [tuple(names.pieces) for names in (*stack.query_tokens, *stack.key_tokens)]
        return cls(layers, hashlib.blake2b(repr(pieces).encode(), digest_size=16).hexdigest(), repr(pieces[0][:_FEW]))


class RemoteHeads:
    """Heads of a layer on another rank, as far as they are asked for.

    Args:
        facts: of them.
        ask: sends a question there and waits for the answer.
    """

    def __init__(self, facts: HeadsFacts, ask: Ask) -> None:
        self.n_heads = facts.n_heads
        self._ask = ask

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """As of any attention."""
        found: Floats = self._ask("weights", example, heads, queries, keys)
        return found

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """As of any attention."""
        found: Floats = self._ask("scores", example, heads, queries, keys)
        return found

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """As of any attention."""
        found: Bools = self._ask("allowed", example, heads, queries, keys)
        return found

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """As of any attention."""
        found: Floats = self._ask("sink_share", example, heads, queries)
        return found

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:
        """How one weight came about."""
        found: PairDetail = self._ask("pair_detail", example, head, query, key)
        return found

    def probe_errors(self) -> Floats | None:
        """As of any attention."""
        found: Floats | None = self._ask("probe_errors")
        return found

    def has_nan(self) -> bool:
        """As of any attention."""
        return bool(self._ask("has_nan"))

    def moved_by_rounding(self) -> float:
        """As `rounding.moved_by_rounding` says of them."""
        return float(self._ask("moved_by_rounding"))

    def pooled(self, head: int, **rectangle: Any) -> Floats:  # noqa: ANN401 - as `Pooling` takes them
        """A rectangle pooled there, so that only its cells travel."""
        found: Floats = self._ask("pool", head, **rectangle)
        return found


class JoinedHeads:
    """One layer, its heads in parts: some here, some on other ranks.

    Args:
        here: the part of this rank.
        parts: all of them, in the order of their heads, that of this rank among them.
        facts: of each.
    """

    def __init__(self, here: Attention, parts: Sequence[Attention | RemoteHeads], facts: Sequence[HeadsFacts]) -> None:
        self._here, self._parts = here, tuple(parts)
        self._starts = np.cumsum([0, *(part.n_heads for part in parts)])
        self.n_heads = int(self._starts[-1])
        self.n_examples, self.n_queries, self.n_keys = facts[0].shape
        self.head_size, self.window = facts[0].head_size, here.window
        counts = [one.n_key_heads for one in facts]
        known = [count for count in counts if count is not None]
        # Where there are fewer key heads than ranks, several ranks hold the same.
        once = len({one.key_mark for one in facts}) == 1
        self.n_key_heads = None if len(known) < len(counts) else known[0] if once else sum(known)

    @property
    def mask(self) -> Mask | None:
        """That of this rank, if it says nothing of single heads."""
        mask = self._here.mask
        parts = () if mask is None else (mask.bits, mask.bias, mask.ranges, mask.relative)
        return None if any(part is not None and part.shape[1] > 1 for part in parts) else mask

    @property
    def probe(self) -> Probe | None:
        """That of this rank."""
        return self._here.probe

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held by this rank, by where they are."""
        return self._here.held

    @property
    def nbytes(self) -> int:
        """Bytes held by this rank in memory and on devices."""
        return not_on_disk(self.held)

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return f"{self._here.detail}, over {len(self._parts)} ranks"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights after the softmax, (h, q, k)."""
        shape = length_of(heads, self.n_heads), length_of(queries, self.n_queries), length_of(keys, self.n_keys)
        weights: Floats = np.empty(shape, np.float32)
        for part, there, here in self._split(heads):
            weights[here] = part.weights(example, there, queries, keys)
        return weights

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Scores before the softmax, scale and soft cap applied, mask and bias not, (h, q, k)."""
        shape = length_of(heads, self.n_heads), length_of(queries, self.n_queries), length_of(keys, self.n_keys)
        scores: Floats = np.empty(shape, np.float32)
        for part, there, here in self._split(heads):
            scores[here] = part.scores(example, there, queries, keys)
        return scores

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row goes to an attention sink that is no token, (h, q)."""
        share: Floats = np.empty((length_of(heads, self.n_heads), length_of(queries, self.n_queries)), np.float32)
        for part, there, here in self._split(heads):
            share[here] = part.sink_share(example, there, queries)
        return share

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask allows, broadcastable to (h, q, k)."""
        if self.mask is not None or self._here.mask is None:
            return self._here.allowed(example, heads, queries, keys)
        shape = length_of(heads, self.n_heads), length_of(queries, self.n_queries), length_of(keys, self.n_keys)
        allowed: Bools = np.empty(shape, np.bool_)
        for part, there, here in self._split(heads):
            allowed[here] = part.allowed(example, there, queries, keys)
        return allowed

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:
        """How one weight came about."""
        part, inside = self._part(head)
        if isinstance(part, RemoteHeads):
            found = part.pair_detail(example, inside, query, key)
        else:
            found = pair_detail(part, example, inside, query, key)
        key_head = found.key_head if self.n_key_heads is None else head // (self.n_heads // self.n_key_heads)
        return replace(found, key_head=key_head)

    def probe_errors(self) -> Floats | None:
        """(B, H, r), how far softmax(...) v is from the output of the run; None without a probe."""
        errors = [part.probe_errors() for part in self._parts]
        known = [error for error in errors if error is not None]
        return np.concatenate(known, axis=1) if len(known) == len(errors) else None

    def has_nan(self) -> bool:
        """Whether weights that the mask allows are not numbers."""
        return any(part.has_nan() for part in self._parts)

    def moved_by_rounding(self) -> float:
        """The most over all parts."""
        return max(
            part.moved_by_rounding() if isinstance(part, RemoteHeads) else moved_by_rounding(part)
            for part in self._parts
        )

    def pooled(self, head: int, **rectangle: Any) -> Floats:  # noqa: ANN401 - as `Pooling` takes them
        """A rectangle pooled where the head is."""
        part, inside = self._part(head)
        if isinstance(part, RemoteHeads):
            return part.pooled(inside, **rectangle)
        return Pooling(part, inside, **rectangle).finish()

    def _part(self, head: int) -> tuple[Attention | RemoteHeads, int]:
        """The part that holds a head, and its number there."""
        number = int(np.searchsorted(self._starts, head, side="right")) - 1
        return self._parts[number], head - int(self._starts[number])

    def _split(self, heads: Index) -> Iterator[tuple[Attention | RemoteHeads, Index, Index]]:
        """The parts that hold some of the heads, the heads' numbers there, and their rows in the answer."""
        wanted = positions_of(heads, self.n_heads)
        for part, start in zip(self._parts, self._starts, strict=False):
            rows = np.flatnonzero((wanted >= start) & (wanted < start + part.n_heads))
            if len(rows):
                yield part, wanted[rows] - start, rows


def _head_mark(layer: Attention) -> str:
    """Of the scores of the last query of the first and the last example; of their weights where only they are known."""
    heads, keys = slice(0, layer.n_heads), slice(0, layer.n_keys)
    last = slice(max(0, layer.n_queries - 1), layer.n_queries)
    ask = layer.scores
    try:
        ask(0, heads, last, keys)
    except ValueError:
        ask = layer.weights
    return _mark(*(ask(example, heads, last, keys) for example in (0, layer.n_examples - 1)))


def _mark(*arrays: Any) -> str:  # noqa: ANN401 - any array type
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
