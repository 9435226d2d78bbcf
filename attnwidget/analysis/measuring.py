"""From the name of a measure to its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from attnwidget.analysis.flow import flow
from attnwidget.analysis.pairmeasures import PAIR_MEASURES
from attnwidget.analysis.rollout import rollout
from attnwidget.attention import CaptureError, LiftAttention

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnwidget.analysis.pairmeasures import PairMeasure
    from attnwidget.attention import AttentionStack, Carried
    from attnwidget.attention.choosing import Choice
    from attnwidget.attention.protocol import Floats, Index

    Question = Callable[[int, Index, Index, Index], Floats]

WHOLE: Final[dict[str, Callable[[Choice], Floats]]] = {"rollout": rollout, "flow": flow}
"""Measures that are worked out for a whole stack: (L, q, k)."""


def measure_pairs(name: str, choice: Choice) -> Floats:
    """What `AttentionCapture.measure` returns, and raises.

    Args:
        name: of the measure.
        choice: of which pairs.
    """
    if name not in PAIR_MEASURES:
        raise KeyError(f"there is no measure {name!r}: there are {', '.join(map(repr, PAIR_MEASURES))}")
    measure = PAIR_MEASURES[name]
    if measure.per == "layer" and choice.one_head:
        raise ValueError(
            f"measure {name!r} belongs to a layer as a whole, and head {choice.heads.start} was asked for; expected no "
            "head"
        )
    found: Floats
    if name in WHOLE:
        found = choice.shaped(WHOLE[name](choice), per_head=False)
        return found
    found = choice.empty(np.float32, per_head=measure.per == "head")
    for place, number in enumerate(choice.layers):
        ask = question(measure, choice.stack, number)
        answer = ask(choice.example, choice.heads, choice.queries, choice.keys)
        found[place] = answer if measure.per == "head" else answer[0]
    return choice.shaped(found, per_head=measure.per == "head")


def question(measure: PairMeasure, stack: AttentionStack, number: int) -> Question:
    """What answers for one layer: (h, q, k), with a single head where a measure belongs to the layer.

    Args:
        measure: any but those of `WHOLE`.
        stack: whose layer.
        number: of the layer.

    Raises:
        CaptureError: the stack does not hold what the measure needs; the text says what to do.
    """
    layer = stack.layers[number]
    if measure.name == "weight":
        return layer.weights
    if measure.name == "score":
        return layer.scores
    if measure.name == "lift":
        shares = LiftAttention(layer, stack.key_spans).weights

        def lift(example: int, *where: Index) -> Floats:
            start, stop = stack.key_spans[example]
            return shares(example, *where) * np.float32(stop - start)

        return lift
    carried = carried_by(measure, stack, number)
    # These need torch, which a capture of arrays does without.
    if measure.name == "gradient":
        from attnwidget.analysis.gradientweighted import gradient_times_weight

        return lambda *where: gradient_times_weight(layer, carried, *where)
    from attnwidget.analysis.valueweighted import head_norms, layer_norms

    if measure.name == "value-weighted":
        return lambda *where: head_norms(layer, carried, *where)
    _check_whole(measure, stack, number)
    return lambda example, _, queries, keys: layer_norms(layer, carried, example, queries, keys)[None]


def _check_whole(measure: PairMeasure, stack: AttentionStack, number: int) -> None:
    info = stack.infos[number]
    if info.picked or info.ranks:
        raise CaptureError(
            f"measure {measure.name!r} sums over all heads of a layer, and of layer {number} only some were kept: "
            'capture without heads=, or use "value-weighted"'
        )


def carried_by(measure: PairMeasure, stack: AttentionStack, number: int) -> Carried:
    """What the measure needs of a layer, or an error that says why it is not there and what to do."""
    option = "values=True" if measure.needs == "values" else "target=a function of the model's output"
    if not stack.carried:
        raise CaptureError(
            f"measure {measure.name!r} needs the {'values' if measure.needs == 'values' else 'gradient'} of the run, "
            f"which stack {stack.name!r} does not hold: capture with {option}, and measure that capture itself (one "
            "read from a file, or made from another, has none)"
        )
    carried = stack.carried[number]
    other, why = "projection", carried.no_projection
    if measure.needs == "gradient":
        other, why = "gradient", carried.no_gradient
    if carried.values is None or getattr(carried, other) is None:
        path = stack.infos[number].path
        raise CaptureError(
            f"measure {measure.name!r} needs the {'values' if carried.values is None else other} of layer {number} of "
            f"stack {stack.name!r}{path and f' ({path})'}, not known here: {carried.no_values or why}"
        )
    return carried
