"""Knowing keys again: a key's mark is one number per head, the key seen along one random direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.intercept.along import direction

if TYPE_CHECKING:
    from attnwidget.attention.protocol import Bools, Floats

ROUNDING = 1e-4
"""How far keys of a cache may be from what they were, in units of their size."""
_ALL = 128
_LATEST = 32
_SPREAD = 64


def marks_of(keys: torch.Tensor) -> Floats:
    """Marks (B, Hkv, T) of keys (B, Hkv, T, d).

    Keys that differ have marks that differ, but for a chance of nothing: what `Probe` does to values and outputs
    (Freivalds 1977). Multiplied and summed rather than by a matrix product, which may round more coarsely on request.
    """
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(keys.device.type, enabled=False):
        along = direction(keys.shape[-1], keys.device)
        marks: Floats = (keys.detach().float() * along).sum(-1).cpu().numpy()
    return marks if np.isfinite(marks.sum()) else np.nan_to_num(marks)


def chosen(count: int, turn: int) -> tuple[slice, slice]:
    """Which of so many keys to look at: some, with each turn others, and the latest; of few keys, all of them."""
    if count <= _ALL:
        return slice(0, 0), slice(0, count)
    step = -(-(count - _LATEST) // _SPREAD)
    return slice(turn % step, count - _LATEST, step), slice(count - _LATEST, count)


def apart(new: Floats, old: Floats, seen: Bools | None) -> Floats:
    """How far each example's marks (B, Hkv, T) are from each of the earlier ones (B', Hkv, T).

    Args:
        new: marks.
        old: earlier ones.
        seen: (B, T), keys that are looked at: others, as those of padding, may be anything. None for all of them.

    Returns:
        (B, B'): the mean squared difference, in units of the mean square of the earlier marks.
    """
    return np.stack(
        [_mean(np.square(old - row), None if seen is None else seen[number]) for number, row in enumerate(new)]
    ) / _unit(old)


def apart_in_place(new: Floats, old: Floats, seen: Bools | None = None) -> Floats:
    """How far each example's marks are from the same example's earlier ones: (B,), in the same units."""
    return _mean(np.square(old - new), seen) / _unit(old)


def _mean(squares: Floats, seen: Bools | None) -> Floats:
    """(B,) of (B, Hkv, T), over the keys that are looked at."""
    if seen is None:
        return squares.mean(axis=(1, 2))  # type: ignore[no-any-return]
    columns = squares.mean(axis=1)
    mean: Floats = np.where(seen, columns, 0).sum(axis=-1) / np.maximum(seen.sum(axis=-1), 1)
    return mean


def _unit(marks: Floats) -> float:
    return max(float(np.square(marks).mean()), float(np.finfo(np.float32).tiny))
