"""What of a kernel call has to be taken while the model runs, so that the rest can wait until it has run.

A model streams its weights through the processor's caches. After each of them Python and torch come from memory anew,
and what is done there costs several times what it costs in a loop of its own. So the usual call, all of whose tensors
are plain, is only copied from as it comes by. What it was is worked out afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from attnwidget.attention import FactoredAttention, Probe
from attnwidget.intercept.along import along, along_each, rows_of
from attnwidget.intercept.keeping import is_alone
from attnwidget.intercept.plain import PLAIN
from attnwidget.intercept.telling import FEWEST, lse_tells
from attnwidget.intercept.windows.shadows import shadows

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnwidget.attention import Attention
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import KernelCall

_NDIM = 4
_FLOAT32 = 4


def take(
    call: KernelCall, key: torch.Tensor, value: torch.Tensor, output: torch.Tensor, keeper: Keeper
) -> Callable[[Keeper], Attention] | None:
    """Copy what may be written to, and remember the rest.

    Args:
        call: of the kernel, whose mask, causality and scale count.
        key: (B, Hkv, Tk, d), as it is kept.
        value: (B, Hkv, Tk, dv), which leads to the output.
        output: (B, H, Tq, dv).
        keeper: of a capture that keeps everything where it is.

    Returns:
        What builds the attention from what was taken, and needs nothing of the run; None where more has to be looked
        at, as where the call is no usual one or the rows of tensors are followed.

    Raises:
        LimitError: it is more than may be held.
    """
    query, lse, scale = call.query, call.lse, call.scale
    if not call.is_usual or shadows().captures or value.ndim != _NDIM or key.ndim != _NDIM or type(key) not in PLAIN:
        return None
    batch, heads, n_queries, _ = query.shape
    n_keys = key.shape[2]
    mask = keeper.masks.recognise(call.mask, n_queries=n_queries, n_keys=n_keys, is_causal=call.is_causal)
    rows = rows_of(n_queries)
    checked = output[:, :, rows]
    n_numbers = (
        batch * heads * ((lse is not None) * n_queries + checked.shape[2]) + value.shape[0] * value.shape[1] * n_keys
    )
    keeper.store.count(query.nbytes + key.nbytes + _FLOAT32 * n_numbers, query.device)
    # Few operations, each of which is one: what torch does before it begins to count comes from memory anew too.
    q = query.clone(memory_format=torch.contiguous_format)
    k = key.clone(memory_format=torch.contiguous_format)
    # Whether they are numbers, unless lse will tell, while the caches hold them. Where operations are queued it is
    # cheaper to look at all layers together afterwards.
    told = lse is None or not query.is_cpu or (n_keys >= FEWEST and lse_tells(query.dtype))
    sums = () if told else (q.sum(dtype=torch.float32), k.sum(dtype=torch.float32))
    values, checked = along_each(value), checked.clone()

    def build(_: Keeper) -> Attention:
        probe = Probe(values(), rows, along(checked), torch.finfo(checked.dtype).eps)
        if lse is None:
            return FactoredAttention(q, k, scale=scale, mask=mask, probe=probe)
        kept = lse.detach().float()
        kept = kept if is_alone(kept) else kept.clone()
        totals = (*sums, kept.sum()) if kept.is_cpu else ()
        return FactoredAttention(q, k, kept, scale=scale, mask=mask, probe=probe, totals=totals)

    return build
