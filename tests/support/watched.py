"""Runs a module with and without a capture: outputs must be the same to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import attnwidget as aw
from attnwidget.attention import FramedAttention

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


def watch(module: nn.Module, *args: Any, grad: bool = False, **kwargs: Any) -> aw.AttentionCapture:
    """A capture of one run that computed what a run without it computes."""
    with torch.set_grad_enabled(grad):
        torch.manual_seed(0)
        plain = module(*args, **kwargs)
        torch.manual_seed(0)
        with aw.capture(module) as cap:
            seen = module(*args, **kwargs)
    for one, other in zip(_tensors(plain), _tensors(seen), strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())
    return cap


def whole(cap: aw.AttentionCapture, layer: int = 0, stack: str = "self") -> NDArray[np.float32]:
    """Every weight of a layer, (B, H, Tq, Tk)."""
    shown = cap.stacks[stack]
    return np.stack([cap.weights(layer, batch=example, stack=stack) for example in range(shown.n_examples)])


def as_it_ran(cap: aw.AttentionCapture, layer: int = 0, stack: str = "self") -> NDArray[np.float32]:
    """Every weight of a layer, (E, H, Tq, Tk), windows one by one as the model ran them."""
    shown = cap.stacks[stack].layers[layer]
    shown = shown.windows if isinstance(shown, FramedAttention) else shown
    every = slice(0, shown.n_heads), slice(0, shown.n_queries), slice(0, shown.n_keys)
    return np.stack([shown.weights(example, *every) for example in range(shown.n_examples)])


def allowed(cap: aw.AttentionCapture, layer: int = 0, stack: str = "self") -> NDArray[np.bool_]:
    """Which pairs count as allowed, (B, H, Tq, Tk)."""
    shown = cap.stacks[stack]
    return np.stack([cap.allowed(layer, batch=example, stack=stack) for example in range(shown.n_examples)])


def is_factored(cap: aw.AttentionCapture, layer: int = 0, stack: str = "self") -> bool:
    """Whether queries and keys were kept, not weights."""
    return cap.stacks[stack].layers[layer].detail.startswith("q k")


def _tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if hasattr(output, "values"):
        output = tuple(output.values())
    if not isinstance(output, (tuple, list)):
        return []
    return [tensor for part in output for tensor in _tensors(part)]
