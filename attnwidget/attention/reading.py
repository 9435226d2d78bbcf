"""What the numbers of a stack are, where they are no weights, and how they become shares in [0, 1] and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Floats
    from attnwidget.attention.stack import AttentionStack

BITS = 27
"""Powers of two that signed numbers are told apart over, below the unit; so much smaller ones are even."""
_HALF = 16
"""Powers of two on either side of a share of 0."""

_NOTHING = 1e-7
_MOST = 1 + 1e-4
"""Units; the bound that the unit is was worked out another way, and rounded."""


@dataclass(frozen=True, eq=False)
class Reading:
    """How the numbers of a stack are to be read. They travel as weights do, in [0, 1].

    Numbers that are never below 0 are divided by `unit`. Signed ones become `2^(16 (s g - 1))`, s their sign and
    `g = log2(1 + |x| / unit * 2^27) / log2(1 + 2^27)`: even in the logarithm of their size, with 0 in the middle.

    Attributes:
        name: of the measure, as `AttentionCapture.measure` takes it.
        title: in words.
        source: who defined it, in short.
        caution: what it can and cannot show.
        per_head: whether each head has its own; else a layer as a whole.
        signed: whether numbers may be below 0.
        unit: no number is larger in size.
        base: the stack it was made from.
    """

    name: str
    title: str
    source: str
    caution: str
    per_head: bool
    signed: bool
    unit: float
    base: AttentionStack

    @property
    def words(self) -> str:
        """What it is, and who defined it."""
        return f"{self.title} ({self.source})"

    def shares(self, numbers: Any) -> Floats:  # noqa: ANN401 - any array of floats
        """Numbers as shares, float32 of the same shape; NaN stays, what is infinite becomes infinity.

        So does a signed number that is larger than it can be in a model that works.
        """
        found: Floats
        numbers = np.asarray(numbers, dtype=np.float64)
        if not self.signed:
            found = (numbers / self.unit).astype(np.float32)
            return found
        with np.errstate(invalid="ignore"):
            size = np.abs(numbers) / self.unit
            lost, size = size > _MOST, np.minimum(size, 1)
            steps = np.sign(numbers) * np.log2(1 + size * 2.0**BITS) / np.log2(1 + 2.0**BITS)
            found = np.where(lost, np.inf, np.exp2(_HALF * (steps - 1))).astype(np.float32)
        return found

    def numbers(self, shares: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """The inverse, float64."""
        shares = np.asarray(shares, dtype=np.float64)
        found: NDArray[np.float64]
        if not self.signed:
            found = shares * self.unit
            return found
        with np.errstate(invalid="ignore", divide="ignore"):
            steps = np.clip(np.log2(shares) / _HALF + 1, -1, 1)
            steps = np.where(np.abs(steps) < _NOTHING, 0, steps)  # nothing that is so near to 0 was anything else
            size = (np.exp2(np.abs(steps) * np.log2(1 + 2.0**BITS)) - 1) / 2.0**BITS
            found = np.where(np.isinf(shares), np.inf, np.sign(steps) * size * self.unit)
        return found
