"""One pass over weights somebody passes in: impossible values are refused, unusual rows are told."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.errors import AttentionWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCK_BYTES = 4 << 20
_COARSE, _FINE = 2e-2, 1e-3


@dataclass
class Findings:
    """What the pass has seen so far.

    Attributes:
        causal: everything above the diagonal of every head is exactly zero.
        rows: rows seen.
        off: rows whose sum is not 1.
        worst: the sum that is furthest from 1.
    """

    causal: bool
    rows: int = 0
    off: int = 0
    worst: float = 1.0


def inspect_weights(layers: Sequence[NDArray[Any]]) -> Findings:
    """Check (B, H, Tq, Tk) layers, reading each value once.

    Args:
        layers: of any floating point type.

    Returns:
        What was found; rows that do not sum to 1 are also told in an `AttentionWarning`.

    Raises:
        ValueError: a value is NaN, infinite, negative or above 1.
    """
    n_queries, n_keys = layers[0].shape[2:]
    found = Findings(causal=n_queries == n_keys and n_queries > 1)
    for number, layer in enumerate(layers):
        # Sums of rounded values stray further: half precision, and bfloat16 turned into float32, are told by their
        # coarseness.
        tolerance = _COARSE if layer.dtype == np.float16 or _is_coarse(layer) else _FINE
        rows = max(1, BLOCK_BYTES // max(1, layer.shape[1] * n_keys * layer.itemsize))
        for example in layer:
            for start in range(0, n_queries, rows):
                _inspect_block(example[:, start : start + rows], start, number, tolerance, found)
    if found.off:
        _warn(found)
    return found


def _inspect_block(block: NDArray[Any], start: int, layer: int, tolerance: float, found: Findings) -> None:
    """Look at rows `start` on of all heads, (H, q, Tk)."""
    low, high = float(block.min()), float(block.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"layer {layer} holds NaN or infinite values (near query {start}); expected weights between 0 and 1: "
            "look for a row that is masked everywhere, or an overflow in half precision"
        )
    if low < 0 or high > 1 + tolerance:
        worst = low if low < 0 else high
        raise ValueError(
            f"layer {layer} holds {worst:.4g} (near query {start}); expected weights between 0 and 1: these look like "
            "scores before the softmax, or weights that dropout has scaled up; pass softmax(scores), with the model "
            "in eval mode"
        )
    sums = block.sum(axis=-1, dtype=np.float32)  # (H, q)
    away = np.abs(sums - 1)
    found.rows += sums.size
    found.off += int((away > tolerance).sum())
    furthest = float(sums.flat[int(away.argmax())])
    if abs(furthest - 1) > abs(found.worst - 1):
        found.worst = furthest
    if found.causal and np.triu(block, k=start + 1).any():
        found.causal = False


def _is_coarse(layer: NDArray[Any]) -> bool:
    """Whether a float32 array holds what was bfloat16: the lower half of every number's bits is empty."""
    sample = layer.reshape(-1)[:4096] if layer.flags.c_contiguous else layer[0, 0].reshape(-1)[:4096]
    return layer.dtype == np.float32 and not (np.ascontiguousarray(sample).view(np.uint32) & 0xFFFF).any()


def _warn(found: Findings) -> None:
    warnings.warn(
        f"{found.off} of {found.rows} rows do not sum to 1 (the furthest sums to {found.worst:.4g}); they are shown "
        "as they are. Likely reasons: dropout (model.eval() turns it off), scores instead of weights, rows of "
        "padding, or an attention sink",
        AttentionWarning,
        stacklevel=5,
    )
