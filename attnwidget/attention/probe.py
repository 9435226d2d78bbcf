"""A check on an attention that needs no reference: do its weights lead from the values to the output of the run?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import to_numpy
from attnwidget.attention.protocol import positions_of

if TYPE_CHECKING:
    from attnwidget.attention.protocol import Attention, Floats, Index


@dataclass(frozen=True, eq=False)
class Probe:
    """What is left of values v and output o of one attention call, seen along one random direction r.

    Where o = w v, also o r = w (v r): one number per key and one per checked row stand for the whole of v and o. A
    wrong w passes only if its error is at a right angle to r (Freivalds, "Probabilistic machines can use less running
    time", 1977).

    Attributes:
        values: (B | 1, Hkv, Tk) float32, v r; NumPy or torch, on any device.
        rows: the checked queries.
        outputs: (B, H, r) float32, o r; likewise.
        epsilon: relative rounding of the type the run computed in.
        kept: relative rounding of queries and keys (or weights) after the run, where they are kept in a coarser type
            than it computed them in; 0 where they are as the run had them.
    """

    values: Any
    rows: Index
    outputs: Any
    epsilon: float
    kept: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.values.nbytes + self.outputs.nbytes)

    def errors(self, attention: Attention) -> Floats:
        """How far softmax(...) v is from the output of the run, in units of the largest value.

        Args:
            attention: whose weights are checked.

        Returns:
            (B, H, r) float32, 0 in rows that may look at nothing.
        """
        heads, keys = slice(0, attention.n_heads), slice(0, attention.n_keys)
        rows = positions_of(self.rows, attention.n_queries)
        known, outputs = to_numpy(self.values), to_numpy(self.outputs)
        group = attention.n_heads // known.shape[1]
        errors = np.zeros(outputs.shape, dtype=np.float32)
        for example in range(attention.n_examples):
            seen = np.broadcast_to(
                attention.allowed(example, heads, rows, keys),
                (attention.n_heads, len(rows), len(range(keys.stop))),
            ).any(-1)  # (H, r)
            weights = attention.weights(example, heads, rows, keys)  # (H, r, Tk)
            values = known[example if known.shape[0] > 1 else 0].repeat(group, axis=0)  # (H, Tk)
            expected = np.einsum("hrk,hk->hr", weights, values)
            scale = max(float(np.abs(values).max(initial=0)), np.finfo(np.float32).tiny)
            errors[example] = np.where(seen, np.abs(expected - outputs[example]) / scale, 0)
        return errors
