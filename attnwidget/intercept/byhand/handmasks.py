"""From what was added to scores by hand, and where they were replaced, to a compact mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from attnwidget.intercept.byhand.axes import Axis, Part, align, length
from attnwidget.intercept.byhand.steps import FORBIDS
from attnwidget.intercept.byhand.trails import Added, Forbidden, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Mask
    from attnwidget.intercept.keeping import Keeper


@dataclass(frozen=True)
class HandMask:
    """What is known of the mask.

    Attributes:
        whole: allowed pairs and bias.
        allowed: allowed pairs alone.
        is_complete: everything that was added is in `whole`.
    """

    whole: Mask | None = None
    allowed: Mask | None = None
    is_complete: bool = False


def hand_mask(scores: Scores, frame: Sequence[Axis], weights: torch.Tensor, keeper: Keeper) -> HandMask:
    """The mask of one softmax.

    A number of -10,000 or less forbids, if every weight under it is 0 (in rows that may look at anything).

    Args:
        scores: what the softmax was taken of.
        frame: what counts examples, heads, queries and keys.
        weights: (B, H, Tq, Tk) as computed.
        keeper: of the run.
    """
    pieces = [_added(entry, frame, keeper) for entry in scores.added]
    pieces += [_gained(part, frame, keeper) for part in scores.gains]
    complete = all(piece.is_known for piece in pieces)
    whole = keeper.combine(piece.mask for piece in pieces)
    if whole is None:
        return HandMask(is_complete=complete)
    allowed_only = keeper.without_bias(whole)
    # Nothing is left of minus infinity, as long as the formula says all that happened.
    certain = scores.factors is not None and all(piece.is_lowest for piece in pieces)
    if allowed_only is not None and not certain and not _are_zero(weights, allowed_only):
        return HandMask()
    if complete and _is_per_example(whole, weights):
        complete = keeper.is_shared_bias(whole)
    return HandMask(whole, allowed_only, complete)


class _Piece(NamedTuple):
    """What one step did: the mask it makes, whether that is known, and whether it forbids by as good as -inf."""

    mask: Mask | None = None
    is_known: bool = True
    is_lowest: bool = True


def _added(entry: Added | Forbidden, frame: Sequence[Axis], keeper: Keeper) -> _Piece:
    """What one addition or replacement forbids and adds."""
    tensor = align(entry.part, frame) if entry.part.is_unchanged() else None
    if tensor is None:
        return _Piece(is_known=False)
    n_queries, n_keys = length(frame[2]), length(frame[3])
    if isinstance(entry, Forbidden):
        allowed = tensor.bool().logical_not() if entry.where else tensor.bool()
        return _Piece(keeper.masks.recognise(allowed, n_queries=n_queries, n_keys=n_keys), is_lowest=entry.is_lowest)
    if tensor.shape[3] < n_keys and bool((tensor > FORBIDS).all()):
        return _Piece()  # one number for all keys of a row changes no weight
    if entry.factor != 1 or not tensor.is_floating_point():
        tensor = tensor * float(entry.factor)
    found = keeper.masks.recognise(tensor, n_queries=n_queries, n_keys=n_keys, forbids=FORBIDS)
    # The same mask if only what is as good as minus infinity forbids: then nothing in between does.
    return _Piece(found, is_lowest=keeper.masks.recognise(tensor, n_queries=n_queries, n_keys=n_keys) is found)


def _gained(part: Part, frame: Sequence[Axis], keeper: Keeper) -> _Piece:
    """What scores multiplied pair by pair forbid: factors of 0 and 1, as GPT had them, are 0 for forbidden pairs."""
    gain = align(part, frame)
    if gain is None:
        return _Piece(is_known=False)
    if min(gain.shape[2:]) == 1:  # one per query or per key goes with its factor
        return _Piece()
    if not bool(((gain == 0) | (gain == 1)).all()):
        return _Piece(is_known=False)
    found = keeper.masks.recognise(gain.bool(), n_queries=length(frame[2]), n_keys=length(frame[3]))
    return _Piece(found, is_lowest=False)


def _are_zero(weights: torch.Tensor, mask: Mask) -> bool:
    """Whether the model gave no weight to what counts as forbidden, in rows that may look at anything."""
    n_heads, n_queries, n_keys = weights.shape[1:]
    everything = slice(0, n_heads), slice(0, n_queries), slice(0, n_keys)
    for example in range(weights.shape[0]):
        allowed = mask.allowed(example, *everything)  # (H | 1, Tq | 1, Tk)
        forbidden = torch.from_numpy(~allowed & allowed.any(axis=-1, keepdims=True)).to(weights.device)
        if bool((weights[example] * forbidden).any()):
            return False
    return True


def _is_per_example(mask: Mask, weights: torch.Tensor) -> bool:
    """Whether the bias is as large as the weights, and one for each of several examples."""
    return mask.bias is not None and mask.bias.shape == tuple(weights.shape) and weights.shape[0] > 1
