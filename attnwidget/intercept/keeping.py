"""What a capture takes from a run and keeps: copies of factors, masks met before, and what is left to check them by."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention import Mask, MaskMemo, Probe, join_masks, without_bias

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEED = 20170612
_ROWS = 8
"""Queries of each layer that can be checked against the output."""


class Keeper:
    """Handed to whoever builds an attention while a run is watched.

    Attributes:
        masks: masks met before in this run.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let go of what is only needed while the run lasts."""
        self.masks = MaskMemo()
        self._joined: dict[tuple[int, ...], tuple[list[Mask], Mask]] = {}
        self._unbiased: dict[int, tuple[Mask, Mask | None]] = {}
        self._large_biases: dict[tuple[int, ...], Mask] = {}

    def join(self, masks: Iterable[Mask | None]) -> Mask | None:
        """One mask for all of them, the same for the same ones, so that layers share it."""
        found = [mask for mask in masks if mask is not None]
        if len(found) <= 1:
            return found[0] if found else None
        key = tuple(id(mask) for mask in found)
        if key not in self._joined:
            self._joined[key] = found, join_masks(found)
        return self._joined[key][1]

    def without_bias(self, mask: Mask) -> Mask | None:
        """Which pairs a mask allows, the same for the same one."""
        if id(mask) not in self._unbiased:
            self._unbiased[id(mask)] = mask, without_bias(mask)
        return self._unbiased[id(mask)][1]

    def is_shared_bias(self, mask: Mask) -> bool:
        """Whether no other bias of this size has been met: one per layer would cost as much as the weights."""
        assert mask.bias is not None  # noqa: S101 - the caller has looked; this is for the type checker
        return self._large_biases.setdefault(mask.bias.shape, mask) is mask

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy with a storage of its own: later writes cannot reach it, and it keeps nothing larger alive."""
        return tensor.detach().clone(memory_format=torch.contiguous_format)

    def keep_lse(self, lse: torch.Tensor | None) -> torch.Tensor | None:
        """The kernel's own result needs no copy if nothing else is in its storage; (B, H, Tq) float32."""
        if lse is None:
            return None
        lse = lse.detach()
        own = lse.untyped_storage().nbytes() == lse.numel() * lse.element_size()
        return (lse if own else lse.clone()).float()

    def probe(self, value: torch.Tensor, output: torch.Tensor) -> Probe | None:
        """What is needed to check weights against the output later.

        Args:
            value: (B | 1, Hkv, Tk, dv).
            output: (B, H, Tq, dv), before heads are merged.

        Returns:
            None where there is nothing to check by: values without tokens or size.
        """
        if not (value.numel() and output.numel()):
            return None
        with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
            value, output = value.detach(), output.detach()
            direction = _direction(value.shape[-1]).to(value.device)
            rows = np.unique(np.linspace(0, output.shape[2] - 1, min(_ROWS, output.shape[2])).astype(np.intp))
            picked = output[:, :, torch.from_numpy(rows).to(output.device)]  # (B, H, r, dv)
            values, outputs = (
                torch.matmul(part.float(), direction).squeeze(-1).cpu().numpy() for part in (value, picked)
            )
        return Probe(values, rows, outputs, float(torch.finfo(output.dtype).eps))


@lru_cache(maxsize=8)
def _direction(size: int) -> torch.Tensor:
    """(size, 1), of unit length, always the same; the generators of the run are left alone."""
    direction: torch.Tensor = torch.randn(size, 1, generator=torch.Generator().manual_seed(_SEED))
    return direction.div_(direction.norm())
