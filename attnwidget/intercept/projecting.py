"""The linear map that an attention's output goes into, told by what goes in and not by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PLACES = 3
"""Positions of each axis that are compared: beginning, middle and end."""


class Mouth:
    """Where the heads of an attention are laid side by side, (B, Tq, H * dv), told from anything else by its numbers.

    Args:
        output: (B, H, Tq, dv), what the heads put out.
    """

    def __init__(self, output: torch.Tensor) -> None:
        batch, heads, rows, size = output.shape
        self._batch, self._rows, self.width = batch, rows, heads * size
        self._examples = sorted({0, batch // 2, batch - 1})[:_PLACES]
        self._places = sorted({0, rows // 2, rows - 1})[:_PLACES]
        picked = output[self._examples][:, :, self._places]  # (b, H, r, dv)
        self._numbers = picked.transpose(1, 2).reshape(-1, self.width).float().clone()
        self._says_nothing = not bool(self._numbers.any())  # zeros are like any other zeros

    def is_met_by(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor (..., H * dv) holds exactly these numbers, examples before tokens or after them."""
        if self._says_nothing or tensor.ndim < len("td") or tensor.shape[-1] != self.width:
            return False
        if tensor.numel() != self._batch * self._rows * self.width or tensor.device != self._numbers.device:
            return False
        flat = tensor.detach().reshape(-1, self.width)
        orders = {
            tuple(example * self._rows + place for example in self._examples for place in self._places),
            tuple(place * self._batch + example for example in self._examples for place in self._places),
        }
        return any(torch.equal(flat[list(order)].float(), self._numbers) for order in orders)


def linear_map(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """What goes into `linear` or `addmm`, and what it is multiplied by: (..., D) and (D, out)."""
    if func is functional.linear:
        names, parts = ("input", "weight"), args
    elif func is torch.addmm:
        names, parts = ("mat1", "mat2"), args[1:]
    else:
        return None
    taken, weight = (parts[place] if len(parts) > place else kwargs.get(name) for place, name in enumerate(names))
    if not (isinstance(taken, torch.Tensor) and isinstance(weight, torch.Tensor)):
        return None
    if taken.is_nested or weight.ndim != len("io"):
        return None
    return taken, weight.t() if func is functional.linear else weight
