"""How one weight of a layer that keeps q and k came about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from attnwidget.attention.blocks import plain_maths
from attnwidget.attention.pairdetail import PairDetail

if TYPE_CHECKING:
    from attnwidget.attention.factored import FactoredAttention


def factor_pair(attention: FactoredAttention, example: int, head: int, query: int, key: int) -> PairDetail:
    """Every number between q and k and their weight, computed as the weight is."""
    where = example, slice(head, head + 1), slice(query, query + 1), slice(key, key + 1)
    row = where[:3]
    with plain_maths(attention.q.device):
        q, k = attention.factors(*where)
        dot = torch.matmul(q, k.transpose(1, 2))
        raw = float(dot * attention.scale)
    score, weight = (float(ask(*where)[0, 0, 0]) for ask in (attention.scores, attention.weights))
    modifier, cap = attention.modifier, attention.softcap or None
    capped = score if modifier is None else raw if cap is None else cap * math.tanh(raw / cap)
    masked = not attention.allowed(*where).all()
    added = None if attention.mask is None else attention.mask.added(*where)
    bias = 0.0 if added is None else float(added.reshape(()))
    sums = attention.log_sums(*row)
    # In float32, as the softmax met it: a bias of minus a billion swallows the score.
    logit = torch.tensor(score, dtype=torch.float32, device=sums.rest.device) + bias
    group = attention.n_heads // attention.n_key_heads
    return PairDetail(
        q=q[0, 0].cpu().numpy(),
        k=k[0, 0].cpu().numpy(),
        key_head=head // group,
        group=group,
        dot=float(dot),
        scale=attention.scale,
        raw=raw,
        softcap=cap,
        capped=capped,
        modified=0.0 if modifier is None else score - capped,
        bias=bias,
        masked=masked,
        lse=float(sums.lse),
        log_weight=-math.inf if masked else float(sums.taken_from(logit[None, None])),
        weight=weight,
        sink_share=None if attention.sinks is None else float(attention.sink_share(*row)[0, 0]),
    )
