"""What a capture takes from a run and keeps: copies of factors, masks met before, and what is left to check them by."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from attnwidget.attention import MaskMemo, Probe

_SEED = 20170612
_ROWS = 8
"""Queries of each layer that can be checked against the output."""


class Keeper:
    """Handed to whoever builds an attention while a run is watched.

    Attributes:
        masks: masks met before in this run.
    """

    def __init__(self) -> None:
        self.masks = MaskMemo()

    def forget(self) -> None:
        """Let go of what is only needed while the run lasts."""
        self.masks = MaskMemo()

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
            along = direction(value.shape[-1]).to(value.device)
            count = output.shape[2]
            rows = np.arange(count) if count <= _ROWS else np.unique(np.linspace(0, count - 1, _ROWS).astype(np.intp))
            picked = output[:, :, torch.from_numpy(rows).to(output.device)]  # (B, H, r, dv)
            values, outputs = (torch.matmul(part.float(), along).squeeze(-1).cpu().numpy() for part in (value, picked))
        return Probe(values, rows, outputs, float(torch.finfo(output.dtype).eps))


class Lender(Keeper):
    """Hands tensors on as they are, for calls of which only what is new will be kept, by whoever asked.

    Attributes:
        value: (B | 1, Hkv, Tk, dv), what a probe would be made from; None if none was.
        output: (B, H, Tq, dv).
    """

    def __init__(self, keeper: Keeper) -> None:
        self.masks = keeper.masks
        self.value: torch.Tensor | None = None
        self.output: torch.Tensor | None = None

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return tensor.detach()

    def keep_lse(self, lse: torch.Tensor | None) -> torch.Tensor | None:
        """The tensor itself, as float32."""
        return None if lse is None else lse.detach().float()

    def probe(self, value: torch.Tensor, output: torch.Tensor) -> None:
        """Remember what it could be made from."""
        self.value, self.output = value.detach(), output.detach()


@lru_cache(maxsize=8)
def direction(size: int) -> torch.Tensor:
    """(size, 1), of unit length, always the same; the generators of the run are left alone."""
    along: torch.Tensor = torch.randn(size, 1, generator=torch.Generator().manual_seed(_SEED))
    return along.div_(along.norm())
