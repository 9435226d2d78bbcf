"""Gives a model weights that look at some tokens more than at others: a new model looks everywhere alike."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

_LOOKS = re.compile(
    r"(^|[._])(q|k|qk|qkv|query|key|wqkv|to_q|to_k|to_qkv|c_attn|in_proj|query_key_value|"
    r"(q|k|qkv|qk|kv|query|key|kv_b|q_b|in)_(proj|lin)|linear_(q|k)|kv)([._]|$)",
    re.IGNORECASE,
)
_KEPT = re.compile(
    r"A_log|dt_bias|dt_proj|inv_freq|\.D$|conv1d|lambda|decay|time_|logit_scale|temperature|rotary|refpoint|"
    r"reference_points|bbox|anchor"
)
_TABLE = re.compile(r"embed|table|token|position|bias|query|latent|pos", re.IGNORECASE)
LADDER = (1.5, 1.0, 0.0, 4.0)


def sharpen(model: nn.Module, gain: float) -> None:
    """Set every parameter at random, sized so that activations stay near 1 and scores spread by the gain squared.

    Args:
        model: changed in place.
        gain: of what makes queries and keys; 0 to leave parameters as they were made, twice as large.
    """
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for path, module in model.named_modules():
            for name, parameter in module.named_parameters(path, recurse=False):
                if not parameter.is_floating_point() or not parameter.numel() or _KEPT.search(name):
                    continue
                noise = torch.randn(parameter.shape, generator=generator)
                if gain:
                    parameter.copy_(_sized(name, module, parameter, noise, gain))
                elif parameter.ndim > 1:
                    parameter.mul_(2).add_(noise * 0.02)
                else:
                    parameter.add_(noise * 0.1)


def _sized(name: str, module: nn.Module, parameter: torch.Tensor, noise: torch.Tensor, gain: float) -> torch.Tensor:
    if parameter.ndim < 2:
        level = float(parameter.mean())
        even = bool((parameter == parameter.flatten()[0]).all())
        return (0.5 if even and 0 < abs(level) < 0.01 else level) + 0.1 * noise
    if isinstance(module, nn.Embedding) or (not name.endswith("weight") and _TABLE.search(name.rsplit(".", 1)[-1])):
        return noise
    inputs = math.prod(parameter.shape[1:]) if isinstance(module, nn.modules.conv._ConvNd) else parameter.shape[-1]
    return noise * (gain if _LOOKS.search(name) else 1.0) / math.sqrt(inputs)
