"""Tensors of torch's own kinds: what a subclass does with a call is its own affair."""

import torch

PLAIN = (torch.Tensor, torch.nn.Parameter)
