"""Tensors of torch's own kinds: what a subclass does with a call is its own affair."""

import torch
from torch._subclasses.fake_tensor import is_fake

PLAIN = (torch.Tensor, torch.nn.Parameter)


def has_values(tensor: torch.Tensor) -> bool:
    """Whether there is something to read: tensors on the meta device and fake ones have shapes alone."""
    return not (tensor.is_meta or (type(tensor) not in PLAIN and is_fake(tensor)))


def holds_numbers(kind: type) -> bool:
    """Whether tensors of a subclass hold their numbers as torch's do, as those do that only carry something along.

    Those whose numbers are elsewhere (spread over ranks, nested, quantized) have a rule of their own for what torch
    dispatches.
    """
    return issubclass(kind, torch.Tensor) and kind.__torch_dispatch__ is torch.Tensor.__torch_dispatch__
