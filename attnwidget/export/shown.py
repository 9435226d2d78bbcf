"""What a view shows at one moment, as figures and numbers are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.export.words import labels_of, named, visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention import AttentionCapture, AttentionStack, Tokens

Span = tuple[int, int]


@dataclass(frozen=True)
class Gaze:
    """One line of a head: from a query to all keys, or to a key from all queries.

    Attributes:
        side: "query" or "key", the end that is fixed.
        index: which token that is.
        other: the other end, if a pair is locked.
        values: float32, a weight per token of the other side; NaN where the mask forbids.
    """

    side: str
    index: int
    other: int | None
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """The state of a view, and the questions that a figure asks.

    Attributes:
        capture: what is shown.
        stack: name of the stack.
        batch: the example.
        layer: the layer.
        head: the head.
        heads: the heads drawn together in the lines, the one above among them or not; empty: that one alone.
        query: the locked query, or None.
        key: the locked key, or None.
        window: queries [q0, q1) and keys [k0, k1) as (q0, q1, k0, k1); None for all of the head.
        direction: whether the text is shaded "from" a token as a query or "to" it as a key.
        threshold: lines under this weight are not drawn.
        scale: "linear", "sqrt" or "log".
        domain: the weights at the ends of the colour map; None: the head's own range.
        colormap: its name.
        dark: whether the page is dark.
    """

    capture: AttentionCapture
    stack: str
    batch: int = 0
    layer: int = 0
    head: int = 0
    heads: tuple[int, ...] = ()
    query: int | None = None
    key: int | None = None
    window: tuple[int, int, int, int] | None = None
    direction: str = "from"
    threshold: float = 0.0
    scale: str = "sqrt"
    domain: tuple[float, float] | None = None
    colormap: str = "oslo"
    dark: bool = False

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
    def head_words(self) -> str:
        """`layer 3 head 5`, and their numbers in the model where only some were kept."""
        info = self.attention.infos[self.layer]
        layer, head = info.number, info.picked[self.head] if info.picked else None
        return (
            f"layer {self.layer}{'' if layer in (None, self.layer) else f' (of the model: {layer})'} "
            f"head {self.head}{'' if head in (None, self.head) else f' (of the model: {head})'}"
        )

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

    @cached_property
    def pair_weight(self) -> float | None:
        """The weight of the locked pair; NaN where the mask forbids it; None where no pair is locked."""
        if self.query is None or self.key is None:
            return None
        return float(self.weights((self.query, self.query + 1), (self.key, self.key + 1))[0, 0])

    def weights(self, queries: Span, keys: Span, head: int | None = None) -> NDArray[np.float32]:
        """A block of the head, float32: NaN where the mask forbids, infinity where the model overflowed.

        Args:
            queries: which rows, half-open.
            keys: which columns, half-open.
            head: another head of the layer; the shown one if None.
        """
        chosen = self.head if head is None else head
        found = self.capture.weights(self.layer, chosen, queries=queries, keys=keys, batch=self.batch, stack=self.stack)
        allowed = self.capture.allowed(
            self.layer, chosen, queries=queries, keys=keys, batch=self.batch, stack=self.stack
        )
        found = np.where(np.isfinite(found), found, np.float32(np.inf))
        return np.where(allowed, found, np.float32(np.nan))

    def gaze(self, head: int | None = None) -> Gaze | None:
        """What the locked token looks at, or what looks at it; None where no token is locked."""
        if self.query is not None and (self.key is None or self.direction == "from"):
            row = self.weights((self.query, self.query + 1), (0, len(self.key_tokens)), head)[0]
            return Gaze("query", self.query, self.key, row)
        if self.key is None:
            return None
        column = self.weights((0, len(self.query_tokens)), (self.key, self.key + 1), head)[:, 0]
        return Gaze("key", self.key, self.query, column)
