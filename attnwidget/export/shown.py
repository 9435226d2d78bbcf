"""What a view shows at one moment, as figures and numbers are made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.export.words import counted, labels_of, named, visible
from attnwidget.widget.measures import as_shares, measured, pooled_by

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention import AttentionCapture, AttentionStack, Tile, Tokens
    from attnwidget.attention.reading import Reading
    from attnwidget.export.words import Kind
    from attnwidget.widget.parsing import Aggregate

Span = tuple[int, int]
_NAMED = 4
"""So many keys or heads are named; more are counted."""


@dataclass(frozen=True)
class Gaze:
    """One line of a head: from a query to all keys, or to a key from all queries.

    Attributes:
        side: "query" or "key", the end that is fixed.
        index: which token that is.
        other: the other end, if a pair is locked.
        values: float32, per token of the other side as `Shown.weights` has them; NaN where the mask forbids.
    """

    side: str
    index: int
    other: int | None
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """The state of a view, and the questions that a figure asks.

    Weights, and what is shown in their place, are on the scale of [0, 1] in which the page has them too. What is
    printed is their `number`.

    Attributes:
        capture: what is shown: without hidden keys, and in words.
        stack: name of the stack.
        batch: the example.
        layer: the layer.
        head: the head.
        heads: the heads drawn together in lines and graph, the one above among them or not; empty: that one alone.
        aggregate: many heads shown as one in every panel but the grid; None: heads as they are.
        query: the locked query, or None.
        key: the locked key, or None.
        window: queries [q0, q1) and keys [k0, k1) as (q0, q1, k0, k1); None for all of the head.
        direction: whether the text is shaded "from" a token as a query or "to" it as a key.
        threshold: which lines and arcs are drawn: a weight, or a mass.
        threshold_kind: "weight" or "mass".
        measure: "weight", "lift" or another of `attnwidget.analysis.PAIR_MEASURES`; the capture is by that measure.
        scale: "linear", "sqrt", "log" or "quantile".
        domain: the numbers at the ends of the colour map, of lift (1 / c, c), of signed ones (-c, c); None: the head's
            own range.
        colormap: its name.
        diverging: the colour map of lift: "vik", "berlin", or "auto" for the one whose middle is nearer to the page.
        components: order of the components in the detail: by "size", or by "index".
        dark: whether the page is dark.
        words: whether the tokens are words.
        hidden: keys that are left out, as they read: `0 "[CLS]"`.
        arranged: whether the grid of the view is sorted, filtered or coloured by measures of heads.
    """

    capture: AttentionCapture
    stack: str
    batch: int = 0
    layer: int = 0
    head: int = 0
    heads: tuple[int, ...] = ()
    aggregate: Aggregate | None = None
    query: int | None = None
    key: int | None = None
    window: tuple[int, int, int, int] | None = None
    direction: str = "from"
    threshold: float = 0.0
    threshold_kind: str = "weight"
    measure: str = "weight"
    scale: str = "sqrt"
    domain: tuple[float, float] | None = None
    colormap: str = "oslo"
    diverging: str = "auto"
    components: str = "size"
    dark: bool = False
    words: bool = False
    hidden: tuple[str, ...] = ()
    arranged: bool = False

    @cached_property
    def source(self) -> AttentionCapture:
        """What answers for heads: weights, or lift."""
        return measured(self.capture, self.measure if self.reading is None else "weight")

    @cached_property
    def _many(self) -> AttentionCapture | None:
        """What answers for many heads as one."""
        one = self.aggregate
        if one is None:
            return None
        return self.source.aggregate(one.reduce, layers=one.layers, heads=one.heads, stack=self.stack)

    def asked(self, head: int | None = None) -> tuple[AttentionCapture, int, int]:
        """Whom to ask about a head of the layer, or what is shown if None: a capture, a layer and a head of it."""
        if head is None and self._many is not None:
            return self._many, 0, 0
        return self.source, self.layer, self.head if head is None else head

    @property
    def drawn(self) -> tuple[int | None, ...]:
        """The heads of lines and graph; None is what is shown."""
        return (None,) if self.aggregate or not self.heads else self.heads

    @property
    def reading(self) -> Reading | None:
        """What is shown in the place of weights."""
        return self.attention.reading

    @property
    def kind(self) -> Kind:
        """What the numbers are."""
        if self.reading is not None:
            return "signed" if self.reading.signed else "amount"
        return "lift" if self.measure == "lift" else "weight"

    def number(self, share: float) -> float:
        """The number that stands for a share: the weight, or what is shown in its place."""
        if self.reading is not None:
            return float(self.reading.numbers(share))
        return share * len(self.key_tokens) if self.kind == "lift" else share

    def share(self, number: float) -> float:
        """The inverse."""
        if self.reading is not None:
            return float(self.reading.shares(number))
        return number / max(1, len(self.key_tokens)) if self.kind == "lift" else number

    @property
    def least(self) -> float:
        """The threshold, as a share: what is below 0 has no strength to be drawn with."""
        return max(self.threshold, self.share(0)) if self.kind == "signed" else self.threshold

    @property
    def ranges(self) -> str:
        """What the range of the colours is of."""
        one = self.one
        return f"these {one}s" if self.aggregate else f"this {one}"

    @property
    def one(self) -> str:
        """What has a picture of its own."""
        return "head" if self.reading is None or self.reading.per_head else "layer"

    @property
    def by_mass(self) -> bool:
        """Whether the threshold is a mass. Rows of weights alone have one."""
        return self.threshold_kind == "mass" and self.kind == "weight"

    @property
    def attention(self) -> AttentionStack:
        """The stack itself."""
        return self.capture.stacks[self.stack]

    @property
    def query_tokens(self) -> Tokens:
        """The queries of the example."""
        return self.attention.query_tokens[self.batch]

    @property
    def key_tokens(self) -> Tokens:
        """The keys of the example."""
        return self.attention.key_tokens[self.batch]

    @property
    def one_text(self) -> bool:
        """Whether the queries are the keys."""
        return self.query_tokens == self.key_tokens

    @cached_property
    def query_labels(self) -> tuple[str, ...]:
        """What stands for each query."""
        return labels_of(self.query_tokens)

    @cached_property
    def key_labels(self) -> tuple[str, ...]:
        """What stands for each key."""
        return self.query_labels if self.one_text else labels_of(self.key_tokens)

    @property
    def queries(self) -> Span:
        """The queries in the window, half-open."""
        return (0, len(self.query_tokens)) if self.window is None else self.window[:2]

    @property
    def keys(self) -> Span:
        """The keys in the window, half-open."""
        return (0, len(self.key_tokens)) if self.window is None else self.window[2:]

    @property
    def whole(self) -> bool:
        """Whether all of the head is in the window."""
        return self.queries == (0, len(self.query_tokens)) and self.keys == (0, len(self.key_tokens))

    @property
    def title(self) -> str:
        """The model, stack, layer and head, and which example where there are several."""
        example = [f"example {self.batch}"] if self.attention.n_examples > 1 else []
        return visible(" · ".join([self.capture.model, self.stack, *example, self.head_words]))

    @property
    def made_words(self) -> tuple[str, ...]:
        """What was made of the weights before they are shown: words, hidden keys."""
        words = ["words: sums over keys, means over queries"] if self.words else []
        if self.hidden:
            more = len(self.hidden) - _NAMED
            names = ", ".join(self.hidden[:_NAMED]) + (f" and {more} more" if more > 0 else "")
            words.append(f"rows renormalised without key{'s' * (len(self.hidden) > 1)} {visible(names)}")
        return tuple(words)

    @property
    def forbidden_words(self) -> str:
        """What cells without a weight are."""
        return "not allowed by the mask" + (", or hidden" if self.hidden else "")

    @property
    def head_words(self) -> str:
        """`layer 3 head 5`, with their numbers in the model where some were kept; or `mean of 12 heads, layer 3`.

        Of a measure that belongs to layers, `layer 3`; or `mean of 12 layers`.
        """
        many = self.aggregate
        if many is None and self.one == "layer":
            return self._layer_words
        if many is None:
            picked = self.attention.infos[self.layer].picked
            return f"{self._layer_words} {_kept('head', self.head, picked[self.head] if picked else None)}"
        whole = many.count == self.attention.n_layers * self.attention.n_heads
        every = "all " if whole and many.count > 1 else ""
        words = f"{many.reduce} {'of' if many.reduce == 'mean' else 'over'} {every}" + counted(many.count, self.one)
        return words if whole else f"{words}, {self._layer_words}"

    @property
    def drawn_words(self) -> str:
        """Likewise, of what lines and graph draw: `layer 3 heads 0, 2, 5`."""
        if len(self.drawn) == 1 and self.drawn[0] in (None, self.head):
            return self.head_words
        if len(self.drawn) > _NAMED:
            return f"{self._layer_words}, {counted(len(self.drawn), 'head')}"
        return f"{self._layer_words} head{'s' * (len(self.drawn) > 1)} {', '.join(map(str, self.drawn))}"

    @property
    def _layer_words(self) -> str:
        return _kept("layer", self.layer, self.attention.infos[self.layer].number)

    @property
    def window_words(self) -> str:
        """`1,200 – 1,455 × 0 – 255 of 32,768`, or "" for the whole head."""
        if self.whole:
            return ""
        sides = [f"{start:,} – {stop - 1:,}" for start, stop in (self.queries, self.keys)]
        counts = [f"{len(self.query_tokens):,}", f"{len(self.key_tokens):,}"]
        if counts[0] == counts[1]:
            return f"{sides[0]} × {sides[1]} of {counts[1]}"
        return f"{sides[0]} of {counts[0]} × {sides[1]} of {counts[1]}"

    @property
    def pair_words(self) -> str:
        """The locked tokens: `query 12 "it" → key 2 "animal"`, the side that there is, or ""."""
        parts = []
        if self.query is not None:
            parts.append(f"query {named(self.query_labels, self.query)}")
        if self.key is not None:
            parts.append(f"key {named(self.key_labels, self.key)}")
        return " → ".join(parts)

    def pair_weight(self, head: int | None = None) -> float | None:
        """The weight of the locked pair; NaN where the mask forbids it; None where no pair is locked."""
        if self.query is None or self.key is None:
            return None
        return float(self.weights((self.query, self.query + 1), (self.key, self.key + 1), head)[0, 0])

    def weights(self, queries: Span, keys: Span, head: int | None = None) -> NDArray[np.float32]:
        """A block of a head, float32: NaN where the mask forbids, infinity where the model overflowed.

        Args:
            queries: which rows, half-open.
            keys: which columns, half-open.
            head: another head of the layer; what is shown if None.
        """
        capture, layer, chosen = self.asked(head)
        where: Any = {"queries": queries, "keys": keys, "batch": self.batch, "stack": self.stack}
        numbers = capture.weights(layer, chosen, **where)
        found = np.where(np.isfinite(numbers), as_shares(numbers, self.reading), np.float32(np.inf))
        return np.where(capture.allowed(layer, chosen, **where), found, np.float32(np.nan))

    def tile(self, height: int, width: int, head: int | None = None, **where: Any) -> Tile:  # noqa: ANN401 - see below
        """A pooled rectangle, as `AttentionCapture.tile` takes it and has it: of what is shown, or of a head."""
        capture, layer, chosen = self.asked(head)
        return self._read(capture, layer, chosen, height=height, width=width, **where)

    def thumbnail(self, layer: int, head: int, most: int, rows: int | None) -> Tile:
        """A small picture of one head of the stack, whatever is shown."""
        height, width = len(self.query_tokens), len(self.key_tokens)
        return self._read(self.source, layer, head, height=min(height, most), width=min(width, most), rows=rows)

    def _read(self, capture: AttentionCapture, layer: int, head: int, **where: Any) -> Tile:  # noqa: ANN401 - as above
        tile = capture.tile(
            layer, head, batch=self.batch, stack=self.stack, **{"reduce": pooled_by(self.reading), **where}
        )
        return replace(tile, values=as_shares(tile.values, self.reading))

    def gaze(self, head: int | None = None) -> Gaze | None:
        """What the locked token looks at, or what looks at it; None where no token is locked."""
        if self.query is not None and (self.key is None or self.direction == "from"):
            row = self.weights((self.query, self.query + 1), (0, len(self.key_tokens)), head)[0]
            return Gaze("query", self.query, self.key, row)
        if self.key is None:
            return None
        column = self.weights((0, len(self.query_tokens)), (self.key, self.key + 1), head)[:, 0]
        return Gaze("key", self.key, self.query, column)


def _kept(what: str, place: int, number: int | None) -> str:
    """A layer or head, and its number in the model where only some were kept."""
    return f"{what} {place}{'' if number in (None, place) else f' (of the model: {number})'}"
