"""The factors of a softmax seen by hand, believed only if they give the weights that the model computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from attnwidget.attention import FactoredAttention
from attnwidget.attention.memo import key_of
from attnwidget.intercept.byhand.axes import Axis, Part, align, length
from attnwidget.intercept.explaining import gives_weights
from attnwidget.intercept.sdpa import as_kernel_saw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Mask, Probe
    from attnwidget.intercept.byhand.trails import Scores
    from attnwidget.intercept.keeping import Keeper


def factors_of(
    scores: Scores,
    frame: Sequence[Axis],
    weights: torch.Tensor,
    mask: Mask | None,
    probe: Probe | None,
    keeper: Keeper,
    *,
    straight: bool,
) -> FactoredAttention | None:
    """The factors, if a softmax of what the model made of their product is what it computed.

    Args:
        scores: what the softmax was taken of.
        frame: what counts examples, heads, queries and keys.
        weights: (B, H, Tq, Tk) as computed.
        mask: everything that was forbidden and added.
        probe: what to check the weights by.
        keeper: of the run.
        straight: nothing but what was followed happened to the weights since the softmax.

    Returns:
        None if the formula is not known, or does not give the weights.
    """
    found, sinks = _query_and_key(scores, frame), _sinks(scores, frame)
    if found is None or sinks is None:
        return None
    query, key = found
    n_heads = weights.shape[1]
    if key.shape[1] not in {1, n_heads}:
        return None
    outer = scores.outer
    attention = FactoredAttention(
        keeper.keep(query.expand(-1, n_heads, *query.shape[2:])),
        keeper.keep(_once_per_group(key)),
        scale=scores.inner if outer is None else scores.inner * outer,
        softcap=outer,
        sinks=keeper.keep(sinks) if len(sinks) else None,
        mask=mask,
        probe=probe,
    )
    shape = attention.n_examples, n_heads, attention.n_queries, attention.n_keys
    if shape != tuple(weights.shape):
        return None
    keeper.settle()
    return attention if gives_weights(attention, weights, every=not straight or _may_have_changed(scores)) else None


def _may_have_changed(scores: Scores) -> bool:
    """Whether something that the scores were made of may have been written to without a trace."""
    parts = (*(scores.factors or ()), *scores.gains, *(added.part for added in scores.added))
    return any(key_of(part.tensor) is None for part in parts)


def _query_and_key(scores: Scores, frame: Sequence[Axis]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(B | 1, H | 1, Tq, d) and (B | 1, H | 1, Tk, d) as the product saw them, times what it was multiplied with."""
    if scores.factors is None or not all(part.is_unchanged() for part in (*scores.factors, *scores.gains)):
        return None
    for one, other in (scores.factors, scores.factors[::-1]):  # whichever way round they were multiplied
        query = align(one, (*frame[:3], scores.summed))
        key = align(other, (*frame[:2], frame[3], scores.summed))
        if query is None or key is None:
            continue
        if query.shape[2] == length(frame[2]) and key.shape[2] == length(frame[3]):
            return _with_gains(as_kernel_saw(query), as_kernel_saw(key), scores.gains, frame)
    return None


def _with_gains(
    query: torch.Tensor, key: torch.Tensor, gains: Sequence[Part], frame: Sequence[Axis]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    for part in gains:
        gain = align(part, frame)
        if gain is None:
            return None
        if gain.shape[3] == 1:
            query = query.float() * gain.float()
        elif gain.shape[2] == 1:
            key = key.float() * gain.float().transpose(2, 3)
        # One per pair is 0 or 1, and its zeros are in the mask.
    return query, key


def _sinks(scores: Scores, frame: Sequence[Axis]) -> torch.Tensor | None:
    """(H,), the logits that joined every row of a head; empty without any; None if rows or examples differ."""
    total = torch.empty(0)
    for part in scores.sinks:
        sink = align(part, (*frame[:3], ())) if part.is_unchanged() else None
        if sink is None or not bool((sink == sink[:1, :, :1]).all()):
            return None
        logits = sink[0, :, 0, 0].float().expand(length(frame[1]))
        total = torch.logaddexp(total, logits) if len(total) else logits
    return total


def _once_per_group(key: torch.Tensor) -> torch.Tensor:
    """(B, Hkv, Tk, d): each key head once, where groups of heads share one."""
    heads = key.shape[1]
    if heads == 1 or not torch.equal(key[:, 0], key[:, 1]):
        return key
    for group in range(heads, 1, -1):
        if heads % group == 0:
            grouped = key.reshape(key.shape[0], heads // group, group, *key.shape[2:])
            if bool((grouped == grouped[:, :, :1]).all()):
                return grouped[:, :, 0]
    return key
