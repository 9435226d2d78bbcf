"""A mask on a device: read there, so that a few numbers per row leave it and not every pair."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from attnwidget.attention.packed import RowSummary, blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.attention.packed import Bytes
    from attnwidget.attention.protocol import Bools

_BLOCK_PAIRS = 16 << 20
"""Of a block that is looked at in one go, at most: about ten bytes a pair while it is."""
_BYTE = 8


class _Read(NamedTuple):
    rows: RowSummary
    seen: Bools
    adds: bool


class DeviceMask:
    """As `PackedMask`, of a mask that is not in memory. Its bits are packed only when somebody asks for them.

    Args:
        mask: (B | 1, H | 1, Tq | 1, Tk | 1), from `four_dimensional`.
        n_queries: Tq.
        n_keys: Tk.
        lowest: additive values of this or less forbid.
        is_causal: forbid keys to the right of the diagonal too.
    """

    def __init__(
        self, mask: torch.Tensor, n_queries: int, n_keys: int, lowest: float, *, is_causal: bool = False
    ) -> None:
        self._boolean = mask.dtype == torch.bool
        self._lowest, self._is_causal = lowest, is_causal
        self._wide = mask.detach().expand(*mask.shape[:2], n_queries if is_causal else mask.shape[2], n_keys)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B | 1, H | 1, Tq | 1)."""
        batch, heads, n_rows, _ = self._wide.shape
        return batch, heads, n_rows

    @property
    def rows(self) -> RowSummary:
        """What there is in each row, (B, H, Tq)."""
        return self._read.rows

    @property
    def adds(self) -> bool:
        """Whether something else than zero is added to the scores of allowed pairs."""
        return self._read.adds

    def seen(self, spared: Bools | None = None) -> Bools:
        """Which keys some row may look at, (B, Tk); `spared`: (B, H, Tq), rows that do not count."""
        if spared is None:
            return self._read.seen
        counting = torch.from_numpy(~spared).to(self._wide.device)
        found = self._no_keys()
        for example, head, rows, allowed in self._blocks():
            found[example] |= (allowed & counting[example, head, rows, None]).any(0)
        return _in_memory(found)

    @cached_property
    def bits(self) -> Bytes:
        """(B, H, Tq, ceil(Tk / 8)): an eighth of the mask leaves the device."""
        n_keys = self._wide.shape[3]
        bits = np.empty((*self.shape, -(-n_keys // _BYTE)), dtype=np.uint8)
        values = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=self._wide.device)
        for example, head, rows, allowed in self._blocks():
            padded = torch.nn.functional.pad(allowed.to(torch.uint8), (0, -n_keys % _BYTE))
            packed = (padded.reshape(len(padded), -1, _BYTE) * values).sum(-1, dtype=torch.uint8)
            bits[example, head, rows] = _in_memory(packed)
        return bits

    def without_equal_heads(self) -> DeviceMask:
        """With one head where all are alike: a bias per head often comes with one mask for all of them."""
        wide = self._wide
        differs = torch.zeros((), dtype=torch.bool, device=wide.device)
        for (example, head), rows in blocks_of(wide, _BLOCK_PAIRS) if wide.shape[1] > 1 else ():
            differs |= (self._allowed(example, head, rows) != self._allowed(example, 0, rows)).any()
        if wide.shape[1] == 1 or bool(differs):
            return self
        return DeviceMask(wide[:, :1], wide.shape[2], wide.shape[3], self._lowest, is_causal=self._is_causal)

    @cached_property
    def _read(self) -> _Read:
        """All that is mostly asked for, in one go: the device is waited for once."""
        wide, n_keys = self._wide, self._wide.shape[3]
        found, adds = self._no_keys(), torch.zeros((), dtype=torch.bool, device=wide.device)
        parts = []
        for example, head, rows, allowed in self._blocks():
            found[example] |= allowed.any(0)
            count = allowed.sum(-1, dtype=torch.int32)
            ones = allowed.to(torch.int32)  # of equal ones the first is told; else the count would not fit
            first, past = ones.argmax(-1), n_keys - ones.flip(-1).argmax(-1)
            parts.append(torch.stack([first, past, count.to(first.dtype)]) * (count > 0))
            if not self._boolean:
                adds |= ((wide[example, head, rows] != 0) & allowed).any()
        told = _in_memory(torch.cat(parts, dim=1).to(torch.int32)).reshape(3, *self.shape)
        return _Read(RowSummary(*told), _in_memory(found), bool(adds))

    def _blocks(self) -> Iterator[tuple[int, int, slice, torch.Tensor]]:
        """Example, head, rows, and which pairs are allowed there (rows, Tk)."""
        for (example, head), rows in blocks_of(self._wide, _BLOCK_PAIRS):
            yield example, head, rows, self._allowed(example, head, rows)

    def _allowed(self, example: int, head: int, rows: slice) -> torch.Tensor:
        block = self._wide[example, head, rows]
        allowed = block if self._boolean else ~(block <= self._lowest)
        return allowed & torch.ones_like(allowed).tril(rows.start) if self._is_causal else allowed

    def _no_keys(self) -> torch.Tensor:
        return torch.zeros((self._wide.shape[0], self._wide.shape[3]), dtype=torch.bool, device=self._wide.device)


def _in_memory(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
