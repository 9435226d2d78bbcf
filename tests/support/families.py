"""Tiny models of a config, their twins with eager attention, and what they compute."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
import transformers as tf

if TYPE_CHECKING:
    from torch import nn


def build(config: Any, implementation: str) -> Any:
    """A model of random weights, the same each time."""
    torch.manual_seed(0)
    model = tf.AutoModel.from_config(config, attn_implementation=implementation).eval()
    for parameter in model.parameters():  # freshly made models look everywhere alike
        parameter.data.mul_(2) if parameter.ndim > 1 else parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


def eager_twin(model: Any) -> Any:
    """The same weights, where and in what type they are, with eager attention."""
    twin = tf.AutoModel.from_config(copy.deepcopy(model.config), attn_implementation="eager")
    twin.load_state_dict(model.state_dict())
    like = next(model.parameters())
    return twin.to(like.device, like.dtype).eval()


def tensors(output: Any) -> list[torch.Tensor]:
    """Those of an output."""
    return [value for value in output.values() if isinstance(value, torch.Tensor)]


def gradients(model: nn.Module, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Of all parameters that have some, after one pass forward and back."""
    model.zero_grad()
    model(**inputs)[0].square().sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
