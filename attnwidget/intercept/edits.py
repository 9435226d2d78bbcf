"""What may be done to the result z of a head, before the output projection: see `changing`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from attnwidget.attention import CaptureError, FactoredAttention
from attnwidget.attention.blocks import of_example, torch_index
from attnwidget.attention.limits import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import Attention
    from attnwidget.attention.protocol import Floats
    from attnwidget.intercept.changing import AttentionCall

Rows: TypeAlias = "Callable[[NDArray[np.intp], NDArray[np.intp] | None], Floats]"
"""Weights (h, q, Tk) of some rows, without some keys."""
_SINK = 1e-3
"""A row that lacks more than this of 1 has a sink; less is rounding."""
_PAIR_BYTES = 16
"""What a pair of a block takes at most: its weight, its mask, and copies of both."""


@dataclass(frozen=True, eq=False)
class Zero:
    """z = 0.

    Attributes:
        heads: which.
        example: of the batch that runs.
    """

    heads: tuple[int, ...]
    example: int = 0

    def __call__(self, call: AttentionCall) -> None:
        """Write."""
        call.output[self.example, list(self.heads)] = 0


@dataclass(frozen=True, eq=False)
class Mean:
    """z = what is given, in every row.

    Attributes:
        heads: which.
        means: (H, dv), of all heads of the layer.
        example: of the batch that runs.
    """

    heads: tuple[int, ...]
    means: torch.Tensor
    example: int = 0

    def __call__(self, call: AttentionCall) -> None:
        """Write."""
        heads = list(self.heads)
        call.output[self.example, heads] = self.means[heads][:, None].to(call.output)


@dataclass(frozen=True, eq=False)
class Uniform:
    """z[i] = the mean of the values of the keys that row i may look at; 0 where it may look at none.

    Attributes:
        heads: which.
        layer: says what may be looked at.
        example: of the batch that runs.
    """

    heads: tuple[int, ...]
    layer: Attention
    example: int = 0

    def __call__(self, call: AttentionCall) -> None:
        """Write, some rows at a time."""
        heads = np.array(self.heads)
        values = _values(call, self.example, heads)
        keys = slice(0, self.layer.n_keys)
        for rows in _row_blocks(len(heads), np.arange(self.layer.n_queries), self.layer.n_keys):
            shape = len(heads), len(rows), self.layer.n_keys
            allowed = np.broadcast_to(self.layer.allowed(0, heads, rows, keys), shape)
            weights = allowed / np.maximum(allowed.sum(-1, keepdims=True), 1)
            _write(call, self.example, heads, rows, _product(weights, values))


@dataclass(frozen=True, eq=False)
class Cut:
    """Scores of some pairs are -infinity, and the rows normalised again; 0 where nothing is left to look at.

    Attributes:
        heads: which.
        rows: of the queries.
        keys: that they are cut off from.
        layer: says what is added to the scores and how they become weights.
        path: of the module, for errors.
        example: of the batch that runs.
    """

    heads: tuple[int, ...]
    rows: NDArray[np.intp]
    keys: NDArray[np.intp]
    layer: Attention
    path: str
    example: int = 0

    def __call__(self, call: AttentionCall) -> None:
        """Write, some rows at a time.

        Raises:
            CaptureError: how the layer weighs its keys is not known, or depends on what came before.
        """
        heads = np.array(self.heads)
        values = _values(call, self.example, heads)
        rows_of = self._again(call, heads) if call.weights is None else self._by_hand(call.weights, heads)
        for rows in _row_blocks(len(heads), self.rows, self.layer.n_keys):
            self._check(call, rows, _product(rows_of(rows, None), values), values)
            _write(call, self.example, heads, rows, _product(rows_of(rows, self.keys), values))

    def _again(self, call: AttentionCall, heads: NDArray[np.intp]) -> Rows:
        """Rows from the queries and keys of this run, and all else from the layer as it was captured."""
        layer = self.layer
        if not isinstance(layer, FactoredAttention) or call.factors is None:
            raise CaptureError(
                f"attention of {self.path} cannot be cut: its weights are kept as they were, since queries, keys and "
                "mask do not explain them; choose other layers, or ablate its heads"
            )
        query, key = (of_example(part, self.example)[None] for part in call.factors)
        again = FactoredAttention(
            query,
            key,
            scale=layer.scale,
            softcap=layer.softcap,
            sinks=layer.sinks,
            mask=layer.mask,
            modifier=layer.modifier,
        )
        return lambda rows, without: again.rows(0, heads, rows, without=without)

    def _by_hand(self, made: torch.Tensor, heads: NDArray[np.intp]) -> Rows:
        """Rows of the weights that were made by hand; what a learned sink took of them stays its own."""
        weights = of_example(made, self.example)  # (H, Tq, Tk)
        lacking = max(_SINK, 4 * torch.finfo(made.dtype).eps)

        def rows_of(rows: NDArray[np.intp], without: NDArray[np.intp] | None) -> Floats:
            device = weights.device
            picked = weights[torch_index(heads, device)][:, torch_index(rows, device)].float()
            if without is not None:
                sink = 1 - picked.sum(-1, keepdim=True)
                picked[:, :, torch_index(without, device)] = 0
                total = picked.sum(-1, keepdim=True) + sink.where(sink > lacking, 0)
                picked = picked / total.where(total > 0, 1)
            found: Floats = picked.cpu().numpy()
            return found

        return rows_of

    def _check(self, call: AttentionCall, rows: NDArray[np.intp], expected: torch.Tensor, values: torch.Tensor) -> None:
        """Whether the same computation, with nothing cut, gives what the model computed."""
        heads = torch_index(np.array(self.heads), call.output.device)
        output = call.output[self.example][heads][:, torch_index(rows, call.output.device)].float()
        seen = np.broadcast_to(
            self.layer.allowed(0, np.array(self.heads), rows, slice(0, self.layer.n_keys)),
            (len(self.heads), len(rows), self.layer.n_keys),
        ).any(-1)
        error = (output - expected).abs().amax(-1)[torch.from_numpy(seen).to(output.device)]
        tolerance = max(1e-4, 16 * torch.finfo(call.output.dtype).eps) * float(values.abs().amax().clamp(min=1e-6))
        if bool((error > tolerance).any()):
            raise CaptureError(
                f"attention of {self.path} cannot be cut: computed again from its queries, keys and mask, its output "
                f"is off by {float(error.max()):.3g}, expected {tolerance:.3g} at most. Something added to its scores "
                "depends on the run; choose other layers, or ablate its heads"
            )


@dataclass(eq=False)
class Watch:
    """Changes nothing: adds up the results of all heads over some rows.

    Attributes:
        rows: of the queries.
        total: (H, dv) float64, once a call came by.
        count: rows added up.
    """

    rows: slice
    total: torch.Tensor | None = None
    count: int = field(default=0)

    def __call__(self, call: AttentionCall) -> None:
        """Read."""
        rows = call.output[0, :, self.rows].double()  # (H, rows, dv)
        self.total = rows.sum(1) if self.total is None else self.total + rows.sum(1)
        self.count += rows.shape[1]

    @staticmethod
    def mean_of(watches: Sequence[Watch]) -> torch.Tensor:
        """(H, dv) float64, over all rows that several have seen of one layer."""
        totals = [watch.total for watch in watches if watch.total is not None]
        return torch.stack(totals).sum(0) / sum(watch.count for watch in watches)


def _values(call: AttentionCall, example: int, heads: NDArray[np.intp]) -> torch.Tensor:
    """Values (h, Tk, dv) of these query heads; float32."""
    group = call.output.shape[1] // call.value.shape[1]
    return of_example(call.value, example)[torch_index(heads // group, call.value.device)].float()


def _product(weights: NDArray[np.floating], values: torch.Tensor) -> torch.Tensor:
    """(h, q, dv)."""
    return torch.matmul(torch.from_numpy(weights.astype(np.float32)).to(values.device), values)


def _write(
    call: AttentionCall, example: int, heads: NDArray[np.intp], rows: NDArray[np.intp], found: torch.Tensor
) -> None:
    device = call.output.device
    call.output[example, torch_index(heads[:, None], device), torch_index(rows[None], device)] = found.to(call.output)


def _row_blocks(n_heads: int, rows: NDArray[np.intp], n_keys: int) -> list[NDArray[np.intp]]:
    """Rows in blocks that fit."""
    size = max(1, limits.block_bytes // (_PAIR_BYTES * max(1, n_heads * n_keys)))
    return [rows[start : start + size] for start in range(0, len(rows), size)]
