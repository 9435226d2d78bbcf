"""A stack whose numbers are another measure than the weight, for a view that looks at it as it looks at weights."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from attnwidget.analysis.flow import flow_seconds
from attnwidget.analysis.measuring import WHOLE, carried_by, question
from attnwidget.analysis.mixing import Mixing
from attnwidget.analysis.pairmeasures import PAIR_MEASURES
from attnwidget.attention import CaptureError
from attnwidget.attention.around import Around
from attnwidget.attention.choosing import Choice
from attnwidget.attention.pairdetail import pair_detail
from attnwidget.attention.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnwidget.analysis.measuring import Question
    from attnwidget.analysis.pairmeasures import PairMeasure
    from attnwidget.attention import Attention, AttentionCapture, AttentionStack
    from attnwidget.attention.pairdetail import PairDetail
    from attnwidget.attention.protocol import Bools, Floats, Index

LENSES = tuple(name for name in PAIR_MEASURES if name not in ("weight", "lift"))
"""Measures that a view shows in the place of weights."""
_MOST_BYTES = 1 << 28
"""What all layers of rollout or flow may take, for one example."""
_MOST_SECONDS = 10
"""What a view may be made to wait for flow."""
_SCORES = 2.0**17
"""More than float16 holds: no score of a model that works is larger in size."""


class MeasuredAttention(Around):
    """A layer whose numbers are a measure of its pairs, which may be below 0.

    Args:
        whole: the layer.
        measure: which.
        ask: gives the numbers, (h, q, k); of one head where the measure belongs to the layer.
    """

    def __init__(self, whole: Attention, measure: PairMeasure, ask: Question) -> None:
        super().__init__(whole)
        self._measure, self._ask = measure, ask

    @property
    def signed(self) -> bool:
        """Whether numbers may be below 0."""
        return self._measure.signed

    @property
    def n_heads(self) -> int:
        """Heads; one where the measure belongs to the layer."""
        return self.whole.n_heads if self._measure.per == "head" else 1

    @property
    def n_key_heads(self) -> int | None:
        """Key-value heads; None where only weights are known, and where the measure belongs to the layer."""
        return self.whole.n_key_heads if self._measure.per == "head" else None

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return f"{self._measure.title} of {self.whole.detail}"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """The measure, (h, q, k); 0 where the mask forbids."""
        found = self._ask(example, heads, queries, keys)
        if self._measure.name != "score":  # the others are 0 there of themselves
            return found
        kept: Floats = np.where(self.allowed(example, heads, queries, keys), found, np.float32(0))
        return kept

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> NoReturn:  # noqa: ARG002
        """Not defined: raises."""
        raise ValueError(f"the {self._measure.title} has no scores, only weights have: ask the capture itself")

    def sink_share(self, example: int, heads: Index, queries: Index) -> NoReturn:  # noqa: ARG002
        """Not defined: raises."""
        raise ValueError(f"the {self._measure.title} has no share of a sink, only weights have: ask the capture itself")

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask allows, broadcastable to (h, q, k); in any head, where the measure belongs to all."""
        if self._measure.per == "head":
            return self.whole.allowed(example, heads, queries, keys)
        found = self.whole.allowed(example, slice(0, self.whole.n_heads), queries, keys)
        either: Bools = np.any(found, axis=0, keepdims=True)
        return either

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:
        """How the weight of a pair came about, whatever is made of it; a ValueError where there are no heads."""
        if self._measure.per != "head":
            raise ValueError(f"{self._measure.title} belongs to layers; scores, q and k belong to one head")
        return pair_detail(self.whole, example, head, query, key)


