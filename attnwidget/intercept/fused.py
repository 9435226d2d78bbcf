"""The fused inference path of torch.nn, which a capture keeps torch from taking: was it kept from it?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from types import FrameType

_REASONS = {
    nn.MultiheadAttention.forward.__code__: "why_not_fast_path",
    nn.TransformerEncoderLayer.forward.__code__: "why_not_sparsity_fast_path",
    nn.TransformerEncoder.forward.__code__: "why_not_sparsity_fast_path",
}
_MODE_IS_ON = "some Tensor argument has_torch_function"
_ENCODER = nn.TransformerEncoder.forward.__code__
_DEVICES = {"cpu", "cuda", torch._C._get_privateuse1_backend_name()}  # noqa: SLF001

ROUNDING = (
    "outputs equal those without capture to rounding, not to the bit: torch's fused inference path, which hides its "
    "weights, was not taken"
)
PADDING = "outputs at padded positions differ: torch's fused inference path leaves zeros there"


def fused_path_notes() -> tuple[str, ...]:
    """What to say of the call that is running: notes if only the capture kept torch from its fused path.

    torch writes down why it does not take that path, in a variable of each method that could have.
    """
    notes = []
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the running frames
    while frame is not None:
        name = _REASONS.get(frame.f_code)
        if name is not None and _only_ours(frame.f_locals, name):
            notes.append(ROUNDING)
            if frame.f_code is _ENCODER:
                notes.append(PADDING)
        frame = frame.f_back
    return tuple(dict.fromkeys(notes))


def _only_ours(names: dict[str, Any], reason: str) -> bool:
    if names.get(reason) != _MODE_IS_ON:
        return False
    # What torch would have looked at next.
    tensors = [tensor for tensor in names.get("tensor_args", ()) if tensor is not None]
    return all(tensor.device.type in _DEVICES for tensor in tensors) and not (
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    )
