"""From a softmax seen by hand to a layer: factors where they explain the weights, else the weights themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention import DenseAttention, FactoredAttention
from attnwidget.intercept.axes import Axis, Part, align, fresh, leaves, length
from attnwidget.intercept.dropout import keep_dropped
from attnwidget.intercept.handframes import Frame, framed_by_hand, with_windows
from attnwidget.intercept.handmasks import HandMask, hand_mask
from attnwidget.intercept.sdpa import as_kernel_saw, check_readable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attnwidget.attention import Attention, Mask, Probe
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import HandCall
    from attnwidget.intercept.trails import Scores

MIXED = "weights of heads that the model mixes after the softmax are those before"
_PAIR = 2


def from_hand(call: HandCall, keeper: Keeper, notes: list[str]) -> Attention:
    """The attention of one softmax.

    Args:
        call: the softmax, and the product of its weights with values.
        keeper: of the run.
        notes: what the capture should tell is added here.

    Returns:
        Factors if they explain the weights, else the weights.

    Raises:
        ValueError: the weights cannot be told from what was seen.
    """
    check_readable(call.weights)
    trail = call.trail
    if trail.oddity is not None:
        raise ValueError(trail.oddity)
    frame, scores = frame_of(call), trail.scores
    if scores is None:
        return _attention(call, frame, keeper, notes)
    frame = with_windows(scores, frame, keeper.places)
    return framed_by_hand(_attention(call, frame, keeper, notes), scores, frame, keeper.places, notes)


def _attention(call: HandCall, frame: Frame, keeper: Keeper, notes: list[str]) -> Attention:
    trail = call.trail
    if keeper.dropout and trail.is_mixed:
        raise ValueError(
            "dropout=True, and its heads are mixed after the softmax, so that weights after dropout belong to no head; "
            "leave dropout=True out for the weights before it"
        )
    dropped = keeper.dropout and trail.clean is not None
    part = Part.of(call.weights, trail.axes) if trail.clean is None or dropped else trail.clean
    if not part.is_unchanged():
        raise ValueError("its weights were overwritten before they were multiplied with values")
    weights = align(part, frame)  # (B, H, Tq, Tk)
    if weights is None:
        raise ValueError(
            f"its weights have shape {tuple(part.tensor.shape)}, and which axes are examples, heads, queries and keys "
            "could not be told"
        )
    if trail.is_mixed:
        notes.append(MIXED)
    scores = trail.scores
    mask = HandMask() if scores is None else hand_mask(scores, frame, weights, keeper)
    straight = dropped or (trail.clean is None and not trail.is_mixed)
    probe = _probe(call, frame, keeper) if straight else None
    if dropped:
        return keep_dropped(weights, mask.allowed, keeper, probe)
    if scores is not None and mask.is_complete:
        factored = _factored(scores, frame, weights, mask.whole, probe, keeper)
        if factored is not None:
            return factored
    return DenseAttention(keeper.keep(weights), mask.allowed, probe)


def frame_of(call: HandCall) -> tuple[Axis, Axis, Axis, Axis]:
    """What counts examples, heads, queries and keys, from the product with values.

    Summed over: keys. In the weights alone: queries, the innermost of these where there are several, as multi-query
    attention writes it. What is left leads: examples and heads (see `_heads_of`).
    """
    labels, product = call.labels, call.product
    other = product.right_labels if call.weights_left else product.left_labels
    axes = {label: leaves(axis) for label, axis in zip(labels, call.trail.axes, strict=True)}
    keys = tuple(atom for label in labels if label in product.summed for atom in axes[label])
    alone = [label for label in labels if label not in other]
    leading = [label for label in labels if label not in product.summed and label not in alone[-1:]]
    heads = _heads_of(leading, axes, call)
    examples = tuple(atom for label in leading for atom in axes[label] if atom not in heads)
    return examples, heads, axes[alone[-1]] if alone else (), keys


def _heads_of(leading: list[str], axes: Mapping[str, Axis], call: HandCall) -> Axis:
    """Which atoms of the leading axes count heads; the others count examples.

    In this order: those that a tensor on the way told apart from the batch; of a single axis else none, unless two
    were merged into it; axes that values do not have, or only at length 1, as where groups of heads share keys and
    values, with those beside them; the axis that was split off from the features; the last.
    """
    atoms = tuple(atom for label in leading for atom in axes[label])
    told = tuple(atom for atom in atoms if atom.is_head)
    if told:
        return told
    if len(leading) == 1:
        return () if any(atom.is_head is not None for atom in atoms) else atoms[1:]
    while len(leading) > _PAIR and any(not axes[label] for label in leading):
        leading.remove(next(label for label in reversed(leading) if not axes[label]))
    mine, theirs = (call.product.sizes(left=left) for left in (call.weights_left, not call.weights_left))
    if any(theirs.get(label) != mine[label] for label in leading[1:]):
        return tuple(atom for label in leading[1:] for atom in axes[label])
    split_off = [label for label in leading if axes[label] and all(atom.beside_features for atom in axes[label])]
    if len(split_off) == 1 and sum(bool(axes[label]) for label in leading) > 1:
        return axes[split_off[0]]
    return axes[leading[-1]] if leading else ()


def _probe(call: HandCall, frame: Sequence[Axis], keeper: Keeper) -> Probe | None:
    """What to check the weights by: values and output, in the same frame."""
    product = call.product
    known = dict(zip(call.labels, call.trail.axes, strict=True))
    other_labels, other = (
        (product.right_labels, product.right) if call.weights_left else (product.left_labels, product.left)
    )
    for label, axis in zip(other_labels, fresh(other.shape), strict=True):
        known.setdefault(label, axis)
    if product.added is not None or product.factor != 1:
        return None
    size = tuple(atom for label in other_labels if label not in call.labels for atom in known[label])
    value = align(Part.of(other, tuple(known[label] for label in other_labels)), (*frame[:2], frame[3], size))
    output = align(Part.of(call.output, tuple(known[label] for label in product.labels)), (*frame[:3], size))
    if value is None or output is None:
        return None
    if value.shape[1] > 1 and output.shape[1] % value.shape[1]:
        return None
    return keeper.probe(value, output)


def _factored(
    scores: Scores, frame: Sequence[Axis], weights: torch.Tensor, mask: Mask | None, probe: Probe | None, keeper: Keeper
) -> FactoredAttention | None:
    """The factors, if softmax of their product is what the model computed."""
    if scores.factors is None or not all(part.is_unchanged() for part in (*scores.factors, *scores.gains)):
        return None
    found = _query_and_key(scores, frame)
    if found is None:
        return None
    query, key = (as_kernel_saw(tensor) for tensor in found)
    for part in scores.gains:
        gain = align(part, frame)
        if gain is None:
            return None
        if gain.shape[3] == 1:
            query = query.float() * gain.float()
        elif gain.shape[2] == 1:
            key = key.float() * gain.float().transpose(2, 3)
        # A gain per pair is 0 or 1, and its zeros are in the mask: there, or nothing here is believed.
    n_heads = weights.shape[1]
    query = query.expand(-1, n_heads, *query.shape[2:])
    if key.shape[1] not in {1, n_heads}:
        return None
    outer = scores.outer
    factored = FactoredAttention(
        keeper.keep(query),
        keeper.keep(_once_per_group(key)),
        scale=scores.inner if outer is None else scores.inner * outer,
        softcap=outer,
        mask=mask,
        probe=probe,
    )
    if (factored.n_examples, factored.n_queries, factored.n_keys) != (weights.shape[0], *weights.shape[2:]):
        return None
    keeper.settle()
    return factored if _explains(factored, weights) else None


def _query_and_key(scores: Scores, frame: Sequence[Axis]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(B | 1, H | 1, Tq, d) and (B | 1, H | 1, Tk, d), whichever way round they were multiplied."""
    assert scores.factors is not None  # noqa: S101 - the caller has looked; this is for the type checker
    for one, other in (scores.factors, scores.factors[::-1]):
        query = align(one, (*frame[:3], scores.summed))
        key = align(other, (*frame[:2], frame[3], scores.summed))
        if query is None or key is None:
            continue
        if query.shape[2] == length(frame[2]) and key.shape[2] == length(frame[3]):
            return query, key
    return None


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


