"""Gives a freshly made model weights that look at some tokens more than at others: a new model looks everywhere alike."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

_LOOKS = re.compile(r"(^|[._])(q|k|query|key|q_proj|k_proj|qkv|in_proj|c_attn|query_key_value|wqkv|to_q|to_k|Wqkv|q_lin|k_lin|qk|linear_q|linear_k|q_b_proj|kv_b_proj|kv|query_proj|key_proj)([._]|$)", re.IGNORECASE)
_KEPT = re.compile(r"A_log|dt_bias|dt_proj|inv_freq|\.D$|conv1d|lambda|decay|time_|alpha|logit_scale|running|rotary")


def sharpen(model: nn.Module, gain: float = 1.5) -> None:
    """Set every parameter at random, sized so that activations stay near 1 and scores spread by about the gain squared.

    Args:
        model: changed in place.
        gain: of what makes queries and keys.
    """
    generator = torch.Generator().manual_seed(7)

    def noise(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _KEPT.search(name) or not parameter.is_floating_point() or not parameter.numel():
                continue
            if parameter.ndim < 2:  # noqa: PLR2004 - scales and biases
                level = float(parameter.mean())
                small = abs(level) < 0.01 and bool((parameter == parameter.flatten()[0]).all()) and level != 0
                parameter.copy_((0.5 if small else 1.0 if level > 0.5 else level if level else 0.0) + 0.1 * noise(parameter))
                continue
            table = "embed" in name or "bias" in name or "table" in name or "token" in name or "position" in name
            size = 1.0 if table else 1 / math.sqrt(math.prod(parameter.shape[1:]) if parameter.ndim != 3 else parameter.shape[-1])  # noqa: PLR2004
            parameter.copy_(noise(parameter) * size * (gain if _LOOKS.search(name) else 1.0))
