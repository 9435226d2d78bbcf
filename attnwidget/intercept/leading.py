"""Kernel calls whose leading axes are not examples and heads: told apart by following the data, and put in order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.intercept.movements import moved
from attnwidget.intercept.shadows import shadows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.intercept.places import Places
    from attnwidget.intercept.records import KernelCall
    from attnwidget.intercept.shadows import Shadow

_NDIM = 4


def in_four_axes(call: KernelCall, places: Places) -> tuple[KernelCall, Shadow | None, Shadow | None]:
    """A call with queries (E, H, Tq, d), with the shadows of its queries and keys.

    Rows along leading axes that come from the same tokens are heads, others are examples or windows.

    Args:
        call: with any number of leading axes.
        places: worked out before in this run.

    Returns:
        The call itself where it has four axes, or where its axes cannot be told apart.
    """
    if call.query.is_nested or call.key.is_nested:
        return call, None, None
    known = shadows()
    pair = known.get(call.query), known.get(call.key)
    lead = tuple(call.query.shape[:-2])
    if call.query.ndim == _NDIM or tuple(call.key.shape[:-2]) != lead:
        return call, *pair
    order = _order([shadow for shadow in pair if shadow is not None], lead, places)
    if order is None:
        return call, *pair
    mask = call.mask
    if mask is not None:
        pairs = call.query.shape[-2], call.key.shape[-2]
        if mask.ndim <= len(pairs):
            mask = mask.expand(pairs)[None, None]
        else:
            mask = _arranged(mask.expand(*lead, *pairs), order)
    found = replace(
        call,
        query=_arranged(call.query, order),
        key=_arranged(call.key, order),
        value=_arranged(call.value, order),
        output=_arranged(call.output, order),
        mask=mask,
        lse=None if call.lse is None else _arranged(call.lse[..., None], order)[..., 0],
        dropped=None if call.dropped is None else _arranged(call.dropped, order),
    )
    query, key = (
        None if shadow is None else moved(tensor.shape, _arranged, (order,), shadow)
        for tensor, shadow in zip((found.query, found.key), pair, strict=True)
    )
    return found, query, key


def _order(known: Sequence[Shadow], lead: tuple[int, ...], places: Places) -> tuple[tuple[int, ...], ...] | None:
    """(E, H) which of the flattened leading rows is which head of which example."""
    found = [placed[-1] for shadow in known if (placed := places.placings(shadow, heads=False))]
    if not found:
        return None
    orders = [_alike(placing.tokens.reshape(-1, placing.tokens.shape[-1])) for placing in found]
    order = orders[0]
    if order is None or any(other is None or not np.array_equal(order, other) for other in orders):
        return None
    # Where tokens are still counted together with heads, nothing tells them apart.
    together = order.shape[1] == 1 and found[0].shape == (*lead, found[0].tokens.shape[-1])
    return None if together else tuple(map(tuple, order.tolist()))


def _alike(rows: NDArray[np.int64]) -> NDArray[np.intp] | None:
    """(E, H) numbers of the rows, those beside each other that are alike; None if they do not come equally often."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    groups = [np.flatnonzero(inverse.reshape(-1) == number) for number in np.argsort(first)]
    return np.stack(groups) if len({len(group) for group in groups}) == 1 else None


def _arranged(tensor: torch.Tensor, order: tuple[tuple[int, ...], ...]) -> torch.Tensor:
    """(..., T, d) -> (E, H, T, d)."""
    return tensor.reshape(-1, *tensor.shape[-2:])[torch.tensor(order, device=tensor.device)]