def _explains(attention: FactoredAttention, weights: torch.Tensor) -> bool:
    """Whether the factors give the weights: a few rows of every head of two examples.

    Every row where tensors count no versions, and a write to one of them may have been missed.
    """
    n_queries = attention.n_queries
    every = weights.is_inference()
    rows = np.arange(n_queries) if every else np.unique([0, n_queries // 3, n_queries // 2, n_queries - 1])
    heads, keys = slice(0, attention.n_heads), slice(0, attention.n_keys)
    picked = torch.from_numpy(rows).to(weights.device)
    coarse = max(torch.finfo(kind).eps for kind in (weights.dtype, attention.q.dtype, attention.k.dtype, torch.float32))
    for example in range(attention.n_examples) if every else {0, attention.n_examples - 1}:
        allowed = np.broadcast_to(
            attention.allowed(example, heads, rows, keys), (attention.n_heads, len(rows), attention.n_keys)
        )
        seen = torch.from_numpy(allowed.any(-1))[:, :, None]
        expected = torch.from_numpy(attention.weights(example, heads, rows, keys))
        scores = np.where(allowed, np.abs(attention.scores(example, heads, rows, keys)), 0)
        # Rounding of a score is relative to it, and turns into a relative error of its weight.
        relative = 8 * coarse * (1 + float(scores.max(initial=0)))
        actual = weights[example][:, picked].detach().float().cpu()
        off = (expected - actual).abs() > relative * actual.abs() + 4 * coarse
        if bool((off & seen).any()) or bool((actual.isnan() & seen).any()):
            return False
    return True
