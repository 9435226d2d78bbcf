"""Calls that could not be recorded: fatal where they leave a hole, told where everything else is whole without them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from attnwidget.attention import AttentionWarning

if TYPE_CHECKING:
    from attnwidget.intercept.recorder import Recorder


def settle_losses(recorder: Recorder) -> None:
    """Decide what is made of them.

    A layer that is missing from its list of layers would move the others, and a decoder without its cross attention is
    no decoder. A module that stands apart from everything recorded, as a pooling head or a tower does, takes nothing
    from the other stacks.

    Args:
        recorder: after the run.

    Raises:
        CaptureError: the first call that could not be recorded, if it leaves a hole or nothing else is there.

    Warns:
        AttentionWarning: it stands apart; the capture notes it.
    """
    trunks = {_trunk(path) for path in recorder.seen}
    for path, error in recorder.losses.items():
        trunk = _trunk(path)
        if not trunks or not trunk or any(_within(trunk, other) or _within(other, trunk) for other in trunks):
            raise error
    for error in recorder.losses.values():
        note = f"{error}. It is not in this capture; the other modules are whole, and shown"
        recorder.notes[note] = None
        warnings.warn(note, AttentionWarning, stacklevel=5)


def _trunk(path: str) -> str:
    """Where a list of layers sits, or what a single module is part of: no other stack has its layers there."""
    parts = path.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[:number])


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")
