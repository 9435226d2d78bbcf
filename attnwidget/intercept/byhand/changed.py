"""A softmax written by hand, whose result is changed: written to where it lies, before anybody else has seen it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from attnwidget.intercept.byhand.axes import Part, align
from attnwidget.intercept.byhand.handmade import met_values
from attnwidget.intercept.byhand.roles import frame_of
from attnwidget.intercept.changing import AttentionCall

if TYPE_CHECKING:
    from attnwidget.intercept.changing import Changer
    from attnwidget.intercept.records import HandCall


def change_by_hand(call: HandCall, changer: Changer) -> None:
    """Change the output of a product of weights and values, if that is asked for.

    Args:
        call: that has just run.
        changer: of this run.

    Raises:
        CaptureError: its axes could not be told, or heads are mixed on the way to it.
    """
    with torch._C.DisableTorchFunction():  # noqa: SLF001 - a look at it is no part of the run
        frame, _ = frame_of(call)
        weights = None if call.trail.is_mixed else align(Part.of(call.weights, call.trail.axes), frame)
        found = met_values(call, frame)
    if weights is None or found is None or not _is_view(found[1], call.output):
        # It counts as a call all the same: the changer finds that its shape is none.
        found = call.output.detach(), call.output.detach()
        weights = None
    value, output = found
    changer.change(AttentionCall(value, output, weights=weights), copy=False)


def _is_view(aligned: torch.Tensor, output: torch.Tensor) -> bool:
    return aligned.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
