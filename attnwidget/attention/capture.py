"""What one run of a model left behind: stacks, tokens, and how to get any weight."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from attnwidget.attention.choosing import Choice
from attnwidget.attention.deriving import Deriving
from attnwidget.attention.errors import CaptureError
from attnwidget.attention.from_weights import stack_from_weights
from attnwidget.attention.measuring import Measuring
from attnwidget.attention.memory import held_text, not_on_disk
from attnwidget.attention.outlets import Outlets
from attnwidget.attention.pairdetail import pair_detail
from attnwidget.attention.selection import Select, check_index
from attnwidget.attention.stack import held_by, held_by_carried
from attnwidget.attention.tiling import Tiles
from attnwidget.attention.verify import Verification, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from attnwidget.attention.generation import Generation
    from attnwidget.attention.pairdetail import PairDetail
    from attnwidget.attention.protocol import Attention, Bools, Floats, Index
    from attnwidget.attention.stack import AttentionStack
    from attnwidget.attention.tokens import TokenNames


class AttentionCapture(Tiles, Deriving, Measuring, Outlets):
    """Every head of every layer of one run. Indices count from 0, padding is cut off, nothing is rescaled.

    `without_keys` and `in_words` make captures of the same run that leave keys out or have words for tokens.

    `notes` tells what one should know of the run, where there is anything; `repr` prints it. `generation` says what was
    given and what was generated, where generate() ran; None elsewhere.

    Args:
        stacks: at least one, with names of their own; None: filled later, by whoever watches the run.
        model: what to call the model.

    Examples:
        >>> import numpy as np
        >>> cap = AttentionCapture.from_weights(np.full((2, 4, 3, 3), 1 / 3), ["a", "b", "c"])
        >>> cap.weights(layer=1, head=0).shape, cap.pair(query=2, key=0).shape
        ((3, 3), (2, 4))
    """

    def __init__(self, stacks: Iterable[AttentionStack] | None = None, *, model: str | None = None) -> None:
        self.model = model or "attention"
        self.notes: tuple[str, ...] = ()
        self.generation: Generation | None = None
        self._stacks: Mapping[str, AttentionStack] | None = None
        self._closed = ""  # how it came to be closed
        self._fed: WeakSet[AttentionCapture] = WeakSet()  # what was made from this one, and from that again
        self._feeders = [self._fed]  # of this one and of all it was made from
        if stacks is not None:
            self.fill(stacks)

    @classmethod
    def from_weights(
        cls,
        weights: Any,  # noqa: ANN401 - any array type, or a list of them
        tokens: TokenNames | Sequence[TokenNames] | None = None,
        *,
        key_tokens: TokenNames | Sequence[TokenNames] | None = None,
        mask: Any = None,  # noqa: ANN401 - any array type
        model: str | None = None,
        stack: str = "self",
    ) -> AttentionCapture:
        """Show arrays one already has.

        Where every weight above the diagonal of every square head is exactly zero, the capture counts as causal and
        those pairs as masked; otherwise every pair counts as allowed, unless `mask` says which are.

        Args:
            weights: a list or tuple with one (B, H, Tq, Tk) or (H, Tq, Tk) per layer, or one array (L, H, Tq, Tk) or
                (L, B, H, Tq, Tk), or (H, Tq, Tk) for one layer; NumPy or torch, any float type.
            tokens: names of the queries, one list for all examples or a list of lists; numbered if None.
            key_tokens: names of the keys; those of the queries if None.
            mask: boolean, True where a query may look at a key, of a shape that broadcasts to (B, H, Tq, Tk).
            model: what to call the model.
            stack: what to call the stack.

        Returns:
            A capture that holds the arrays themselves, not copies.

        Raises:
            TypeError: these are not arrays of floating point numbers.
            ValueError: a shape, a token count or a value that attention weights cannot have.
        """
        built = stack_from_weights(weights, tokens, key_tokens=key_tokens, mask=mask, name=stack)
        return cls([built], model=model)

    def fill(self, stacks: Iterable[AttentionStack], *, notes: Iterable[str] = ()) -> None:
        """Set the stacks, once, and the notes."""
        named = {stack.name: stack for stack in stacks}
        if not named:
            raise ValueError("a capture needs at least one stack of attention layers, and got none")
        self._stacks = MappingProxyType(named)
        self.notes = tuple(notes)

    @property
    def stacks(self) -> Mapping[str, AttentionStack]:
        """Stacks by name, in the order they ran."""
        if self._closed:
            raise CaptureError(f"{self._closed}, and holds nothing any more: capture the model again")
        if self._stacks is None:
            raise CaptureError(
                "this capture is not filled: it is when the `with` block ends without an exception; use it after the "
                "block"
            )
        return self._stacks

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return bool(self._closed)

    @property
    def tokens(self) -> list[str]:
        """Pieces of the queries of the first stack's first example."""
        return list(self._stack(None).query_tokens[0].pieces)

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are: "memory", "disk", or a device such as "cuda:0"."""
        # Stacks may be windows on the same layers, which are there once.
        layers = {id(layer): layer for stack in self.stacks.values() for layer in stack.layers}
        held = held_by(layers.values())
        held.update(held_by_carried(one for stack in self.stacks.values() for one in stack.carried))
        return {place: nbytes for place, nbytes in held.items() if nbytes}

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk; `held` tells them apart."""
        return not_on_disk(self.held)

    def close(self) -> None:
        """Let go of everything: memory, and files on disk. Without it that happens when nobody holds the capture.

        Captures made from this one, as `without_keys` and `in_words` do, are closed with it.
        """
        self._close("this capture was closed")

    def _close(self, how: str) -> None:
        self._stacks, self._closed = None, self._closed or how
        for made in list(self._fed):
            made._close("the capture that this one was made from was closed")  # noqa: SLF001 - of its own class

    def weights(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        queries: Select = None,
        keys: Select = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Floats:
        """Weights after the softmax.

        Args:
            layer: one layer, or all of them.
            head: one head, or all of them.
            queries: a slice, a range (start, stop) or a list of positions; all of them if None.
            keys: likewise.
            batch: which example.
            stack: name of a stack; the first one if None.

        Returns:
            float32: (Tq, Tk) with a layer and a head, (H, Tq, Tk) with a layer, (L, Tq, Tk) with a head, (L, H, Tq, Tk)
            with neither. 0 where the mask forbids.

        Raises:
            IndexError: no such layer, head, query, key or example; they count from 0.
            KeyError: no such stack.
            MemoryError: the answer would take more than half of the free memory.
        """
        found: Floats = self._gather(lambda one: one.weights, layer, head, queries, keys, batch, stack, np.float32)
        return found

    def scores(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        queries: Select = None,
        keys: Select = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Floats:
        """Scores before the softmax, scale and soft cap applied, mask and bias not; float32, shaped as `weights`.

        Raises:
            ValueError: the capture holds weights only, no q and k. Otherwise as `weights`.
        """
        found: Floats = self._gather(lambda one: one.scores, layer, head, queries, keys, batch, stack, np.float32)
        return found

    def detail(
        self, layer: int, head: int, query: int, key: int, *, batch: int = 0, stack: str | None = None
    ) -> PairDetail:
        """How one weight came about: q, k and q * k by component, scale, soft cap, bias, mask and lse.

        Args:
            layer: which layer.
            head: which head.
            query: position of the token that looks.
            key: position of the token that is looked at.
            batch: which example.
            stack: name of a stack; the first one if None.

        Returns:
            A `PairDetail`, whose `weight` is what `weights` says of the pair. It prints as a table.

        Raises:
            IndexError: no such layer, head, query, key or example; they count from 0.
            KeyError: no such stack.
            ValueError: q and k of this pair are not known, and why: the layer holds weights only, or no score was
                computed for it.
        """
        shown, example = self._place(batch, stack)
        number, where = check_index("layer", layer, shown.n_layers, f"stack {shown.name!r}"), f"stack {shown.name!r}"
        index, where = check_index("head", head, shown.n_heads, where), f"example {example} of {where}"
        row, column = self._pair(shown, example, query, key)
        first_query, first_key = shown.query_spans[example][0], shown.key_spans[example][0]
        found = pair_detail(shown.layers[number], example, index, first_query + row, first_key + column)
        names = shown.query_tokens[example].pieces[row], shown.key_tokens[example].pieces[column]
        pair = f"query {row} {names[0]!r} -> key {column} {names[1]!r}"
        return replace(found, pair=f"layer {number} head {index} of {where}: {pair}")

    def allowed(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        queries: Select = None,
        keys: Select = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Bools:
        """Which pairs the mask allows: bool, shaped as `weights`, and raising what it raises."""
        found: Bools = self._gather(lambda one: one.allowed, layer, head, queries, keys, batch, stack, np.bool_)
        return found

    def sink_share(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        queries: Select = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Floats:
        """What of each row goes to an attention sink that is no token, as GPT-OSS has them.

        The sink is a logit of its own in the denominator of the softmax (Xiao et al. 2023, "Efficient Streaming
        Language Models with Attention Sinks"; learned per head in GPT-OSS, 2025): a row of weights sums to 1 less this
        share.

        Returns:
            float32, shaped as `weights` without its last axis: (Tq,) with a layer and a head. 0 in models without
            such sinks.

        Raises:
            ValueError: the capture holds weights only. Otherwise as `weights`.
        """
        found: Floats = self._gather(
            lambda one: lambda example, heads, rows, _: one.sink_share(example, heads, rows)[:, :, None],
            layer,
            head,
            queries,
            [0],
            batch,
            stack,
            np.float32,
        )
        return found[..., 0]

    def verify(self) -> Verification:
        """Recompute some rows of every head and compare softmax(...) v with the output that the run really used.

        Values and outputs are compared along one random direction (Freivalds 1977), of which a capture keeps a number
        per key and up to 8 queries per layer.

        Returns:
            The largest error, layer by layer; its `ok` is False if one is larger than rounding explains, or if a layer
            left nothing to check by (arrays from elsewhere, dropout in the output).
        """
        return verify(self.stacks)

    def pair(self, *, query: int, key: int, batch: int = 0, stack: str | None = None) -> Floats:
        """The weight of one pair of tokens in every head of every layer, float32 (L, H)."""
        shown, example = self._place(batch, stack)
        row, column = self._pair(shown, example, query, key)
        found = self.weights(queries=[row], keys=[column], batch=example, stack=shown.name)
        return found[:, :, 0, 0]

    def lift(
        self,
        layer: int | None = None,
        head: int | None = None,
        *,
        queries: Select = None,
        keys: Select = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Floats:
        """Lift over uniform: the weight times the number of keys that its query may look at.

        1 is chance, what a query gives that tells no keys apart; 2 is twice as much. Padding is no key.

        Returns:
            float32, shaped as `weights`, and raising what it raises: from 0 to the number of keys. 0 where the mask
            forbids.
        """
        return self.measure("lift", layer, head, queries=queries, keys=keys, batch=batch, stack=stack)

    def __repr__(self) -> str:
        if self._stacks is None:
            return f"{type(self).__name__}({self.model!r}, {'closed' if self._closed else 'not filled yet'})"
        lines = [f"{type(self).__name__}({self.model!r}, {held_text(self.held)})"]
        names = max(len(name) for name in self.stacks)
        for name, stack in self.stacks.items():
            first, *table = stack.summary()
            lines += [f"  {name:<{names}}  {first}", *(f"    {row}" for row in table)]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _stack(self, name: str | None) -> AttentionStack:
        if name is None:
            return next(iter(self.stacks.values()))
        if name not in self.stacks:
            raise KeyError(f"stack {name!r} does not exist: this capture has {', '.join(map(repr, self.stacks))}")
        return self.stacks[name]

    def _derive(self, changed: Iterable[AttentionStack], *notes: str, alone: bool = False) -> AttentionCapture:
        named = {stack.name: stack for stack in changed}
        stacks = named if alone else {**self.stacks, **named}
        made = self._twin(stacks.values())
        made.notes, made.generation = (*self.notes, *notes), self.generation
        made._made_from(self)  # noqa: SLF001 - of its own class
        return made

    def _made_from(self, *captures: AttentionCapture) -> None:
        """Have it closed when one of these is."""
        feeders = [fed for capture in captures for fed in capture._feeders]  # noqa: SLF001
        self._feeders += feeders
        for fed in feeders:
            fed.add(self)

    def _twin(self, stacks: Iterable[AttentionStack]) -> AttentionCapture:
        """Another of its kind, with other stacks."""
        return AttentionCapture(stacks, model=self.model)

    def _place(self, batch: int, stack: str | None) -> tuple[AttentionStack, int]:
        shown = self._stack(stack)
        return shown, check_index("example", batch, shown.n_examples, f"stack {shown.name!r}")

    @staticmethod
    def _pair(shown: AttentionStack, example: int, query: int, key: int) -> tuple[int, int]:
        where = f"example {example} of stack {shown.name!r}"
        return (
            check_index("query", query, len(shown.query_tokens[example]), where),
            check_index("key", key, len(shown.key_tokens[example]), where),
        )

    def _gather(
        self,
        question: Callable[[Attention], Callable[[int, Index, Index, Index], Any]],
        layer: int | None,
        head: int | None,
        queries: Select,
        keys: Select,
        batch: int,
        stack: str | None,
        dtype: type[np.generic],
    ) -> Any:  # noqa: ANN401 - the public methods name the type
        chosen = self._choose(layer, head, queries, keys, batch, stack)
        result = chosen.empty(dtype)
        for place, number in enumerate(chosen.layers):
            one = chosen.stack.layers[number]
            result[place] = question(one)(chosen.example, chosen.heads, chosen.queries, chosen.keys)
        return chosen.shaped(result)

    def _choose(
        self, layer: int | None, head: int | None, queries: Select, keys: Select, batch: int, stack: str | None
    ) -> Choice:
        shown, example = self._place(batch, stack)
        return Choice.of(shown, example, layer=layer, head=head, queries=queries, keys=keys)
