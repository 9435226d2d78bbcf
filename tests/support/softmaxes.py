"""Every softmax of a run, as torch returned it; fused attention is computed once more, with the whole matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_FUSED = {functional.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention}
_SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax}


class Softmaxes(TorchFunctionMode):
    """Collects weights in the order they are computed.

    Attributes:
        weights: as the model shaped them; (B, H, Tq, Tk) of fused attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _FUSED:
            self.weights.append(_dense(*args, **(kwargs or {})))
        elif func in _SOFTMAX:
            self.weights.append(result.detach().clone())
        return result


def _dense(query: torch.Tensor, key: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
    """Arguments as `scaled_dot_product_attention` takes them: value, mask, dropout, causal after queries and keys."""
    _, mask, _, is_causal = (*others, *(None,) * 4)[:4]
    mask, is_causal = options.get("attn_mask", mask), options.get("is_causal", is_causal)
    scale = options.get("scale")
    if options.get("enable_gqa"):
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, dim=-1)
