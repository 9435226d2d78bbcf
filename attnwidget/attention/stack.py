"""One ordered list of attention layers that share tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from attnwidget.attention.around import Around
from attnwidget.attention.layertable import layer_table
from attnwidget.attention.mapped import place_of
from attnwidget.attention.memory import MEMORY, held_text, not_on_disk
from attnwidget.attention.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from attnwidget.attention.carried import Carried
    from attnwidget.attention.protocol import Attention
    from attnwidget.attention.reading import Reading

Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class LayerInfo:
    """Where a layer sits in the model.

    Attributes:
        path: of the module that called attention, as `named_modules` writes it; "" where there is no module.
        kind: class of that module.
        implementation: what computed it: "sdpa", "eager" ...
        call: how often that module had called attention before (a shared module stands for several layers).
        heads: query heads.
        key_heads: key-value heads, fewer under grouped queries; None where only weights are known.
        head_size: numbers in a query of one head; None where only weights are known.
        window: the most keys in a row that a query may look at; None without a window.
        ranks: the processes that share its heads, where they do (tensor parallelism).
        number: of the layer among all that ran in its stack, where only some were kept; None where all were.
        picked: the numbers its heads have in the model, where only some were kept; empty where all were.
        n_heads: how many heads it has in the model, likewise; 0 where all were kept.
    """

    path: str = ""
    kind: str = ""
    implementation: str = ""
    call: int = 0
    heads: int = 0
    key_heads: int | None = None
    head_size: int | None = None
    window: int | None = None
    ranks: tuple[int, ...] = ()
    number: int | None = None
    picked: tuple[int, ...] = ()
    n_heads: int = 0

    def of(self, layer: Attention) -> LayerInfo:
        """The same place, with what the layer itself knows."""
        return replace(
            self, heads=layer.n_heads, key_heads=layer.n_key_heads, head_size=layer.head_size, window=layer.window
        )


class AttentionStack:
    """Layers with the same heads, lengths and tokens. Padding is cut off: what is asked is counted without it.

    Args:
        name: what the stack is called: "self", "encoder", "decoder", "cross" ...
        layers: in the order they ran.
        query_tokens: one Tokens per example, padding included or left out; numbered if None.
        key_tokens: likewise; the query tokens if None, where there are as many keys as queries.
        query_spans: per example, the (start, stop) that is not padding; everything if None.
        key_spans: likewise.
        infos: one per layer.
        carried: one per layer, where values were kept; empty where none were.

    Attributes:
        reading: what the numbers of the layers are, where they are no weights; None of weights.

    Raises:
        ValueError: no layers, layers of different shapes, or tokens or spans that do not fit them.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[Attention],
        *,
        query_tokens: Sequence[Tokens] | None = None,
        key_tokens: Sequence[Tokens] | None = None,
        query_spans: Sequence[Span] | None = None,
        key_spans: Sequence[Span] | None = None,
        infos: Sequence[LayerInfo] | None = None,
        carried: Sequence[Carried] = (),
    ) -> None:
        if not layers:
            raise ValueError(f"stack {name!r} has no layers; expected at least one")
        self.name = name
        self.reading: Reading | None = None
        self.layers = tuple(layers)
        places = tuple(infos) if infos is not None else (LayerInfo(),) * len(layers)
        self.infos = tuple(info.of(layer) for info, layer in zip(places, layers, strict=True))
        self.carried = tuple(carried)
        if len(self.carried) not in (0, len(self.layers)):
            raise ValueError(
                f"carried has {len(self.carried)} entries and stack {name!r} has {len(self.layers)} layers; expected "
                "one per layer, or none"
            )
        shapes = [(layer.n_examples, layer.n_heads, layer.n_queries, layer.n_keys) for layer in layers]
        for number, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ValueError(
                    f"layer {number} has (batch, heads, queries, keys) = {shape} and layer 0 has {shapes[0]}; "
                    "expected one shape for all layers of a stack: show layers of another shape as a capture of "
                    "their own"
                )
        self.n_examples, self.n_heads, n_queries, n_keys = shapes[0]
        self.query_spans = _spans(query_spans, self.n_examples, n_queries)
        if query_tokens is None:
            query_tokens = [Tokens.numbered(n_queries)] * self.n_examples
        if key_tokens is None and n_keys == n_queries:
            key_tokens, key_spans = query_tokens, self.query_spans if key_spans is None else key_spans
        elif key_tokens is None:
            key_tokens = [Tokens.numbered(n_keys)] * self.n_examples
        self.key_spans = _spans(key_spans, self.n_examples, n_keys)
        self.query_tokens = _trim("tokens", query_tokens, self.query_spans, n_queries, name)
        self.key_tokens = _trim("key_tokens", key_tokens, self.key_spans, n_keys, name)

    def with_layers(self, layers: Sequence[Attention], infos: Sequence[LayerInfo] | None = None) -> AttentionStack:
        """The same tokens, with other layers; at the same places, unless `infos` says where. Nothing is carried."""
        twin = AttentionStack(self.name, layers, infos=self.infos if infos is None else infos)
        twin.query_tokens, twin.key_tokens = self.query_tokens, self.key_tokens
        twin.query_spans, twin.key_spans = self.query_spans, self.key_spans
        return twin

    @property
    def n_layers(self) -> int:
        """Layers."""
        return len(self.layers)

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held by the layers, by where they are; a mask or modifier that layers share is counted once."""
        held = held_by(self.layers)
        held.update(held_by_carried(self.carried))
        return held

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""
        return not_on_disk(self.held)

    def __repr__(self) -> str:
        return f"AttentionStack({self.name!r}, {self.n_layers} layers x {self.n_heads} heads, {self.size_text()})"

    def summary(self) -> list[str]:
        """Lines: how many layers and heads, of what size; then a row for each group of layers that are alike."""
        first = f"{self.n_layers} layers x {self.n_heads} heads, {self.size_text()}, {held_text(self.held)}"
        return [first, *layer_table(self.infos, [layer.detail for layer in self.layers])]

    def size_text(self) -> str:
        """The lengths, padding cut off: "13 tokens", "9 x 13 tokens", "2 examples of 9 to 13 tokens"."""
        return tokens_text([len(tokens) for tokens in self.query_tokens], [len(tokens) for tokens in self.key_tokens])


def tokens_text(queries: Sequence[int], keys: Sequence[int]) -> str:
    """How many queries and keys each example has, as `AttentionStack.size_text` says it."""
    text = f"{_range(queries)} tokens" if queries == keys else f"{_range(queries)} x {_range(keys)} tokens"
    return text if len(queries) == 1 else f"{len(queries)} examples of {text}"


def held_by(layers: Iterable[Attention]) -> Counter[str]:
    """Bytes held by layers, by where they are; a mask or modifier that layers share is counted once."""
    held: Counter[str] = Counter()
    met: set[int] = set()
    for layer in layers:
        held.update(layer.held)
        while isinstance(layer, Around):
            layer = layer.whole  # noqa: PLW2901 - what it shares with others is what it was made from
        if layer.mask is not None:
            if id(layer.mask) in met:
                held[MEMORY] -= layer.mask.nbytes
            met.add(id(layer.mask))
        modifier = getattr(layer, "modifier", None)
        if modifier is not None:
            if id(modifier) in met:
                held.subtract(modifier.held)
            met.add(id(modifier))
    return held


def held_by_carried(carried: Iterable[Carried]) -> Counter[str]:
    """Bytes held by what layers carry, by where they are; a projection that layers share is counted once."""
    held: Counter[str] = Counter()
    met: set[int] = set()
    for one in carried:
        held.update(one.held)
        if one.projection is not None and id(one.projection) in met:
            held[place_of(one.projection)] -= int(one.projection.nbytes)
        met.add(id(one.projection))
    return held


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _spans(spans: Sequence[Span] | None, n_examples: int, length: int) -> tuple[Span, ...]:
    if spans is None:
        return ((0, length),) * n_examples
    if len(spans) != n_examples or any(not 0 <= start <= stop <= length for start, stop in spans):
        raise ValueError(f"spans are {list(spans)}; expected {n_examples} of them within 0 to {length}")
    return tuple(spans)


def _trim(what: str, tokens: Sequence[Tokens], spans: tuple[Span, ...], length: int, stack: str) -> tuple[Tokens, ...]:
    if len(tokens) != len(spans):
        raise ValueError(
            f"{what} name {len(tokens)} examples and stack {stack!r} has {len(spans)}; expected one list of tokens "
            "per example"
        )
    for number, (names, (start, stop)) in enumerate(zip(tokens, spans, strict=True)):
        if len(names) not in (length, stop - start):
            raise ValueError(
                f"{what} of example {number} hold {len(names)} tokens and the attention of stack {stack!r} has "
                f"{length}; expected one name per position, special tokens and padding included"
            )
    return tuple(
        names[start:stop] if len(names) == length else names for names, (start, stop) in zip(tokens, spans, strict=True)
    )
