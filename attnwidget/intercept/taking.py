"""What of a kernel call has to be taken while the model runs, so that the rest can wait until it has run.

A model streams its weights through the processor's caches. After each of them Python and torch come from memory anew,
and what is done there costs several times what it costs in a loop of its own. So the usual call, all of whose tensors
are plain, is only copied from as it comes by. What it was is worked out afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from attnwidget.attention import FactoredAttention
from attnwidget.intercept.plain import PLAIN
from attnwidget.intercept.windows.shadows import shadows

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnwidget.attention import Attention
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import KernelCall

_NDIM = 4


def take(
    call: KernelCall, key: torch.Tensor, value: torch.Tensor, output: torch.Tensor, keeper: Keeper
) -> Callable[[Keeper], Attention] | None:
    """Copy what may be written to, and remember the rest.

    Args:
        call: of the kernel, whose mask, causality and scale count.
        key: (B, Hkv, Tk, d), as it is kept.
        value: (B, Hkv, Tk, dv), which leads to the output.
        output: (B, H, Tq, dv).
        keeper: of the capture.

    Returns:
        What builds the attention from what was taken, and needs nothing of the run; None where more has to be looked
        at, as where kernels give no lse or the rows of tensors are followed.

    Raises:
        LimitError: it is more than may be held.
    """
    query, scale = call.query, call.scale
    if call.lse is None or call.dropout or shadows().captures:
        return None
    if query.ndim != _NDIM or key.ndim != _NDIM or value.ndim != _NDIM or type(key) not in PLAIN:
        return None
    if torch.is_autocast_enabled(query.device.type):
        return None
    mask = keeper.masks.recognise(call.mask, n_queries=query.shape[2], n_keys=key.shape[2], is_causal=call.is_causal)
    q, k, lse, probe = keeper.keep(query), keeper.keep(key), keeper.keep_lse(call.lse), keeper.probe(value, output)
    return lambda _: FactoredAttention(q, k, lse, scale=scale, mask=mask, probe=probe)
