"""Checks a capture against what the model really computed, with no reference needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.layertable import ranges
from attnwidget.attention.rounding import moved_by_rounding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from attnwidget.attention.protocol import Attention
    from attnwidget.attention.stack import AttentionStack

_ROUNDING = 16
"""How many roundings of its own type a run may be away, on top of those of float32."""
_FLOAT32 = 1e-4


@dataclass(frozen=True)
class LayerCheck:
    """What was found for one layer.

    Attributes:
        stack: name of its stack.
        layer: its number there.
        path: of the module.
        error: the largest of `|softmax(...) v - output|` over the checked rows of every head, in units of the largest
            value; None where the run left nothing to check by.
        tolerance: what rounding explains, of the run and of what is kept, in the same units.
    """

    stack: str
    layer: int
    path: str
    error: float | None
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether rounding explains the error; a layer that cannot be checked is not ok."""
        return self.error is not None and self.error <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """The answer of `AttentionCapture.verify`.

    Attributes:
        layers: one check per layer, in order.
    """

    layers: tuple[LayerCheck, ...]

    @property
    def largest(self) -> float:
        """The largest error of all checked layers; NaN if none could be checked."""
        return max((layer.error for layer in self.layers if layer.error is not None), default=float("nan"))

    @property
    def ok(self) -> bool:
        """Every layer could be checked, and rounding explains every error."""
        return all(layer.ok for layer in self.layers)

    @property
    def unchecked(self) -> tuple[LayerCheck, ...]:
        """Layers that left nothing to check by: weights from elsewhere, or dropout in their output."""
        return tuple(layer for layer in self.layers if layer.error is None)

    @property
    def wrong(self) -> tuple[LayerCheck, ...]:
        """Layers whose error rounding does not explain."""
        return tuple(layer for layer in self.layers if layer.error is not None and not layer.ok)

    def __repr__(self) -> str:
        checked = len(self.layers) - len(self.unchecked)
        lines = [f"Verification: {checked} of {len(self.layers)} layers checked against the output of the run"]
        if checked:
            lines[0] += f", largest error {self.largest:.2g}"
        lines += [
            f"  wrong: layer {layer.layer} of stack {layer.stack!r} ({layer.path}), error {layer.error:.2g}, rounding "
            f"explains {layer.tolerance:.2g}"
            for layer in self.wrong
        ]
        stacks = dict.fromkeys(layer.stack for layer in self.unchecked)
        lines += [
            f"  not checked: layers {ranges(layer.layer for layer in self.unchecked if layer.stack == stack)} of stack "
            f"{stack!r}, which left nothing to check by"
            for stack in stacks
        ]
        return "\n".join(lines)


def verify(stacks: Mapping[str, AttentionStack]) -> Verification:
    """Check every layer of every stack.

    Args:
        stacks: by name.

    Returns:
        One check per layer.
    """
    return Verification(tuple(check for stack in stacks.values() for check in _checks(stack)))


def _checks(stack: AttentionStack) -> Iterable[LayerCheck]:
    for number, (layer, info) in enumerate(zip(stack.layers, stack.infos, strict=True)):
        errors = layer.probe_errors()
        error = None if errors is None else float(errors.max(initial=0))
        # An error that is no number is no agreement.
        error = np.inf if error is not None and np.isnan(error) else error
        yield LayerCheck(stack.name, number, info.path, error, _tolerance(layer))


def _tolerance(layer: Attention) -> float:
    run = _FLOAT32 if layer.probe is None else max(_FLOAT32, _ROUNDING * layer.probe.epsilon)
    return run + moved_by_rounding(layer)
