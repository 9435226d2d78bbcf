"""What a view may show of a capture instead of its weights."""

from __future__ import annotations

from attnwidget.attention import AttentionCapture, LiftAttention


def measured(capture: AttentionCapture, measure: str) -> AttentionCapture:
    """The capture that answers for a measure as a capture answers for weights.

    Args:
        capture: whose attention.
        measure: "weight", or "lift": over uniform, divided by the number of keys to lie in [0, 1].

    Returns:
        The capture itself for weights; else one of the same tokens, that holds nothing of its own.
    """
    if measure == "weight":
        return capture
    stacks = [
        stack.with_layers([LiftAttention(layer, stack.key_spans) for layer in stack.layers])
        for stack in capture.stacks.values()
    ]
    return AttentionCapture(stacks, model=capture.model)
