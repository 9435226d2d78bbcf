"""One head of factored attention, a block that fits the processor's cache at a time: pooled, summed, or its entropy."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention.bins import Bins
from attnwidget.attention.blockwise import Block
from attnwidget.attention.coverage import ALL, NONE, SOME, coverage, runs
from attnwidget.attention.crew import crew_size, in_order
from attnwidget.attention.denominators import LogSums
from attnwidget.attention.limits import limits
from attnwidget.attention.protocol import Index, positions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from attnwidget.attention.bins import Panel, Picks
    from attnwidget.attention.factored import FactoredAttention
    from attnwidget.attention.pooling import Reduce
    from attnwidget.attention.protocol import Floats

    Places = NDArray[np.intp]
    _Add = Callable[..., tuple[NDArray[np.floating], NDArray[np.int64] | None]]

_PAIR_BYTES, _MODIFIED_PAIR_BYTES = 16, 64
"""What a pair of a block takes at most: its score, masks and biases on the way; indices and copies for a modifier."""
_CACHED_PAIRS, _DEVICE_PAIRS = 1 << 20, 1 << 23
"""Pairs of a block, at most: 4 MB of scores stay near a processor; other devices want more at once."""
_ROWS, _FEW_ROWS, _GRAIN = 512, 128, 64
_FEW_PAIRS = 1 << 16


@contextmanager
def plain_maths(device: torch.device) -> Iterator[None]:
    """Float32 means float32, and what is made here may be written to later, whatever mode the person asks from."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def of_example(tensor: torch.Tensor, example: int) -> torch.Tensor:
    """The part of one example; a tensor with one entry holds for all of them."""
    return tensor[example if tensor.shape[0] > 1 else 0]


def torch_index(index: Index, device: torch.device) -> slice | torch.Tensor:
    """An index that torch understands, where the tensor is."""
    return index if isinstance(index, slice) else torch.from_numpy(index).to(device)


