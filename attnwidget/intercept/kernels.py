"""The kernels behind `scaled_dot_product_attention` that also compute lse, called as it calls them.

Read from ATen/native/transformers/attention.cpp, torch 2.4 to 2.13: what is done to arguments and results around each
kernel, and which of its options depend on whether gradients are wanted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Kernel: TypeAlias = Literal["cpu flash", "flash", "efficient", "cudnn"]

MATH, FLASH, EFFICIENT, CUDNN = 0, 1, 2, 3  # torch.nn.attention.SDPBackend
_FLASH_ALIGNMENT, _BIAS_ALIGNMENT = 8, 16


class Facts(NamedTuple):
    """What decides whether a kernel can be called directly.

    Attributes:
        device: type of the device of all tensors.
        choice: the backend that torch would take.
        dropout: whether weights are dropped.
        autocast: whether it is on for the device.
        empty: whether some tensor has no elements.
        mask: type of the mask, or None.
        needs_grad: whether gradients will be wanted.
        hip: torch was built for AMD.
    """

    device: str
    choice: int | None
    dropout: bool = False
    autocast: bool = False
    empty: bool = False
    mask: torch.dtype | None = None
    needs_grad: bool = False
    hip: bool = False


def kernel_of(facts: Facts) -> Kernel | None:
    """The kernel to call instead of the public function; None where that might not be the same to the bit.

    Dropout would take its random numbers elsewhere. Autocast casts for the public function only. Tensors without
    elements never reach a kernel.
    """
    if facts.dropout or facts.autocast or facts.empty:
        return None
    if facts.device == "cpu":
        return "cpu flash" if facts.choice == FLASH else None
    # AMD's kernels are others, tuned for what they are asked to return.
    if facts.device != "cuda" or facts.hip:
        return None
    if facts.choice == FLASH:  # lse is computed in any case; it takes no mask
        return "flash" if facts.mask is None else None
    if facts.choice == EFFICIENT:  # lse is stored if asked for, and changes nothing else
        return "efficient"
    # cuDNN plans anew for lse, and need not find the same plan: only where the public function asks for it too. What it
    # puts for a boolean mask has differed between versions.
    return "cudnn" if facts.choice == CUDNN and facts.needs_grad and facts.mask != torch.bool else None


def call_kernel(
    kernel: Kernel,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    is_causal: bool,
    scale: float | None,
    ops: Any = None,  # noqa: ANN401 - where tests put others
) -> tuple[torch.Tensor, torch.Tensor]:
    """Call it as the public function does.

    Returns:
        The output (B, H, Tq, dv), and lse (B, H, Tq).
    """
    additive = None if mask is None else additive_mask(mask, query.dtype)
    aten = ops or torch.ops.aten
    if kernel == "cpu flash":
        # By this name there is less of Python before the kernel than by that among torch.ops.
        output, lse = (ops or torch)._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
            query, key, value, 0.0, is_causal, attn_mask=additive, scale=scale
        )
    elif kernel == "flash":
        size = query.shape[-1]
        padded = (_padded(part) for part in (query, key, value))
        own_scale = 1.0 / math.sqrt(size) if scale is None else scale  # before heads are padded
        output, lse = aten._scaled_dot_product_flash_attention(  # noqa: SLF001
            *padded, 0.0, is_causal, False, scale=own_scale
        )[:2]
        output = output[..., :size] if output.shape[-1] != size else output
    elif kernel == "efficient":
        bias = None if additive is None else _aligned(additive, query, key)
        output, lse = aten._scaled_dot_product_efficient_attention(  # noqa: SLF001
            query, key, value, bias, True, 0.0, is_causal, scale=scale
        )[:2]
    else:
        output, lse = aten._scaled_dot_product_cudnn_attention(  # noqa: SLF001
            query, key, value, additive, True, 0.0, is_causal, False, scale=scale
        )[:2]
    return output, plain_lse(lse, query)


def plain_lse(lse: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """(B, H, Tq), from a kernel that fills rows up to a multiple (efficient), or has an axis more (cuDNN).

    Raises:
        ValueError: it is neither.
    """
    batch, heads, rows = query.shape[:3]
    if lse.ndim == query.ndim and lse.shape[-1] == 1:
        lse = lse[..., 0]
    if lse.ndim != query.ndim - 1 or tuple(lse.shape[:2]) != (batch, heads) or lse.shape[2] < rows:
        raise ValueError(f"lse has shape {tuple(lse.shape)}; expected ({batch}, {heads}, at least {rows})")
    return lse if lse.shape[2] == rows else lse[:, :, :rows]


def additive_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A boolean mask as the public function turns it into an additive one."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask.logical_not(), -torch.inf)


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """Heads filled up to a multiple of what the flash kernel takes."""
    missing = -tensor.shape[-1] % _FLASH_ALIGNMENT
    return functional.pad(tensor, (0, missing)) if missing else tensor


def _aligned(bias: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """A mask whose rows begin where the efficient kernel can read them, for all examples and heads."""
    if bias.stride(-1) != 1 or any(stride % _BIAS_ALIGNMENT for stride in bias.stride()[:-1]):
        size = bias.shape[-1]
        bias = functional.pad(bias, (0, _BIAS_ALIGNMENT - size % _BIAS_ALIGNMENT))[..., :size]
    return bias.expand(*query.shape[:3], key.shape[2])


class Probation:
    """Kernels are believed only once they have been seen to give what the public function gives, to the bit.

    What is read in the source of one version may be otherwise in the next. So the first call of each kind is made both
    ways, and only if the outputs are the same is the kernel called alone from then on.
    """

    def __init__(self) -> None:
        self._same: dict[Hashable, bool] = {}

    def run(
        self,
        kind: Hashable,
        plain: Callable[[], torch.Tensor],
        direct: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The output, and lse where the kernel is believed."""
        if kind not in self._same:
            output = plain()
            try:
                with torch.no_grad():  # nothing of this is part of what is trained
                    other, lse = direct()
                    self._same[kind] = bool(torch.equal(other, output))
            except (RuntimeError, TypeError, ValueError):  # it wants other arguments in this version
                self._same[kind] = False
            return output, lse if self._same[kind] else None
        return direct() if self._same[kind] else (plain(), None)


PROBATION = Probation()
