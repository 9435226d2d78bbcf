"""Ranges of keys and biases in words: "causal in segments of 8", "prefix of 5, then causal", "ALiBi"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Bools, Floats

    Numbers = NDArray[np.int32]

_OTHER = "ranges of keys"
_WINDOW = "causal, window"


def describe_ranges(ranges: Numbers, keys: Bools | None, n_keys: int) -> str:
    """What the ranges amount to.

    Args:
        ranges: (B | 1, H | 1, Tq, m, 2).
        keys: (B | 1, Tk), those that are not padding.
        n_keys: Tk.

    Returns:
        One name if it fits every example and head; without its numbers where only these differ.
    """
    if ranges.shape[3] != 1:
        return f"up to {ranges.shape[3]} ranges of keys"
    known = np.ones((1, n_keys), dtype=np.bool_) if keys is None else keys
    # A range may hold for all examples while padding differs, and the other way round.
    examples = range(max(len(ranges), len(known)))
    found = {
        _name(head[:, 0], known[example if len(known) > 1 else 0])
        for example in examples
        for head in ranges[example if len(ranges) > 1 else 0]
    }
    if len(found) == 1:
        return "".join(found.pop())
    kinds = {kind for kind, _ in found}
    return _OTHER if len(kinds) > 1 else kinds.pop().replace(_WINDOW, "causal, windows")


def _name(ranges: Numbers, keys: Bools) -> tuple[str, str]:
    """The kind of one head's ranges, (Tq, 2), and its numbers."""
    n_queries, n_keys = len(ranges), len(keys)
    rows = np.flatnonzero(ranges[:, 0] < ranges[:, 1])
    if n_keys < n_queries or not rows.size:
        return _OTHER, ""
    # Ranges are as tight as they can be: where one ends is known up to padding, so keys are counted without it.
    ranks = np.concatenate([[0], np.cumsum(keys)])
    start, stop = ranks[ranges[rows, 0]], ranks[ranges[rows, 1]]
    own = rows + n_keys - n_queries  # the key of each query's own token
    before, after = ranks[own], ranks[own + 1]
    if not ((start <= before) & (after <= stop)).all():
        return _OTHER, ""
    if (stop == after).all():
        return _causal(start, before, after)
    bounds = np.flatnonzero(np.diff(start, prepend=-1))
    ends = np.append(start[bounds][1:], stop.max())
    if (stop == np.repeat(ends, np.diff(np.append(bounds, len(rows))))).all():
        return "segments", _sizes(np.append(start[bounds], stop.max()))
    return (_OTHER, "") if start.any() else _partly_causal(stop, after)


def _partly_causal(stop: NDArray[np.intp], after: NDArray[np.intp]) -> tuple[str, str]:
    """Everything before, and something ahead: a prefix, or blocks (an image among text)."""
    ahead = stop[stop > after]
    prefix = (stop[: len(ahead)] == stop[0]).all() and (ahead == stop[0]).all()
    if prefix:
        return "prefix, then causal", f" (prefix of {stop[0]})"
    return "causal, both ways within blocks", ""


def _causal(start: NDArray[np.intp], before: NDArray[np.intp], after: NDArray[np.intp]) -> tuple[str, str]:
    """Causal from the start of a segment on, or from a window's, whichever is later."""
    fresh = start == before
    fresh[0] = True
    segment = start[fresh][np.cumsum(fresh) - 1]
    window = int((after - start).max())
    if not (start == np.maximum(segment, after - window)).all():
        return _OTHER, ""
    bounds = np.append(np.unique(segment), after.max())
    if len(bounds) == len("ab"):
        return _WINDOW, f" {window}"
    numbers = _sizes(bounds)
    return "causal in segments", numbers if window >= np.diff(bounds).max() else f"{numbers}, window {window}"


def _sizes(bounds: NDArray[np.intp]) -> str:
    sizes = np.diff(bounds)
    chunks = (sizes[:-1] == sizes[0]).all() and sizes[-1] <= sizes[0]
    return f" of {sizes[0]}" if chunks else f" of {sizes.min()} to {sizes.max()}"


def describe_added(bias: Floats | None, relative: Floats | None, n_queries: int) -> str:
    """What is added to the scores, by what it depends on."""
    if relative is not None:
        back = relative[..., :n_queries][..., ::-1]  # by how far back the key is, from 0
        return "ALiBi" if _is_linear(back) else "relative bias"
    if bias is not None and bias.shape[2] == 1 and bias.shape[3] > 1:
        return "ALiBi" if _is_linear(bias[:, :, 0]) else "bias per key"
    return "bias"


def _is_linear(table: Floats) -> bool:
    """A slope per head, times a distance, up to rounding ("Train Short, Test Long", Press et al. 2022)."""
    values = table.astype(np.float64)  # (B | 1, H | 1, n)
    used = np.flatnonzero(values.any(axis=(0, 1)))  # what no allowed pair needs is 0
    if len(used) < len("abc"):
        return False
    values = values[..., used[0] : used[-1] + 1]
    if (values[..., 0] == values[..., -1]).any():  # as where padding is made small, and not forbidden
        return False
    steps = np.arange(values.shape[-1])
    line = values[..., :1] + (values[..., -1:] - values[..., :1]) * steps / steps[-1]
    return bool((np.abs(values - line) <= np.abs(values).max() / 100).all())
