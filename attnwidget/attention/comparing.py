"""Two captures in one frame: their tokens aligned by what they say, and how their weights differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from attnwidget.attention.aggregate import AggregateAttention
from attnwidget.attention.capture import AttentionCapture
from attnwidget.attention.excess import ExcessAttention
from attnwidget.attention.limits import limits
from attnwidget.attention.oneframe import has_both, in_one_frame, lacking
from attnwidget.attention.selection import Select, check_index
from attnwidget.attention.stack import AttentionStack, LayerInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike
    from pathlib import Path
    from typing import NoReturn

    from numpy.typing import NDArray

    from attnwidget.attention.aggregate import Aggregation
    from attnwidget.attention.aligning import Aligned
    from attnwidget.attention.protocol import Floats

Head: TypeAlias = tuple[int, int]
_PAIR_BYTES = 24
"""What a pair of tokens takes while two heads are compared."""


class Comparison(AttentionCapture):
    """Two captures as two stacks in one frame; `aw.compare` makes it, and it answers whatever a capture answers.

    Tokens that both texts have stand in the frame once, the others where their side has them. A side allows no pair
    with a token that it lacks.

    Args:
        stacks: the two sides, of one shape and with the same tokens.
        aligned: of queries and of keys, (place in a, place in b) per place of the frame, None where a side lacks it.
        model: what to call the two together.
    """

    def __init__(self, stacks: Iterable[AttentionStack], aligned: tuple[Aligned, Aligned], *, model: str) -> None:
        super().__init__(stacks, model=model)
        self._aligned = aligned

    @property
    def names(self) -> tuple[str, str]:
        """What the two sides are called, which is what their stacks are called."""
        a, b = self.stacks
        return a, b

    @property
    def aligned(self) -> Aligned:
        """(place in a, place in b) of each query of the frame; None where a side lacks it."""
        return list(self._aligned[0])

    @property
    def aligned_keys(self) -> Aligned:
        """Likewise of each key: the same, but where keys are other tokens than queries."""
        return list(self._aligned[1])

    def difference(self, layer: int, head: int, *, queries: Select = None, keys: Select = None) -> Floats:
        """Weights of b less those of a, in the frame.

        Args:
            layer: which layer.
            head: which head.
            queries: of the frame, as for `weights`; all of them if None.
            keys: likewise.

        Returns:
            float32 (Tq, Tk) from -1 to 1. NaN where one side lacks a token, or where both forbid the pair; a side that
            forbids it alone counts with 0.

        Raises:
            IndexError, MemoryError: as `weights`.
        """
        a, b = self.names
        more = self.weights(layer, head, queries=queries, keys=keys, stack=b)
        more -= self.weights(layer, head, queries=queries, keys=keys, stack=a)
        more[~self.excess.allowed(layer, head, queries=queries, keys=keys)] = np.nan
        return more

    @property
    def excess(self) -> AttentionCapture:
        """By side, how much more it gives than the other: never below 0. What is drawn of `difference`."""
        return _Excess(self)

    def moved(self, *, rows: int | None = None) -> NDArray[np.float64]:
        """How far each head differs: the share of a row's mass that is elsewhere, from 0 to 1.

        Half the sum of `|b - a|` over the keys that both have (the total variation distance of two rows), mean over the
        queries that both have.

        Args:
            rows: look at no more than so many queries, spread over all of them; None: all of them.

        Returns:
            float64 (L, H). NaN where there is nothing to compare.
        """
        a, b = self.stacks.values()
        here, keys = (np.flatnonzero(has_both(side)) for side in self._aligned)
        if rows is not None and rows < len(here):
            here = here[np.arange(rows) * len(here) // rows]
        found = np.zeros((a.n_layers, a.n_heads))
        count = np.zeros((a.n_layers, a.n_heads), dtype=np.int64)
        step = max(1, limits.block_bytes // (_PAIR_BYTES * max(1, a.n_heads * len(keys))))
        heads = slice(0, a.n_heads)
        for number, (one, other) in enumerate(zip(a.layers, b.layers, strict=True)):
            for first in range(0, len(here) if len(keys) else 0, step):
                block = 0, heads, here[first : first + step], keys
                active = (one.allowed(*block) | other.allowed(*block)).any(axis=-1)
                apart = np.abs(other.weights(*block) - one.weights(*block)).sum(axis=-1, dtype=np.float64) / 2
                active = np.broadcast_to(active, apart.shape)
                found[number] += np.where(active, apart, 0).sum(axis=-1)
                count[number] += active.sum(axis=-1)
        return np.where(count > 0, found / np.maximum(count, 1), np.nan)

    def aggregate(
        self,
        reduce: Aggregation = "mean",
        *,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        stack: str | None = None,
    ) -> Comparison:
        """Many heads as one, on both sides: a comparison of what `AttentionCapture.aggregate` makes of each.

        `stack` names a side, as elsewhere; both are aggregated alike.
        """
        self._stack(stack)
        each = [
            super(Comparison, self).aggregate(reduce, layers=layers, heads=heads, stack=name) for name in self.names
        ]
        made = self._twin([one.stacks[name] for one, name in zip(each, self.names, strict=True)])
        made.notes = each[0].notes
        return made

    def without_keys(self, keys: Iterable[int], *, stack: str | None = None) -> Comparison:
        """`AttentionCapture.without_keys` of both sides. Keys are places of the frame; `stack` names a side."""
        self._stack(stack)
        hidden, made = list(keys), self
        for name in self.names:
            made = super(Comparison, made).without_keys(hidden, stack=name)  # type: ignore[assignment]
        return made

    def in_words(self, *, stack: str | None = None) -> NoReturn:  # noqa: ARG002 - as of any capture
        """Not of the frame, where words of both texts stand in each other's way: raises."""
        raise ValueError(
            "the tokens of a comparison are those of two texts, and make no words together; compare words instead: "
            "aw.compare(a.in_words(), b.in_words())"
        )

    def save(self, path: str | PathLike[str]) -> Path:
        """Not a file of its own: raises."""
        raise ValueError(
            f"a comparison is not saved to {path}: save the two captures, load them, and compare them again"
        )

    def _twin(self, stacks: Iterable[AttentionStack]) -> Comparison:
        return Comparison(stacks, self._aligned, model=self.model)


