"""Attention by hand, looked at in another shape only after the run: a look inside would tell of its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

H, D, E, T = 4, 8, 32, 6
"""Heads, their size, both together, tokens."""


class SeenAfter(nn.Module):
    """Projections, and what is done with them.

    Args:
        run: from the module and its inputs to an output, the softmax as it ran, and what makes it (B, H, Tq, Tk).
    """

    def __init__(self, run: Callable[..., Any]):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(E, E) for _ in "qkv")
        self.run = run

    def forward(self, *inputs):
        output, self.raw, self.shape = self.run(self, *inputs)
        return output

    @property
    def seen(self):
        """(B, H, Tq, Tk)."""
        return self.shape(self.raw).detach().numpy()


def as_it_is(weights):
    return weights


def heads(part):
    """(B, T, H * d) to (B, H, T, d)."""
    return part.unflatten(-1, (H, D)).transpose(1, 2)
