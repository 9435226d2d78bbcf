"""Several masks that hold at once, as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.masks import Mask
from attnwidget.attention.recognise import recognise_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention.protocol import Floats


def join_masks(masks: Sequence[Mask]) -> Mask:
    """One mask that allows what all of them allow, and adds what they add together.

    Args:
        masks: at least one, all of the same queries and keys.

    Returns:
        Rules where the masks are rules, packed bits where no rule says it.
    """
    n_queries, n_keys = masks[0].n_queries, masks[0].n_keys
    biases = [mask.bias for mask in masks if mask.bias is not None]
    bias: Floats | None = None
    for other in biases:
        bias = other if bias is None else bias + other
    limiting = [mask for mask in masks if _limits(mask)]
    if len(limiting) <= 1 or all(mask.bits is None and mask.rows is None for mask in limiting):
        found = _rules(limiting, n_queries, n_keys)
    else:
        found = _recognised(limiting, n_queries, n_keys)
    return Mask(n_queries, n_keys, found.lowest, found.highest, found.keys, found.rows, found.bits, bias)


def without_bias(mask: Mask) -> Mask | None:
    """Which pairs a mask allows, alone; None if all of them."""
    if not _limits(mask):
        return None
    if mask.bias is None:
        return mask
    return Mask(mask.n_queries, mask.n_keys, mask.lowest, mask.highest, mask.keys, mask.rows, mask.bits)


def _limits(mask: Mask) -> bool:
    return any(part is not None for part in (mask.lowest, mask.highest, mask.keys, mask.rows, mask.bits))


def _rules(masks: Sequence[Mask], n_queries: int, n_keys: int) -> Mask:
    """At most one mask, or masks that are bands and padding."""
    if len(masks) == 1:
        return masks[0]
    lowest = [mask.lowest for mask in masks if mask.lowest is not None]
    highest = [mask.highest for mask in masks if mask.highest is not None]
    keys: Any = None
    for mask in masks:
        if mask.keys is not None:
            keys = mask.keys if keys is None else keys & mask.keys
    return Mask(n_queries, n_keys, max(lowest, default=None), min(highest, default=None), keys)


def _recognised(masks: Sequence[Mask], n_queries: int, n_keys: int) -> Mask:
    """Masks with exceptions or bits: spread out, joined and read again."""
    parts = [part for mask in masks for part in (mask.keys, mask.rows, mask.bits) if part is not None]
    n_examples = max(part.shape[0] for part in parts)
    n_heads = max((mask.bits.shape[1] for mask in masks if mask.bits is not None), default=1)
    whole = np.ones((n_examples, n_heads, n_queries, n_keys), dtype=np.bool_)
    everything = slice(0, n_heads), slice(0, n_queries), slice(0, n_keys)
    for example in range(n_examples):
        for mask in masks:
            whole[example] &= mask.allowed(example, *everything)
    return recognise_mask(whole, n_queries=n_queries, n_keys=n_keys) or Mask(n_queries, n_keys)