class _Excess(AttentionCapture):
    """Both sides of a comparison, each less the other."""

    def __init__(self, of: Comparison) -> None:
        queries, keys = (has_both(side) for side in of._aligned)  # noqa: SLF001 - of this file
        a, b = of.stacks.values()
        super().__init__(
            [
                mine.with_layers(
                    [ExcessAttention(*pair, queries, keys) for pair in zip(mine.layers, other.layers, strict=True)]
                )
                for mine, other in ((a, b), (b, a))
            ],
            model=of.model,
        )
        self._of = of
        self._made_from(of)

    def aggregate(
        self,
        reduce: Aggregation = "mean",
        *,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        stack: str | None = None,
    ) -> AttentionCapture:
        """The excess of the aggregates, which is not the aggregate of the excesses."""
        return self._of.aggregate(reduce, layers=layers, heads=heads, stack=stack).excess


def compare(
    a: AttentionCapture,
    b: AttentionCapture,
    *,
    names: tuple[str, str] | None = None,
    heads: tuple[Head, Head] | None = None,
    stack: str | None = None,
    batch: int = 0,
) -> Comparison:
    """Compare two captures, side by side and by their difference: two prompts, two checkpoints, or two heads.

    Tokens are aligned by what they say: what both texts begin and end with, and matching blocks in between.

    Args:
        a: one of them.
        b: the other, of as many layers and heads; the same one again, to compare two of its heads.
        names: what to call them; "a" and "b", or with `heads` which heads they are, if None.
        heads: ((layer, head) of a, (layer, head) of b): compare these two alone. None: every head with its namesake.
        stack: name of a stack of both; the first one of each if None.
        batch: which example of each.

    Returns:
        A capture with both as stacks; shown on the last line of a cell, with the two heatmaps and their difference.
        `difference(layer, head)` has the numbers, `aligned` which token went with which, `moved()` how far each head
        differs.

    Raises:
        IndexError: no such layer, head or example.
        KeyError: no such stack.
        ValueError: another number of layers or heads, or two equal names.

    Examples:
        >>> import numpy as np
        >>> import attnwidget as aw
        >>> a = aw.AttentionCapture.from_weights(np.full((1, 2, 2), 1 / 2), ["the", "cat"])
        >>> b = aw.AttentionCapture.from_weights(np.full((1, 3, 3), 1 / 3), ["the", "black", "cat"])
        >>> both = aw.compare(a, b)
        >>> both.aligned, both.difference(0, 0).round(2).tolist()[0]
        ([(0, 0), (None, 1), (1, 2)], [-0.17000000178813934, nan, -0.17000000178813934])
    """
    sides = [each._place(batch, stack) for each in (a, b)]  # noqa: SLF001 - of its own class
    if names is None:
        names = ("a", "b")
        if heads is not None and heads[0] != heads[1]:
            names = f"layer {heads[0][0]} head {heads[0][1]}", f"layer {heads[1][0]} head {heads[1][1]}"
    if names[0] == names[1]:
        raise ValueError(f"both sides are called {names[0]!r}; expected two names that differ")
    stacks = [shown for shown, _ in sides]
    if heads is not None:
        stacks = [_one_head(shown, *head) for shown, head in zip(stacks, heads, strict=True)]
    shapes = [(shown.n_layers, shown.n_heads) for shown in stacks]
    if shapes[0] != shapes[1]:
        (first, second) = (f"{layers} layers x {count} heads" for layers, count in shapes)
        raise ValueError(
            f"a has {first} and b has {second}; expected as many of both, or two heads that are to be compared: "
            "aw.compare(a, b, heads=((layer, head), (layer, head)))"
        )
    framed, aligned, aligned_keys = in_one_frame(names, stacks, [example for _, example in sides])
    model = a.model if a.model == b.model else f"{a.model} | {b.model}"
    made = Comparison(framed, (aligned, aligned_keys), model=model)
    of_sides = [f"{name}: {note}" for name, side in zip(names, (a, b), strict=True) for note in side.notes]
    made.notes = (_note(names, (a, b), aligned), *of_sides)
    made._made_from(a, b)  # noqa: SLF001 - of its own class
    return made


def _one_head(shown: AttentionStack, layer: int, head: int) -> AttentionStack:
    where = f"stack {shown.name!r}"
    check_index("layer", layer, shown.n_layers, where)
    check_index("head", head, shown.n_heads, where)
    info = LayerInfo(number=layer, picked=(head,), n_heads=shown.n_heads)
    return shown.with_layers([AggregateAttention([shown.layers[layer]], [head], "mean")], [info])


def _note(names: tuple[str, str], sides: tuple[AttentionCapture, AttentionCapture], aligned: Aligned) -> str:
    only = [len(each) for each in lacking(aligned)]
    whose = ", ".join(f"{name!r} of {side.model!r}" for name, side in zip(names, sides, strict=True))
    words = f"compares {whose}: {len(aligned) - sum(only)} tokens match"
    return words + "".join(f", {count} only in {name!r}" for name, count in zip(names, only, strict=True) if count)
