"""What is made from a capture: others of one example, without some keys, of words, of many heads; tables of heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.aggregate import aggregate_stack
from attnwidget.attention.hiding import without_keys
from attnwidget.attention.oneexample import of_one_example
from attnwidget.attention.selection import check_index
from attnwidget.attention.stack import AttentionStack
from attnwidget.attention.wording import merged_tokens, word_starts
from attnwidget.attention.wordwise import WordAttention

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from attnwidget.analysis import Patterns, Sinks
    from attnwidget.attention.aggregate import Aggregation
    from attnwidget.attention.capture import AttentionCapture
    from attnwidget.attention.stack import Span
    from attnwidget.attention.tokens import Tokens

_NAMED = 4


class Deriving(ABC):
    """What `AttentionCapture` offers to look at the same run in another way."""

    @property
    @abstractmethod
    def stacks(self) -> Mapping[str, AttentionStack]:
        """Stacks by name."""

    @abstractmethod
    def _stack(self, name: str | None) -> AttentionStack:
        """A stack, the first one for None."""

    @abstractmethod
    def _place(self, batch: int, stack: str | None) -> tuple[AttentionStack, int]:
        """The stack and the example, checked."""

    @abstractmethod
    def _derive(self, changed: Iterable[AttentionStack], *notes: str, alone: bool = False) -> AttentionCapture:
        """A capture with some stacks in the place of those of their name, or of all."""

    def without_keys(self, keys: Iterable[int], *, stack: str | None = None) -> AttentionCapture:
        """The same attention without some keys: their weights are left out, and each row is renormalised over the rest.

        This is the softmax over the other keys, as if the mask had forbidden these. Rows whose whole mass was on them
        become all zero. The hidden pairs count as not allowed. Where only weights are known, the rest of a row is
        scaled to what the whole of it summed to.

        Args:
            keys: positions, counted in each example; where an example is shorter, those it does not have are passed
                over.
            stack: name of a stack; the first one if None. The others stay as they are.

        Returns:
            A capture that shares everything with this one, and is closed with it. Its weights are made when asked for.

        Raises:
            IndexError: a key that no example has.
            KeyError: no such stack.
            TypeError: a key that is not an int.

        Examples:
            >>> import numpy as np
            >>> import attnwidget as aw
            >>> cap = aw.AttentionCapture.from_weights(np.array([[[0.5, 0.3, 0.2]]]), ["a"], key_tokens=["x", "y", "z"])
            >>> cap.without_keys([0]).weights(0, 0).round(2).tolist()[0]
            [0.0, 0.6000000238418579, 0.4000000059604645]
        """
        shown = self._stack(stack)
        count = max(len(tokens) for tokens in shown.key_tokens)
        checked = sorted({check_index("key", key, count, f"stack {shown.name!r}") for key in keys})
        if not checked:
            return self._derive([shown])
        hidden = np.zeros((shown.n_examples, shown.layers[0].n_keys), dtype=np.bool_)
        for example, (start, stop) in enumerate(shown.key_spans):
            places = start + np.array(checked)
            hidden[example, places[places < stop]] = True
        layers = without_keys(shown.layers, hidden)
        names = max(shown.key_tokens, key=len).pieces
        words = [f'{key} "{names[key]}"' for key in checked[:_NAMED]]
        words += [f"{len(checked) - _NAMED} more"] * (len(checked) > _NAMED)
        where = "" if len(self.stacks) == 1 else f" of stack {shown.name!r}"
        note = f"key{'s' * (len(checked) != 1)} {', '.join(words)}{where} hidden, rows renormalised over the rest"
        return self._derive([shown.with_layers(layers)], note)

    def example(self, batch: int) -> AttentionCapture:
        """One example of a batch, as a capture of its own: for functions that look at one text.

        Args:
            batch: which example, counted from 0.

        Returns:
            A capture whose stacks have this example alone. It shares everything with this one, and is closed with it.

        Raises:
            IndexError: no such example, in one of the stacks.

        Examples:
            >>> import numpy as np
            >>> import attnwidget as aw
            >>> two = [np.array([[[[1.0, 0.0]]], [[[0.3, 0.7]]]])]  # a layer of 2 examples
            >>> cap = aw.AttentionCapture.from_weights(two, [["a"], ["b"]], key_tokens=[["x", "y"], ["x", "z"]])
            >>> cap.example(1).tokens, cap.example(1).weights(0, 0).round(1).tolist()
            (['b'], [[0.30000001192092896, 0.699999988079071]])
        """
        placed = [self._place(batch, name) for name in self.stacks]
        made = self._derive([of_one_example(shown, example) for shown, example in placed])
        if made.generation is not None:
            made.generation = made.generation.of_example(placed[0][1])
        return made

    def in_words(self, *, stack: str | None = None) -> AttentionCapture:
        """The same attention between words: weights summed over the tokens of a key, averaged over those of a query.

        Tokens belong to one word where nothing lies between them in the running text and no word ends there;
        punctuation, special tokens and the characters of scripts without spaces stay alone. Queries that may look at
        nothing at all are left out of the mean. A pair of words is allowed if any of its pairs of tokens is.

        Args:
            stack: name of a stack; all of them if None.

        Returns:
            A capture whose tokens are words. It shares everything with this one, and is closed with it. `scores` of
            a stack with words of several tokens raise a ValueError: they belong to tokens.

        Raises:
            KeyError: no such stack.

        Examples:
            >>> import numpy as np
            >>> import attnwidget as aw
            >>> cap = aw.AttentionCapture.from_weights(np.full((1, 3, 3), 1 / 3), ["the", "cat", "##s"])
            >>> cap.in_words().tokens, cap.in_words().weights(0, 0).round(2).tolist()[0]
            (['the', 'cats'], [0.33000001311302185, 0.6700000166893005])
        """
        changed = list(self.stacks.values()) if stack is None else [self._stack(stack)]
        note = "words: sums over the tokens of a key, means over those of a query"
        made = self._derive([_in_words(one) for one in changed], note)
        made.generation = None  # it counts tokens
        return made

    def aggregate(
        self,
        reduce: Aggregation = "mean",
        *,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        stack: str | None = None,
    ) -> AttentionCapture:
        """Many heads as one: a capture of one layer and one head that asks this one, and holds nothing of its own.

        Its weights are the mean, or the largest, of those of the chosen heads, pair by pair, worked out where they are
        looked at. A pair is allowed where any of the heads allows it; a head that forbids it counts with a weight of
        0. So a row of the mean sums to 1 as the rows of its heads do (less, with a sink); a row of maxima sums to more
        than 1, and has neither an entropy nor the share of a sink, and shares of its mass, as `patterns` finds them,
        can be more than 1. Every question costs what it costs of all the heads.

        Args:
            reduce: "mean" or "max".
            layers: which layers; all of them if None.
            heads: which heads of each of these layers; all of them if None.
            stack: name of a stack; the first one if None.

        Returns:
            A capture with that stack alone; ask it `weights(0, 0)`, `tile(0, 0)`, `refine`, `marginals`, `pair`, `show`
            ... Its `notes` say what it is.

        Raises:
            IndexError: no such layer or head.
            KeyError: no such stack.
            TypeError: layers or heads are no lists of whole numbers.
            ValueError: no layers or heads, one that is named twice, or another way to reduce.

        Examples:
            >>> import numpy as np
            >>> cap = AttentionCapture.from_weights(np.full((2, 4, 3, 3), 1 / 3))
            >>> cap.aggregate("max", layers=[1]).weights(0, 0).shape
            (3, 3)
        """
        made, note = aggregate_stack(self._stack(stack), reduce, layers, heads)
        return self._derive([made], note, alone=True)

    def sinks(self, *, rows: int | None = None, batch: int = 0, stack: str | None = None) -> Sinks:
        """Keys that take most of the mass: at least 0.3 of all weights of a head, added up over its queries.

        Known as no-op attention (Clark et al. 2019) and as attention sinks (Xiao et al. 2023); a sink is most often the
        first token, a special token, or a full stop. `cap.without_keys([sink.key for sink in cap.sinks()])` looks at
        what is left.

        Args:
            rows: look at no more than so many queries of each head, spread over all of them; None: all of them, or 256
                where there are more than 1024.
            batch: which example.
            stack: name of a stack; the first one if None.

        Returns:
            One `Sink` per key, that of the most heads first: its `key`, `token`, `share` of the mass of these heads,
            and `heads`, (layer, head) each.

        Raises:
            IndexError: no such example.
            KeyError: no such stack.
            ValueError: rows below 1.
        """
        from attnwidget.analysis import find_sinks

        shown, example = self._place(batch, stack)
        return find_sinks(shown, example, rows=rows)

    def patterns(
        self, *, rows: int | None = None, window: int = 8, batch: int = 0, stack: str | None = None
    ) -> Patterns:
        """What every head does, a row per head: entropy, distance, and how much goes where.

        Each column is the mean over the queries that may look at two keys at least; masks and padding are respected.
        Formulas and sources stand in `attnwidget.analysis.MEASURES`.

        Args:
            rows: look at no more than so many queries of each head, spread over all of them; None: all of them, or
                1024 where there are more than 4096. `errors` of the result then says how far off the means may be.
            window: how far is near, in tokens.
            batch: which example.
            stack: name of a stack; the first one if None.

        Returns:
            A table with `sorted(by=...)`, `similar(layer, head)`, `columns` of float64 (L, H), and `to_pandas()`.

        Raises:
            IndexError: no such example.
            KeyError: no such stack.
            ValueError: rows or window below 1.
        """
        from attnwidget.analysis import find_patterns

        shown, example = self._place(batch, stack)
        return find_patterns(shown, example, rows=rows, window=window)


def _in_words(stack: AttentionStack) -> AttentionStack:
    queries = [word_starts(tokens) for tokens in stack.query_tokens]
    keys = [
        starts if looked_at == looking else word_starts(looked_at)
        for looked_at, looking, starts in zip(stack.key_tokens, stack.query_tokens, queries, strict=True)
    ]
    if all(
        len(starts) == len(names)
        for starts, names in zip(queries + keys, stack.query_tokens + stack.key_tokens, strict=True)
    ):
        return stack
    query_edges, key_edges = _edges(queries, stack.query_spans), _edges(keys, stack.key_spans)
    return AttentionStack(
        stack.name,
        [WordAttention(layer, query_edges, key_edges) for layer in stack.layers],
        query_tokens=_padded(stack.query_tokens, queries),
        key_tokens=_padded(stack.key_tokens, keys),
        query_spans=[(0, len(starts)) for starts in queries],
        key_spans=[(0, len(starts)) for starts in keys],
        infos=stack.infos,
    )


def _edges(starts: Sequence[NDArray[np.intp]], spans: Sequence[Span]) -> list[NDArray[np.intp]]:
    return [np.append(first + each, stop) for each, (first, stop) in zip(starts, spans, strict=True)]


def _padded(tokens: Sequence[Tokens], starts: Sequence[NDArray[np.intp]]) -> list[Tokens]:
    """Words of each example, as many as the longest has."""
    most = max(len(each) for each in starts)
    words = [merged_tokens(names, each) for names, each in zip(tokens, starts, strict=True)]
    return [each.followed_by([""] * (most - len(each))) if len(each) < most else each for each in words]
