"""Tensors of torch's own kinds: what a subclass does with a call is its own affair."""

import torch

PLAIN = (torch.Tensor, torch.nn.Parameter)


def holds_numbers(kind: type) -> bool:
    """Whether tensors of a subclass hold their numbers as torch's do, as those do that only carry something along.

    Those whose numbers are elsewhere (spread over ranks, nested, quantized) have a rule of their own for what torch
    dispatches.
    """
    return issubclass(kind, torch.Tensor) and kind.__torch_dispatch__ is torch.Tensor.__torch_dispatch__
