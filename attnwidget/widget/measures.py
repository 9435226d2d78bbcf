"""What a view may show of a capture instead of its weights."""

from __future__ import annotations

from attnwidget.attention import AttentionCapture, Comparison, LiftAttention
from attnwidget.widget.parsing import EXCESS, RequestError


def measured(capture: AttentionCapture, measure: str) -> AttentionCapture:
    """The capture that answers for a measure as a capture answers for weights.

    Args:
        capture: whose attention.
        measure: "weight"; or "lift": over uniform, divided by the number of keys to lie in [0, 1]; or, of a comparison,
            "excess": what one side gives more than the other.

    Returns:
        The capture itself for weights; else one of the same tokens, that holds nothing of its own.

    Raises:
        RequestError: the excess of a capture that compares nothing.
    """
    if measure == "weight":
        return capture
    if measure == EXCESS:
        if not isinstance(capture, Comparison):
            raise RequestError("invalid", "measure 'excess' is of two captures compared, and this view shows one")
        return capture.excess
    stacks = [
        stack.with_layers([LiftAttention(layer, stack.key_spans) for layer in stack.layers])
        for stack in capture.stacks.values()
    ]
    return AttentionCapture(stacks, model=capture.model)
