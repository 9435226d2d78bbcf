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


def combine_masks(masks: Sequence[Mask]) -> Mask:
    """One mask that allows what all of them allow, and adds what they add together.

    Args:
        masks: at least one, all of the same queries and keys.

    Returns:
        Rules where the masks are rules, packed bits where no rule says it.
    """
    n_queries, n_keys = masks[0].n_queries, masks[0].n_keys
    limiting = [mask for mask in masks if _limits(mask)]
    if len(limiting) <= 1 or all(_is_band(mask) for mask in limiting):
        found = _rules(limiting, n_queries, n_keys)
    else:
        found = _recognised(limiting, n_queries, n_keys)
    bias, relative = _added([mask for mask in masks if mask.bias is not None or mask.relative is not None])
    return replace(found, bias=bias, relative=relative)


def without_bias(mask: Mask) -> Mask | None:
    """Which pairs a mask allows, alone; None if all of them."""
    if not _limits(mask):
        return None
    return mask if mask.bias is None and mask.relative is None else replace(mask, bias=None, relative=None)


def _limits(mask: Mask) -> bool:
    return not _is_band(mask) or any(part is not None for part in (mask.lowest, mask.highest, mask.keys))


def _is_band(mask: Mask) -> bool:
    """A band and padding, and no exceptions."""
    return mask.rows is None and mask.bits is None and mask.ranges is None


def _added(masks: Sequence[Mask]) -> tuple[Floats | None, Floats | None]:
    """`bias` and `relative` of all of them together."""
    if len(masks) <= 1:
        return (masks[0].bias, masks[0].relative) if masks else (None, None)
    if all(mask.relative is not None for mask in masks):
        return None, sum(mask.relative for mask in masks)  # type: ignore[return-value, misc]
    total: Any = 0
    for mask in masks:
        table = mask.bias if mask.relative is None else spread(mask)
        total = total + table
    return total, None


def spread(mask: Mask) -> Floats:
    """What depends on the distance, for every pair: (B | 1, H | 1, Tq, Tk)."""
    assert mask.relative is not None  # noqa: S101 - the caller has looked; this is for the type checker
    everything = slice(0, mask.relative.shape[1]), slice(0, mask.n_queries), slice(0, mask.n_keys)
    examples = range(mask.relative.shape[0])
    return np.stack([np.asarray(mask.added(example, *everything), dtype=np.float32) for example in examples])


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
    """Masks with exceptions, ranges or bits: spread out, joined and read again."""
    parts = [part for mask in masks for part in (mask.keys, mask.rows, mask.bits, mask.ranges) if part is not None]
    n_examples = max(part.shape[0] for part in parts)
    per_head = [part for mask in masks for part in (mask.bits, mask.ranges) if part is not None]
    n_heads = max((part.shape[1] for part in per_head), default=1)
    whole = np.ones((n_examples, n_heads, n_queries, n_keys), dtype=np.bool_)
    everything = slice(0, n_heads), slice(0, n_queries), slice(0, n_keys)
    for example in range(n_examples):
        for mask in masks:
            whole[example] &= mask.allowed(example, *everything)
    return recognise_mask(whole, n_queries=n_queries, n_keys=n_keys) or Mask(n_queries, n_keys)
