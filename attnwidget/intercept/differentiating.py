"""How a target depends on what each layer's heads put out: one backward pass, which touches nobody's gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from attnwidget.attention import CaptureError
from attnwidget.intercept.budget import LimitError
from attnwidget.intercept.narrowing import picked

if TYPE_CHECKING:
    from attnwidget.intercept.carrying import Carrying, Exit
    from attnwidget.intercept.recorder import Recorder

Target: TypeAlias = Callable[[Any], torch.Tensor]
"""From what the model returned to a tensor of one number: `lambda output: output.logits[0, -1, token]`."""


def check_target(target: object) -> None:
    """Refuse what cannot be a target, before the model runs.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(target):
        raise TypeError(
            f"target is {type(target).__name__} {target!r:.60}; expected a function from what the model returns to a "
            "tensor of one number, such as lambda output: output.logits[0, -1, token]"
        )


def differentiate(recorder: Recorder, target: Target, output: Any) -> None:  # noqa: ANN401 - whatever the model returns
    """Give every layer the derivative of a target by what its heads put out.

    Args:
        recorder: of the run, which recorded gradients and is just over.
        target: of the output.
        output: what the model returned.

    Raises:
        CaptureError: the derivatives are more than may be held.
        TypeError: the target is no tensor.
        ValueError: it is not one number, or does not depend on the run.
    """
    if recorder.problem is not None:
        return
    try:
        _differentiate(recorder, _number(target, output))
    except LimitError as error:
        raise CaptureError(
            f"the derivatives of target would bring what is held to {error.nbytes:,} bytes, and {error.allowed:,} may "
            'be: choose layers= or heads=, keep them elsewhere (store="disk"), or raise limit='
        ) from error


def _differentiate(recorder: Recorder, number: torch.Tensor) -> None:
    reached: list[tuple[Carrying, Exit]] = []
    for record in recorder.records:
        carrying = record.carrying
        if carrying is None or carrying.exit is None:
            continue
        if carrying.exit.is_overwritten:
            carrying.no_gradient = "what its heads put out was overwritten by the model"
        else:
            reached.append((carrying, carrying.exit))
    if not reached:
        return
    if not number.requires_grad:
        raise ValueError(
            "target returned a tensor that does not depend on the run: expected one made from the output by operations "
            "of torch that record gradients, without .item(), .detach(), argmax or torch.no_grad"
        )
    # Asked for by name: nothing is added to the `.grad` of a parameter.
    gradients = torch.autograd.grad(number, [way.tensor for _, way in reached], allow_unused=True)
    with torch.no_grad():
        for (carrying, way), gradient in zip(reached, gradients, strict=True):
            # None is what a layer gets that the target does not depend on.
            framed = way.framed(torch.zeros_like(way.tensor) if gradient is None else gradient)
            if len(carrying.heads) < framed.shape[1]:
                framed = picked(framed, carrying.heads)
            carrying.gradient = carrying.keeper.store.keep(framed)
            carrying.exit = None


def _number(target: Target, output: Any) -> torch.Tensor:  # noqa: ANN401 - whatever the model returns
    found = target(output)
    if not isinstance(found, torch.Tensor):
        raise TypeError(
            f"target returned {type(found).__name__} {found!r:.60}; expected a tensor of one number, with the graph it "
            "was computed in (no .item())"
        )
    if found.numel() != 1 or not found.is_floating_point():
        raise ValueError(
            f"target returned a tensor of shape {tuple(found.shape)} and type {found.dtype}; expected one "
            "floating-point number: pick one (output.logits[0, -1, token]), or add them up (.sum())"
        )
    return found.reshape(())
