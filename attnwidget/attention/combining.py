"""Several masks that hold at once, as one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.masks import Mask
from attnwidget.attention.recognise import recognise_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention.protocol import Floats


def combine_masks(masks: Sequence[Mask]) -> Mask | None:
    """One mask that allows what all of them allow, and adds what they add together.

    Args:
        masks: at least one, all of the same queries and keys.

    Returns:
        Rules where the masks are rules, packed bits where no rule says it; None if everything is allowed and nothing
        added.
    """
    n_queries, n_keys = masks[0].n_queries, masks[0].n_keys
    limiting = [mask for mask in masks if _limits(mask)]
    plain = all(mask.bits is None and mask.rows is None and mask.ranges is None for mask in limiting)
    if len(limiting) <= 1:
        found = limiting[0] if limiting else None
    else:
        found = _rules(limiting) if plain else _recognised(limiting)
    bias, relative = _added([mask for mask in masks if mask.bias is not None or mask.relative is not None])
    if found is None and bias is None and relative is None:
        return None
    return replace(found or Mask(n_queries, n_keys), bias=bias, relative=relative)


def without_bias(mask: Mask) -> Mask | None:
    """Which pairs a mask allows, alone; None if all of them."""
    if not _limits(mask):
        return None
    return mask if mask.bias is None and mask.relative is None else replace(mask, bias=None, relative=None)


def _limits(mask: Mask) -> bool:
    return any(part is not None for part in (mask.lowest, mask.highest, mask.keys, mask.rows, mask.bits, mask.ranges))


def _rules(masks: Sequence[Mask]) -> Mask:
    """Bands and padding."""
    lowest = [mask.lowest for mask in masks if mask.lowest is not None]
    highest = [mask.highest for mask in masks if mask.highest is not None]
    keys: Any = None
    for mask in masks:
        if mask.keys is not None:
            keys = mask.keys if keys is None else keys & mask.keys
    return Mask(masks[0].n_queries, masks[0].n_keys, max(lowest, default=None), min(highest, default=None), keys)


def _recognised(masks: Sequence[Mask]) -> Mask | None:
    """Masks with exceptions, ranges or bits: spread out, combined and read again."""
    n_queries, n_keys = masks[0].n_queries, masks[0].n_keys
    parts = [part for mask in masks for part in (mask.keys, mask.rows, mask.bits, mask.ranges) if part is not None]
    per_head = [part for mask in masks for part in (mask.bits, mask.ranges) if part is not None]
    n_heads = max((part.shape[1] for part in per_head), default=1)
    whole = np.ones((max(part.shape[0] for part in parts), n_heads, n_queries, n_keys), dtype=np.bool_)
    everything = slice(0, n_heads), slice(0, n_queries), slice(0, n_keys)
    for example in range(whole.shape[0]):
        for mask in masks:
            whole[example] &= mask.allowed(example, *everything)
    return recognise_mask(whole, n_queries=n_queries, n_keys=n_keys)


def _added(masks: Sequence[Mask]) -> tuple[Floats | None, Floats | None]:
    """`bias` and `relative` of what all of them add."""
    if not masks:
        return None, None
    if all(mask.relative is not None for mask in masks):
        return None, sum(mask.relative for mask in masks if mask.relative is not None)  # type: ignore[return-value]
    return sum(_spread(mask) for mask in masks), None  # type: ignore[return-value]


def _spread(mask: Mask) -> Floats:
    """What one mask adds, (B | 1, H | 1, Tq | 1, Tk | 1)."""
    if mask.relative is None:
        assert mask.bias is not None  # noqa: S101 - only masks that add something come here
        return mask.bias
    heads, queries, keys = slice(0, mask.relative.shape[1]), slice(0, mask.n_queries), slice(0, mask.n_keys)
    parts = [mask.added(example, heads, queries, keys) for example in range(mask.relative.shape[0])]
    return np.stack([part for part in parts if part is not None])
