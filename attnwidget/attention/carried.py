"""What the weights of a layer carry: values, what their sum goes into, and how much a target depends on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnwidget.attention.mapped import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, eq=False)
class Carried:
    """What one attention call left behind beside its weights, where it was asked for.

    Of each of these, where it is None, the text of the same name tells why it is not known.

    Attributes:
        values: torch (B | 1, Hkv, Tk, dv), as the kernel was given them, H a multiple of Hkv: head h has those of
            h // (H / Hkv).
        projection: torch (H, dv, D), the map from what each head puts out into what the layer puts out, without bias.
        gradient: torch (B, H, Tq, dv), the derivative of a target by what each head puts out.
        no_values: why there are no values.
        no_projection: why there is no projection.
        no_gradient: why there is no gradient.
    """

    values: Any = None
    projection: Any = None
    gradient: Any = None
    no_values: str = ""
    no_projection: str = ""
    no_gradient: str = ""

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are; of what layers share, each counts all."""
        held: Counter[str] = Counter()
        for tensor in (self.values, self.projection, self.gradient):
            if tensor is not None:
                held[place_of(tensor)] += int(tensor.nbytes)
        return held
