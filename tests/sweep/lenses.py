"""Ways in which models hand out their own weights: as they are, as a mean of heads, before a sink, cut ..."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Pair = tuple[Array, Array]

_NDIM = 4
PLAIN = "as they are"
KEYS = ("for the first keys only", "for the last keys only")
SEGMENT = "sequence by sequence, where it packs them into one row"


@dataclass(frozen=True)
class Match:
    """How far captured weights are from what the model handed out.

    Attributes:
        error: the largest difference.
        lens: how the model handed them out.
    """

    error: float
    lens: str


def best_match(weights: Array, given: Array, skipped: NDArray[np.bool_], good: float) -> Match | None:
    """Compare captured weights with what a model handed out, plainly first.

    Args:
        weights: captured, (B, H, Tq, Tk).
        given: by the model, of any shape.
        skipped: (B, H, Tq), rows that mean nothing.
        good: an error that needs no other look.

    Returns:
        The plain match where there is one and it is good, else the best; None if no shape fits.
    """
    best: Match | None = None
    for lens, look in _LENSES.items():
        pair = look(weights, given)
        if pair is None:
            continue
        error = np.abs(pair[0] - pair[1])
        rows = skipped.any(1, keepdims=True) if error.shape[1:2] == (1,) else skipped
        if error.shape[:3] == rows.shape:
            error = np.where(rows[..., None], 0, error)
        match = Match(float(np.nan_to_num(error, nan=np.inf).max(initial=0)), lens)
        if match.error <= good:
            return match
        best = match if best is None or lens == PLAIN else best
    return best


def _plain(weights: Array, given: Array) -> Pair | None:
    if given.shape == weights.shape:
        return weights, given
    # Heads and examples on one axis, or windows on one of their own, anywhere before the queries.
    if given.ndim == _NDIM or given.size != weights.size or given.shape[-2:] != weights.shape[-2:]:
        return None
    count = given.ndim - 2
    orders = (given.transpose(*order, count, count + 1).reshape(weights.shape) for order in permutations(range(count)))
    return weights, min(orders, key=lambda one: float(np.abs(weights - one).mean()))


def _mean(weights: Array, given: Array) -> Pair | None:
    fits = given.shape == (weights.shape[0], *weights.shape[2:])
    return (weights.mean(1, keepdims=True), given[:, None]) if fits else None


def _mean_for_each(weights: Array, given: Array) -> Pair | None:
    mean = np.broadcast_to(weights.mean(1, keepdims=True), weights.shape)
    return (mean, given) if given.shape == weights.shape else None


def _before_sink(weights: Array, given: Array) -> Pair | None:
    if given.shape != weights.shape:
        return None
    sums = weights.sum(-1, keepdims=True)
    if not ((sums > 0) & (sums < 1 - _SHARE)).any():  # there is no sink
        return None
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0), given


def _scores(weights: Array, given: Array) -> Pair | None:
    if given.shape != weights.shape:
        return None
    exponentials = np.exp(given - given.max(-1, keepdims=True))
    return weights, exponentials / exponentials.sum(-1, keepdims=True)


def _cut(rows: slice, columns: slice) -> Callable[[Array, Array], Pair | None]:
    def look(weights: Array, given: Array) -> Pair | None:
        if given.ndim != _NDIM or given.shape[:2] != weights.shape[:2] or given.shape == weights.shape:
            return None
        if given.shape[2] > weights.shape[2] or given.shape[3] > weights.shape[3]:
            return None
        return _part(weights, given, rows, columns), given

    return look


def _segment(weights: Array, given: Array) -> Pair | None:
    """Sequences packed into one row, handed out one by one."""
    length = given.shape[-1]
    if given.ndim != _NDIM or given.shape[:2] != weights.shape[:2] or given.shape[-2] != length:
        return None
    starts = range(weights.shape[-1] - length + 1)
    if weights.shape[-1] != weights.shape[-2] or not 1 < length < weights.shape[-1]:
        return None
    blocks = [weights[..., at : at + length, at : at + length] for at in starts]
    return min(blocks, key=lambda block: float(np.abs(block - given).mean())), given


def _part(weights: Array, given: Array, rows: slice, columns: slice) -> Array:
    n_rows, n_columns = given.shape[2:]
    part = weights[:, :, -n_rows:] if rows == _LAST else weights[:, :, :n_rows]
    return part[..., -n_columns:] if columns == _LAST else part[..., :n_columns]


_SHARE = 1e-3
_FIRST, _LAST = slice(None, 1), slice(-1, None)
_LENSES: dict[str, Callable[[Array, Array], Pair | None]] = {
    PLAIN: _plain,
    "the mean of the heads": _mean,
    "the mean of the heads, for each": _mean_for_each,
    "before the sink takes its share": _before_sink,
    "as scores, before the softmax": _scores,
    SEGMENT: _segment,
    "for the last tokens only": _cut(_LAST, _LAST),
    KEYS[0]: _cut(_FIRST, _FIRST),
    KEYS[1]: _cut(_FIRST, _LAST),
}
