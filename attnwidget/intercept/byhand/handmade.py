"""From a softmax seen by hand to a layer: factors where they explain the weights, else the weights themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from attnwidget.attention import DenseAttention
from attnwidget.attention.protocol import shape_text
from attnwidget.intercept.byhand.axes import Axis, Part, align, fresh, leaves, length
from attnwidget.intercept.byhand.handfactors import factors_of
from attnwidget.intercept.byhand.handframes import Frame, framed_by_hand, with_windows
from attnwidget.intercept.byhand.handmasks import HandMask, hand_mask
from attnwidget.intercept.byhand.roles import frame_of
from attnwidget.intercept.byhand.weighing import PARTLY, SEVERAL
from attnwidget.intercept.calls import MODULE
from attnwidget.intercept.dropout import keep_dropped
from attnwidget.intercept.sdpa import check_readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Attention, Probe
    from attnwidget.intercept.byhand.trails import Weights
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import HandCall

CHANGED = (
    "where the model mixes heads after the softmax, or turns weights into numbers below 0 or above 1, the weights are "
    "the softmax's own"
)
UNTOLD = (
    f"which axes of the weights of {MODULE} count queries, heads and examples could not be told for certain: they may "
    "have changed places"
)
OWN_KEYS = (
    f"some keys of {MODULE} are others for each query or block of queries, as neighbours or what a memory found: their "
    "columns stand for other tokens from row to row"
)
_LOST = 1e-3
"""More weight than this on keys that were cut off is no rounding."""


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
    scores = trail.scores
    frame, is_told = frame_of(call)
    if call.weights.numel() < trail.call.size and trail.whole is None:
        notes.append(PARTLY)
    whole = _whole(trail, frame)
    if whole is not None:  # the other keys meet their values in another product
        frame = (*frame[:3], whole)
    if scores is not None:
        frame, in_windows = with_windows(scores, frame, keeper.places)
        is_told = is_told or in_windows
    if not is_told:
        notes.append(UNTOLD)
    if scores is not None and scores.has_own_keys:
        notes.append(OWN_KEYS)
    attention = _attention(call, frame, keeper, notes)
    return attention if scores is None else framed_by_hand(attention, scores, frame, keeper.places, notes)


def _whole(trail: Weights, frame: Frame) -> Axis | None:
    """All keys of the softmax, where the product with values is over some of them and the others have weight."""
    if trail.whole is None or trail.is_mixed or not trail.whole.is_unchanged():
        return None
    root = leaves(frame[3])[0] if frame[3] else None
    while root is not None and root.source is not None:
        root = root.source[0]
    keys = next((axis for axis in trail.whole.axes if root is not None and root in leaves(axis)), None)
    # A single key without a value is a sink; what is cut off beside it stands for tokens.
    n_cut = 0 if keys is None else length(keys) - length(frame[3])
    if keys is None or n_cut < 1 or (n_cut == 1 and not trail.call.meets_apart):
        return None
    weights = align(trail.whole, (*frame[:3], keys))
    part = align(trail.whole, frame)
    if weights is None or part is None:
        return None
    lost = weights.sum(-1) - part.sum(-1)  # (B, H, Tq)
    return keys if bool((lost > _LOST).any()) else None


def _attention(call: HandCall, frame: Frame, keeper: Keeper, notes: list[str]) -> Attention:
    trail = call.trail
    cut = trail.whole is not None and leaves(frame[3]) != leaves(trail.keys)
    if keeper.dropout and trail.is_mixed:
        raise ValueError(
            "dropout=True, and its heads are mixed after the softmax, so that weights after dropout belong to no head; "
            "leave dropout=True out for the weights before it"
        )
    dropped = keeper.dropout and trail.clean is not None
    used = Part.of(call.weights, trail.axes) if trail.clean is None or dropped else trail.clean
    if cut and trail.whole is not None:
        used = trail.whole
    weights = None if trail.is_mixed else _in_frame(used, frame)
    straight = dropped or (trail.clean is None and not trail.is_mixed)
    if weights is None or not (dropped or trail.source is None or _are_weights(weights)):
        if trail.is_blend:
            raise ValueError(SEVERAL)
        if trail.source is None:
            raise ValueError("its weights were overwritten with numbers that are no weights")
        weights, straight = _in_frame(trail.source, frame), False
        notes.append(CHANGED)
    scores = trail.scores
    mask = HandMask() if scores is None else hand_mask(scores, frame, weights, keeper)
    probe = _probe(call, frame, keeper) if straight and not cut else None
    if dropped:
        return keep_dropped(weights, mask.allowed, keeper, probe)
    if scores is not None and mask.is_complete:
        followed = trail.source is None and not trail.is_touched
        factored = factors_of(scores, frame, weights, mask.whole, probe, keeper, straight=followed)
        if factored is not None:
            return factored
    return DenseAttention(keeper.keep(weights), mask.allowed, probe)


def _in_frame(part: Part, frame: Sequence[Axis]) -> torch.Tensor:
    """(B, H, Tq, Tk)."""
    if not part.is_unchanged():
        raise ValueError("its weights were overwritten before they were multiplied with values")
    weights = align(part, frame)
    if weights is None:
        raise ValueError(
            f"its weights have shape {shape_text(part.tensor)}, and which axes are examples, heads, queries and keys "
            "could not be told"
        )
    return weights


def _are_weights(weights: torch.Tensor) -> bool:
    """Whether numbers are between 0 and 1, to rounding."""
    if not weights.numel():
        return True
    low, high = torch.aminmax(weights.detach())
    return bool((low >= 0) & (high <= 1 + 4 * torch.finfo(weights.dtype).eps)) or bool(low.isnan())


def _probe(call: HandCall, frame: Sequence[Axis], keeper: Keeper) -> Probe | None:
    """What to check the weights by."""
    met = met_values(call, frame)
    return None if met is None else keeper.probe(*met)


def met_values(call: HandCall, frame: Sequence[Axis]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Values (B, Hkv, Tk, dv) and output (B, H, Tq, dv) of a product, in the frame of its weights.

    None where that is more than their product, or its axes could not be told.
    """
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
    return value, output