class HeadBlocks:
    """Blocks of one head, keys x queries: sums and maxima over keys then run along whole rows, which is fast.

    Args:
        attention: whose head.
        example: of the batch.
        head: which head.
    """

    def __init__(self, attention: FactoredAttention, example: int, head: int) -> None:
        self.attention, self.example, self.head = attention, example, head
        self.device = attention.q.device
        self._size = crew_size(self.device)
        group = attention.n_heads // attention.n_key_heads
        self._q = of_example(attention.q, example)[head]  # (Tq, d)
        self._k = of_example(attention.k, example)[head // group]  # (Tk, d)
        mask, modifier = attention.mask, attention.modifier
        self._adds = mask is not None and (mask.bias is not None or mask.relative is not None)
        self._modifier_forbids = modifier is not None and modifier.may_forbid
        # Scale and soft cap keep the order of scores: they may be applied to maxima.
        self._late = modifier is None and not self._adds and attention.scale > 0

    @property
    def _pairs(self) -> int:
        most = _CACHED_PAIRS if self.device.type == "cpu" else _DEVICE_PAIRS
        each = _PAIR_BYTES if self.attention.modifier is None else _MODIFIED_PAIR_BYTES
        return max(1, min(most, limits.block_bytes // (each * self._size)))

    def pool(self, rows: Picks, keys: Picks, reduce: Reduce) -> Iterator[Block]:
        """Pool a rectangle, block by block.

        Args:
            rows: of queries.
            keys: of keys; all of them are looked at.
            reduce: "max" or "mean".

        Yields:
            What each block adds, and parts that took time and add nothing.
        """
        pieces = self._pieces(rows, keys, self._largest if reduce == "max" else self._sums)
        # Handing out what takes no time costs more than doing it.
        return in_order(pieces, 1 if rows.total * keys.total < _FEW_PAIRS else self._size)

    def _pieces(self, rows: Picks, keys: Picks, add: _Add) -> Iterator[Callable[[], Block]]:
        span = keys.bins.start, keys.bins.stop
        for row_panel in rows.panels(self._rows_at_once(rows.total)):
            places = row_panel.index
            positions = positions_of(places, self.attention.n_queries)
            n_rows = int(row_panel.counts.sum())
            for block in self.denominators(np.unique(positions)):
                yield partial(_itself, block)
            with plain_maths(self.device):
                sums = self._log_sums(places)
            states = self._coverage(positions, span)
            for first, last, state in runs(states, keys.bins):
                if state == NONE:
                    yield partial(_itself, Block(n_rows * keys.bins.part(first, last).length))
                    continue
                for key_panel in keys.panels(max(1, self._pairs // len(positions)), first, last):
                    yield partial(self._pooled, add, row_panel, key_panel, sums, masked=state == SOME)

    def _pooled(self, add: _Add, rows: Panel, keys: Panel, sums: LogSums, *, masked: bool) -> Block:
        with plain_maths(self.device):
            values, counts = add(rows, keys, sums, masked=masked)
        return Block(int(rows.counts.sum()) * int(keys.counts.sum()), rows.first, keys.first, values, counts)

    def denominators(self, rows: Places) -> Iterator[Block]:
        """Find the softmax denominators of rows where they are not known, and let the attention keep them."""
        rows = self.attention.denominators.rows_without(self.example, self.head, rows)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            with plain_maths(self.device):
                # Nothing at all; or a sink, of which there is one.
                sinks = self.attention.sinks
                logits = torch.full((1, len(part)), -torch.inf, device=self.device)
                sums = LogSums.of(logits if sinks is None else logits.copy_(sinks[self.head]), axis=0)
            pieces = (partial(self._sums_of, _contiguous(part), *block) for block in self._key_blocks(part))
            for found in in_order(pieces, self._size):
                with plain_maths(self.device):
                    sums = sums.joined(found)
                yield Block(0)
            with plain_maths(self.device):
                self.attention.denominators.keep(self.example, self.head, part, sums)

    def entropies(self, rows: Places) -> Floats:
        """Entropy of whole rows in bits, (q,); NaN where nothing is allowed."""
        entropies = np.full(len(rows), np.nan, dtype=np.float32)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            with plain_maths(self.device):
                sums = self._log_sums(_contiguous(part))
                nats = torch.zeros(len(part), dtype=torch.float32, device=self.device)
                seen = torch.zeros(len(part), dtype=torch.bool, device=self.device)
            pieces = (partial(self._nats, _contiguous(part), sums, *block) for block in self._key_blocks(part))
            for more, allowed in in_order(pieces, self._size):
                with plain_maths(self.device):
                    nats += more
                    seen |= allowed
            with plain_maths(self.device):
                bits = nats.clamp_(min=0).div_(np.log(2)).masked_fill_(~seen, torch.nan)
            entropies[start : start + _ROWS] = bits.cpu().numpy()
        return entropies

    def _sums_of(self, rows: Index, keys: slice, masked: bool) -> LogSums:  # noqa: FBT001 - of `_key_blocks`
        with plain_maths(self.device):
            return LogSums.of(self._logits(rows, keys, masked=masked)[0], axis=0)

    def _nats(
        self,
        rows: Index,
        sums: LogSums,
        keys: slice,
        masked: bool,  # noqa: FBT001 - of `_key_blocks`
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What some keys add to the entropy of rows, and which rows may look at any of them."""
        with plain_maths(self.device):
            logits, forbidden = self._logits(rows, keys, masked=masked)
            logs = sums.taken_from(logits)
            seen = torch.ones_like(sums.rest, dtype=torch.bool) if forbidden is None else ~forbidden.all(0)
            # A weight of 0 has no logarithm, and adds nothing.
            nats = torch.exp(logs).mul_(logs.clamp_(min=torch.finfo(torch.float32).min)).sum(0).neg_()
        return nats, seen

    def _rows_at_once(self, total: int) -> int:
        return max(1, min(self._pairs, _ROWS, max(_FEW_ROWS, total // 8)))

    def _key_blocks(self, rows: Places) -> Iterator[tuple[slice, bool]]:
        """Blocks of the keys that some of the rows may look at, and whether they need the mask."""
        n_keys, step = self.attention.n_keys, max(1, self._pairs // len(rows))
        if not n_keys:
            return
        bins = Bins.even(0, n_keys, -(-n_keys // _GRAIN))
        for first, last, state in runs(self._coverage(rows, (0, n_keys)), bins):
            part = bins.part(first, last)
            for start in range(part.start, part.stop, step) if state != NONE else ():
                yield slice(start, min(start + step, part.stop)), state == SOME

    def _coverage(self, rows: Places, keys: tuple[int, int]) -> NDArray[np.uint8]:
        states = coverage(self.attention.mask, self.example, self.head, rows, keys)
        if self._modifier_forbids:
            states[states == ALL] = SOME
        return states

    def _log_sums(self, rows: Index) -> LogSums:
        """(q,), computed where they are not known yet."""
        sums = self.attention.log_sums(self.example, slice(self.head, self.head + 1), rows).to(self.device)
        return LogSums(sums.rest[0], None if sums.top is None else sums.top[0])

    def _largest(self, rows: Panel, keys: Panel, sums: LogSums, *, masked: bool) -> tuple[NDArray[np.floating], None]:
        shape = (*keys.shape, -1)
        scores = self._scores(rows.index, keys.index)
        forbidden = self._forbidden(rows.index, keys.index, scores) if masked else None
        if forbidden is not None:
            scores.masked_fill_(forbidden, -torch.inf)
        top = scores.view(shape).amax(1) if keys.shape[1] > 1 else scores  # (n, q)
        # All that comes now keeps the order of scores.
        weights = _weights(self._finish(top) if self._late else top, sums)
        if forbidden is not None:
            weights.masked_fill_(forbidden.view(shape).all(1), -torch.inf)
        return weights.view(len(weights), *rows.shape).amax(2).T.cpu().numpy(), None

    def _sums(
        self, rows: Panel, keys: Panel, sums: LogSums, *, masked: bool
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        logits, forbidden = self._logits(rows.index, keys.index, masked=masked)
        weights = _weights(logits, sums)
        for axis, panel in enumerate((keys, rows)):
            if len(panel.repeats):
                repeats = torch.from_numpy(panel.repeats).to(self.device)
                weights.index_fill_(axis, repeats, 0)
                if forbidden is not None:
                    forbidden.index_fill_(axis, repeats, True)
        if forbidden is None:
            counts = np.outer(rows.counts, keys.counts)
        else:
            weights.masked_fill_(forbidden, 0)
            counts = self._summed(forbidden.logical_not_(), rows, keys).astype(np.int64)
        return self._summed(weights, rows, keys), counts

    @staticmethod
    def _summed(part: torch.Tensor, rows: Panel, keys: Panel) -> NDArray[np.float64]:
        """(k, q) -> (bins of queries, bins of keys)."""
        summed = part.view(*keys.shape, -1).sum(1, dtype=torch.float32)  # (n, q)
        found: NDArray[np.float64] = summed.view(len(summed), *rows.shape).sum(2).T.cpu().numpy().astype(np.float64)
        return found

    def _scores(self, rows: Index, keys: Index) -> torch.Tensor:
        """(k, q), neither masked nor, where that may come later, finished."""
        q = self._q[torch_index(rows, self.device)].float()
        k = self._k[torch_index(keys, self.device)].float()
        scores = torch.mm(k, q.T)
        return scores if self._late else self._complete(self._finish(scores), rows, keys)

    def _logits(self, rows: Index, keys: Index, *, masked: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(k, q), finished, -infinity where the mask forbids; and where it forbids, or None."""
        scores = self._scores(rows, keys)
        logits = self._finish(scores) if self._late else scores
        if not masked:
            return logits, None
        forbidden = self._forbidden(rows, keys, logits)
        return logits.masked_fill_(forbidden, -torch.inf), forbidden

    def _finish(self, scores: torch.Tensor) -> torch.Tensor:
        """Scale and soft cap."""
        scores.mul_(self.attention.scale)
        cap = self.attention.softcap
        return scores.div_(cap).tanh_().mul_(cap) if cap else scores

    def _complete(self, scores: torch.Tensor, rows: Index, keys: Index) -> torch.Tensor:
        """Modifier and bias."""
        attention = self.attention
        if attention.modifier is not None:
            places = positions_of(rows, attention.n_queries), positions_of(keys, attention.n_keys)
            scores = attention.modifier(scores.T[None], self.example, np.array([self.head]), *places)[0].T.contiguous()
        if self._adds and attention.mask is not None:
            bias = attention.mask.added(self.example, slice(self.head, self.head + 1), rows, keys)
            if bias is not None:
                scores += torch.from_numpy(np.ascontiguousarray(bias[0].T)).to(self.device)
        return scores

    def _forbidden(self, rows: Index, keys: Index, scores: torch.Tensor) -> torch.Tensor:
        """(k, q)."""
        shape = tuple(scores.shape)
        if self.attention.mask is None:
            forbidden = torch.zeros(shape, dtype=torch.bool, device=self.device)
        else:
            allowed = self.attention.mask.allowed(self.example, slice(self.head, self.head + 1), rows, keys)[0]
            forbidden = torch.from_numpy(~np.broadcast_to(allowed.T, shape)).contiguous().to(self.device)
        return forbidden | (scores == -torch.inf) if self._modifier_forbids else forbidden


def _itself(block: Block) -> Block:
    return block


def _weights(logits: torch.Tensor, sums: LogSums) -> torch.Tensor:
    """exp(logits - lse), as `FactoredAttention.weights` has it."""
    weights = torch.exp_(sums.taken_from(logits)).clamp_(max=1)
    empty = torch.isneginf(sums.rest)
    return weights.masked_fill_(empty, 0) if bool(empty.any()) else weights


def _contiguous(places: Places) -> Index:
    """A slice where positions are one."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places
