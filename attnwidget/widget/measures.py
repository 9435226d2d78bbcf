"""What a view may show of a capture instead of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention import AttentionCapture, Comparison, LiftAttention
from attnwidget.widget.parsing import EXCESS, RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.pooling import Reduce
    from attnwidget.attention.reading import Reading


def as_shares(numbers: Any, reading: Reading | None) -> NDArray[np.floating]:  # noqa: ANN401 - any array of floats
    """Numbers of a stack as they travel, in [0, 1]; NaN and infinity stay."""
    return np.asarray(numbers) if reading is None else reading.shares(numbers)


def pooled_by(reading: Reading | None, reduce: Reduce = "max") -> Reduce:
    """How the cells of a picture are made of these numbers."""
    return "extreme" if reading is not None and reading.signed and reduce == "max" else reduce


def measured(capture: AttentionCapture, measure: str) -> AttentionCapture:
    """The capture that answers for a measure that the page asks for beside the weights, as a capture answers for them.

    Other measures are looked at in the place of weights: see `attnwidget.analysis.measured`.

    Args:
        capture: whose attention.
        measure: "weight"; or "lift": over uniform, divided by the number of keys to lie in [0, 1]; or, of a comparison,
            "excess": what one side gives more than the other.

    Returns:
        The capture itself for weights; else one of the same tokens, that holds nothing of its own.

    Raises:
        RequestError: the excess of a capture that compares nothing, or the lift of what is no weight.
    """
    if measure == "weight":
        return capture
    if measure == EXCESS:
        if not isinstance(capture, Comparison):
            raise RequestError("invalid", "measure 'excess' is of two captures compared, and this view shows one")
        return capture.excess
    other = next((stack.reading for stack in capture.stacks.values() if stack.reading is not None), None)
    if other is not None:
        raise RequestError("invalid", f"lift is of weights, and this view shows the {other.title}")
    stacks = [
        stack.with_layers([LiftAttention(layer, stack.key_spans) for layer in stack.layers])
        for stack in capture.stacks.values()
    ]
    return AttentionCapture(stacks, model=capture.model)