class _WaysAttention(MeasuredAttention):
    """A layer of rollout or flow: a pair is allowed if there is a way from the query down to the input token."""

    @property
    def window(self) -> None:
        """None: ways lead further than one layer looks."""
        return

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs are above 0, or not a number because the model overflowed, (1, q, k)."""
        found: Bools = self.weights(example, heads, queries, keys) != 0
        return found


class _Ways:
    """All layers of rollout or flow, kept for the example that was asked about last.

    Args:
        stack: whose.
        work: gives them, (L, q, k).
    """

    def __init__(self, stack: AttentionStack, work: Callable[[Choice], Floats]) -> None:
        self._stack, self._work = stack, work
        self._known: tuple[int, Floats] | None = None

    def layer(self, number: int) -> Question:
        """What answers for one layer, in the frame with padding."""

        def ask(example: int, _: Index, queries: Index, keys: Index) -> Floats:
            layer = self._stack.layers[number]
            found = np.zeros((1, layer.n_queries, layer.n_keys), dtype=np.float32)
            rows, columns = (slice(*spans[example]) for spans in (self._stack.query_spans, self._stack.key_spans))
            found[0, rows, columns] = self._of(example)[number]
            return found[:, queries][:, :, keys]

        return ask

    def _of(self, example: int) -> Floats:
        if self._known is None or self._known[0] != example:
            self._known = example, self._work(_everything(self._stack, example))
        return self._known[1]


def measured_stack(stack: AttentionStack, name: str) -> AttentionStack:
    """A stack of another measure, with a `reading`.

    Nothing is worked out before it is asked for, but for what bounds the numbers. Of rollout and flow all layers are
    kept, for one example; of the others nothing.

    Args:
        stack: of weights.
        name: one of `LENSES`.

    Raises:
        CaptureError, ValueError, ImportError: the stack has no such measure; the text says why, and what to do.
    """
    measure = PAIR_MEASURES[name]
    _check(stack, measure)
    if name in WHOLE:
        ways = _Ways(stack, WHOLE[name])
        layers: list[MeasuredAttention] = [
            _WaysAttention(layer, measure, ways.layer(number)) for number, layer in enumerate(stack.layers)
        ]
    else:
        layers = [
            MeasuredAttention(layer, measure, question(measure, stack, number))
            for number, layer in enumerate(stack.layers)
        ]
    alike = measure.per == "head"
    infos = stack.infos if alike else [replace(info, picked=(), n_heads=0) for info in stack.infos]
    made = stack.with_layers(layers, infos)
    made.reading = Reading(
        name, measure.title, measure.short_source, measure.caution, alike, measure.signed, _unit(stack, measure), stack
    )
    return made


def why_not(stack: AttentionStack, name: str) -> str:
    """Why a stack has no such measure, or "" where it has."""
    try:
        _check(stack, PAIR_MEASURES[name])
    except (CaptureError, ValueError, ImportError) as error:
        return str(error)
    return ""


def measured(capture: AttentionCapture, name: str, *, stack: str) -> AttentionCapture:
    """A capture with one of its stacks by another measure; raises as `measured_stack`."""
    made = measured_stack(capture.stacks[stack], name)
    return capture._derive([made], f"stack {stack!r} by its {PAIR_MEASURES[name].title}")  # noqa: SLF001 - as its own methods do


def _everything(stack: AttentionStack, example: int) -> Choice:
    return Choice.of(stack, example, layer=None, head=None)


def _check(stack: AttentionStack, measure: PairMeasure) -> None:
    if measure.name not in WHOLE:
        for number in range(stack.n_layers):
            question(measure, stack, number)
        if measure.name == "score":  # of one pair, since layers of weights alone say no only when they are asked
            one = slice(0, 1)
            stack.layers[0].scores(0, one, one, one)
        return
    for example in range(stack.n_examples):
        Mixing(stack, example, f"measure {measure.name!r}")
        choice = _everything(stack, example)
        nbytes = 4 * stack.n_layers * choice.n_queries * choice.n_keys
        if nbytes > _MOST_BYTES:
            raise ValueError(
                f"measure {measure.name!r} of {choice.n_queries:,} tokens takes {nbytes >> 20:,} MB for all layers, "
                f"and a view at most {_MOST_BYTES >> 20}: look at a shorter text, or ask for a few queries, "
                f"cap.measure({measure.name!r}, queries=[...])"
            )
        if measure.name == "flow":
            _check_flow(choice)


def _check_flow(choice: Choice) -> None:
    if importlib.util.find_spec("scipy") is None:
        raise ImportError('measure "flow" needs SciPy, which is not installed: `pip install "attnwidget[flow]"`')
    seconds = flow_seconds(choice)
    if seconds > _MOST_SECONDS:
        raise ValueError(
            f'measure "flow" of every pair of {choice.n_queries:,} tokens is estimated to take {seconds:,.0f} s, and a '
            f"view waits {_MOST_SECONDS} at most: look at a shorter text, or ask for a few queries, "
            'cap.measure("flow", layer=..., queries=[...])'
        )


def _unit(stack: AttentionStack, measure: PairMeasure) -> float:
    """What no number of the stack is larger than in size."""
    if measure.name == "score":
        return _SCORES
    if not measure.needs:
        return 1.0
    bounds = [
        _bound(measure, stack, number, example)
        for number in range(stack.n_layers)
        for example in range(stack.n_examples)
    ]
    largest = max(bounds)
    return largest if 0 < largest < np.inf else 1.0


def _bound(measure: PairMeasure, stack: AttentionStack, number: int, example: int) -> float:
    carried = carried_by(measure, stack, number)
    if measure.needs == "gradient":
        from attnwidget.analysis.gradientweighted import largest_product

        return largest_product(carried, example)
    from attnwidget.analysis.valueweighted import largest_norms

    norms = largest_norms(stack.layers[number], carried, example)
    return float(norms.max(initial=0) if measure.per == "head" else norms.sum())
