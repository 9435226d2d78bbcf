"""Masks that are no numbers but a rule of their own: torch's CausalBias, whose storage nobody has written to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from attnwidget.intercept.plain import PLAIN

if TYPE_CHECKING:
    from torch.nn.attention.bias import CausalBias

    from attnwidget.intercept.records import KernelCall

_USUAL = torch.Tensor.__torch_function__.__func__  # type: ignore[attr-defined]


def with_readable_mask(call: KernelCall) -> KernelCall:
    """The same call, with a mask that says by its numbers which pairs are allowed.

    Raises:
        ValueError: the mask is of a kind that decides for itself what a kernel makes of it.
    """
    mask = call.mask
    if mask is None or type(mask) in PLAIN or not _has_own_rule(mask):
        return call
    from torch.nn.attention.bias import CausalBias  # takes a second, and brings torch's compiler

    if isinstance(mask, CausalBias):
        return _with_rule(call, mask)
    raise ValueError(
        f"its mask is a {type(mask).__name__}, which handles scaled_dot_product_attention by a rule of its own; "
        "expected a plain tensor: pass mask.as_subclass(torch.Tensor) if its numbers are the mask"
    )


def _with_rule(call: KernelCall, mask: CausalBias) -> KernelCall:
    from torch.nn.attention.bias import CausalVariant

    n_queries, n_keys = mask.seq_len_q, mask.seq_len_kv
    if mask.variant == CausalVariant.UPPER_LEFT or n_queries == n_keys:
        return replace(call, mask=None, is_causal=True)
    allowed = torch.ones(n_queries, n_keys, dtype=torch.bool, device=call.query.device)
    return replace(call, mask=allowed.tril_(n_keys - n_queries))


def _has_own_rule(mask: torch.Tensor) -> bool:
    # A rule that is switched off is a function of torch's, without one inside.
    return getattr(type(mask).__torch_function__, "__func__", _USUAL) is not _USUAL
