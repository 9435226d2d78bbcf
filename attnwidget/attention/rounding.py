"""How far weights may be from those of the run, by rounding: of scores, and of queries and keys after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import to_numpy
from attnwidget.attention.protocol import positions_of

if TYPE_CHECKING:
    from attnwidget.attention.protocol import Attention

_FLOAT32 = float(np.finfo(np.float32).eps)


def moved_by_rounding(layer: Attention) -> float:
    """How much of a checked row's weight may have gone elsewhere, to first order: the most over rows and heads.

    With each number of q and k off by half an eps of itself, a score is off by d = eps * scale * sum |q| |k| at most,
    and a weight w, in a row that sums to 1 all the same, by w (d + sum w d). Where q and k are what the run had, scores
    are sums in float32 all the same, and those of thousands are off by a thousandth. A soft cap brings scores nearer to
    each other, and a modifier is taken to move them no further apart.

    Args:
        layer: with a probe, whose rows are looked at. One whose heads are in several places answers for all of them,
            and for one example of a batch the batch does.
    """
    layer = getattr(layer, "whole", layer)
    elsewhere = getattr(layer, "moved_by_rounding", None)
    if elsewhere is not None:
        return float(elsewhere())
    layer = getattr(layer, "windows", layer)
    probe = layer.probe
    if probe is None:
        return 0.0
    if layer.head_size is None:  # weights were rounded themselves, if anything was
        return probe.kept
    eps = max(probe.kept, _FLOAT32)
    rows = positions_of(probe.rows, layer.n_queries)
    heads, keys = range(layer.n_heads), slice(0, layer.n_keys)
    starts = np.cumsum([0, *(part.n_queries for part in _parts(layer))])
    most = 0.0
    for part, start, stop in zip(_parts(layer), starts, starts[1:], strict=False):
        mine = rows[(rows >= start) & (rows < stop)]
        group = part.n_heads // part.n_key_heads
        for example in range(part.n_examples if len(mine) else 0):
            q = np.abs(to_numpy(_of(part.q, example)[:, mine - start]).astype(np.float32))  # (H, r, d)
            weights = layer.weights(example, slice(0, layer.n_heads), mine, keys)
            for head in heads:
                k = np.abs(to_numpy(_of(part.k, example)[head // group]).astype(np.float32))  # (Tk, d)
                score = eps * abs(part.scale) * (q[head] @ k.T)
                most = max(most, float(2 * (weights[head] * score).sum(axis=-1).max(initial=0)))
    return most


def _parts(layer: Any) -> tuple[Any, ...]:  # noqa: ANN401 - factors, or several of them one after another
    return getattr(layer, "parts", (layer,))


def _of(tensor: Any, example: int) -> Any:  # noqa: ANN401 - a tensor
    return tensor[example if tensor.shape[0] > 1 else 0]
