"""Weights that somebody already has, as a stored array."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import is_tensor, to_numpy
from attnwidget.attention.mapped import place_of
from attnwidget.attention.memory import MEMORY, not_on_disk
from attnwidget.attention.protocol import Bools, Floats, Index, shape_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.attention.masks import Mask
    from attnwidget.attention.pairdetail import PairDetail
    from attnwidget.attention.probe import Probe

_NDIM = 4


class DenseAttention:
    """A stored (B, H, Tq, Tk) array of weights. Kept as it is, without a copy where there can be one.

    Args:
        weights: (B, H, Tq, Tk) of any float type, NumPy or torch.
        mask: which pairs were allowed, where that is known; without it all of them count as allowed.
        probe: what to check the weights by.
        dropped: these are the weights after dropout, some of them zero for that reason and the others larger.

    Raises:
        ValueError: not a 4-D array of floating point numbers.

    Examples:
        >>> import numpy as np
        >>> attention = DenseAttention(np.full((1, 2, 3, 3), 1 / 3))
        >>> attention.weights(0, slice(0, 1), slice(0, 1), slice(0, 3)).shape
        (1, 1, 3)
    """

    def __init__(
        self,
        weights: Any,  # noqa: ANN401 - any array type
        mask: Mask | None = None,
        probe: Probe | None = None,
        *,
        dropped: bool = False,
    ) -> None:
        # NumPy knows no bfloat16: such a tensor stays one, and only what is asked for is widened.
        narrow = is_tensor(weights) and "bfloat16" in str(weights.dtype)
        array = weights.detach().cpu() if narrow else to_numpy(weights)
        if array.ndim != _NDIM or not (narrow or np.issubdtype(array.dtype, np.floating)):
            raise ValueError(
                f"weights have shape {shape_text(array)} and type {array.dtype}; expected floating point (batch, "
                "heads, queries, keys)"
            )
        self._weights: Any = array
        self.mask = mask
        self.probe = probe
        self.dropped = dropped

    @property
    def array(self) -> Any:  # noqa: ANN401 - NumPy, or a tensor of bfloat16
        """(B, H, Tq, Tk), as it is stored."""
        return self._weights

    @property
    def n_examples(self) -> int:
        """Examples in the batch."""
        return int(self._weights.shape[0])

    @property
    def n_heads(self) -> int:
        """Heads."""
        return int(self._weights.shape[1])

    @property
    def n_key_heads(self) -> None:
        """Not known."""

    @property
    def head_size(self) -> None:
        """Not known."""

    @property
    def n_queries(self) -> int:
        """Rows, padding included."""
        return int(self._weights.shape[2])

    @property
    def n_keys(self) -> int:
        """Columns, padding included."""
        return int(self._weights.shape[3])

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at; None where nothing bounds them."""
        return None if self.mask is None else self.mask.window

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are."""
        held = Counter({place_of(self._weights): int(self._weights.nbytes)})
        held[MEMORY] += 0 if self.mask is None else self.mask.nbytes
        if self.probe is not None:
            held[place_of(self.probe.values)] += self.probe.nbytes
        return held

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""
        return not_on_disk(self.held)

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        words = [
            "weights after dropout" if self.dropped else "weights",
            str(self._weights.dtype).removeprefix("torch."),
        ]
        if self.mask is not None and self.mask.describe():
            words.append(self.mask.describe())
        return ", ".join(words)

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights after the softmax, (h, q, k)."""
        found: Floats = to_numpy(self._weights[example][heads][:, queries][:, :, keys]).astype(np.float32)
        return found

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:  # noqa: ARG002
        """Not known: raises."""
        raise ValueError(
            "scores need q and k, and this layer holds weights only: capture the model with AttentionModel or "
            "aw.capture to have them, or take log(weights), which differs from the scores by a constant per row"
        )

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:  # noqa: ARG002
        """Not known: raises."""
        raise ValueError(
            "q and k are not known: this capture holds weights only, of this layer at least; capture a model that "
            "attends with queries and keys through AttentionModel or aw.capture to have them"
        )

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:  # noqa: ARG002
        """Not known: raises."""
        raise ValueError(
            "the share of a sink needs its logit, and this layer holds weights only: 1 - weights.sum(-1) is what no "
            "key received, for whatever reason"
        )

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask allows, broadcastable to (h, q, k)."""
        if self.mask is None:
            return np.ones((1, 1, 1), dtype=np.bool_)
        return self.mask.allowed(example, heads, queries, keys)

    def probe_errors(self) -> Floats | None:
        """(B, H, r), how far softmax(...) v is from the output of the run; None without a probe."""
        return None if self.probe is None else self.probe.errors(self)

    def has_nan(self) -> bool:
        """Whether weights that the mask allows are not numbers."""
        everything = slice(0, self.n_heads), slice(0, self.n_queries), slice(0, self.n_keys)
        broken = (
            (example, ~np.isfinite(to_numpy(weights))) for example, weights in enumerate(self._weights)
        )  # (H, Tq, Tk), one example at a time
        return any(where.any() and (where & self.allowed(example, *everything)).any() for example, where in broken)

    def __repr__(self) -> str:
        return f"DenseAttention({shape_text(self._weights)}, {self.detail})"
