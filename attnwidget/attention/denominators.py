"""Softmax denominators of factored attention, as logarithms: a kernel's own, or computed once, row by row."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from attnwidget.attention.protocol import Bools, Index, positions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

COARSE = 256.0
"""From here on numbers in float32 are too far apart to take them from logits: weights would be off by 1e-5 and more."""
_LOWEST, _HIGHEST = torch.finfo(torch.float32).min, torch.finfo(torch.float32).max


class LogSums(NamedTuple):
    """Logarithms of softmax denominators, told by how far they are above the largest logit of their row.

    A softmax takes that off before anything else. Some models add minus a billion to all scores of a row that may look
    at nothing: as one number in float32, the logarithm is minus a billion then, however many keys share the row.

    Attributes:
        rest: (..., q) float32, log(sum of exp(logit - top)); -infinity where a row may look at nothing.
        top: likewise; None: 0 in all rows.
    """

    rest: torch.Tensor
    top: torch.Tensor | None = None

    @classmethod
    def of(cls, logits: torch.Tensor, axis: int) -> LogSums:
        """Of logits along an axis; they are overwritten."""
        top = largest(logits, axis)
        return cls(logits.sub_(top).exp_().sum(axis).log_(), top.squeeze(axis))

    @property
    def lse(self) -> torch.Tensor:
        """(..., q) float32, as one number."""
        return self.rest if self.top is None else self.rest + self.top

    def per_key(self) -> LogSums:
        """With an axis for keys at the end."""
        return LogSums(*(None if part is None else part[..., None] for part in self))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> LogSums:
        """On a device."""
        return LogSums(self.rest.to(device), None if self.top is None else self.top.to(device))

    def joined(self, other: LogSums) -> LogSums:
        """Of both sums together, both of which have tops."""
        assert self.top is not None  # noqa: S101 - the caller knows; this is for the type checker
        assert other.top is not None  # noqa: S101
        top = torch.maximum(self.top, other.top)
        return LogSums(torch.logaddexp(self.rest + (self.top - top), other.rest + (other.top - top)), top)

    def taken_from(self, logits: torch.Tensor) -> torch.Tensor:
        """The logarithms of weights, in place of the logits."""
        return (logits if self.top is None else logits.sub_(self.top)).sub_(self.rest)


def largest(logits: torch.Tensor, axis: int) -> torch.Tensor:
    """The largest along an axis, which stays with length 1; above -infinity, so that it can be taken off.

    With infinity taken off, a row is no number, as softmax has it.
    """
    if logits.shape[axis]:
        return logits.amax(axis, keepdim=True).clamp_(min=_LOWEST)
    return logits.sum(axis, keepdim=True)


class Denominators:
    """Those of one layer, which rows of it are known, and where a single number is not enough.

    Args:
        shape: (B, H, Tq).
        device: where they are computed.
        given: (B, H, Tq) float32, as a kernel returned them; never written to.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device, given: torch.Tensor | None = None) -> None:
        self.shape, self.given, self._device = shape, given, device
        self._lse = given
        self._writing = threading.Lock()
        # (B, H): whose rows are known; of heads where only some are, (Tq,): which. Read without a lock: an entry turns
        # true only after what it stands for is written.
        self.known = np.zeros(shape[:2], dtype=np.bool_)
        self.known_rows: dict[tuple[int, int], Bools] = {}
        self._read = np.zeros(shape[0], dtype=np.bool_)  # whether it was looked for rows of a kernel that are coarse
        self._apart: dict[tuple[int, int], torch.Tensor] = {}  # of heads with such rows, (2, Tq): tops, and rests

    @property
    def lse(self) -> torch.Tensor | None:
        """(B, H, Tq) float32, where they are known for every head; None where some have yet to be computed."""
        return self._lse if self.given is not None or self.known.all() else None

    @property
    def tensors(self) -> Iterator[torch.Tensor]:
        """What is held."""
        if self._lse is not None:
            yield self._lse
        yield from list(self._apart.values())

    @property
    def nbytes_of_rows(self) -> int:
        """Bytes held to tell which rows are known."""
        return sum(rows.nbytes for rows in list(self.known_rows.values()))

    def knows(self, example: int, heads: Index) -> bool:
        """Whether all rows of some heads are known."""
        self._read_given(example)
        return bool(self.known[example][positions_of(heads, self.shape[1])].all())

    def rows_without(self, example: int, head: int, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of some rows that are not known yet."""
        self._read_given(example)
        if self.known[example, head]:
            return rows[:0]
        known = self.known_rows.get((example, head))
        return rows if known is None else rows[~known[rows]]

    def keep(self, example: int, head: int, rows: NDArray[np.intp], found: LogSums) -> None:
        """Remember (q,) of some rows, which have tops."""
        with self._writing:
            if self._lse is None:
                self._lse = torch.empty(self.shape, dtype=torch.float32, device=self._device)
            found = found.to(self._lse.device)
            lse, place = found.lse, (example, head)
            index = torch.from_numpy(rows).to(self._lse.device)
            if self.given is None:
                self._lse[example, head, index] = lse
            if place in self._apart or bool(_are_coarse(lse).any()):
                self._keep_apart(place, index, found)
            known = self.known_rows.setdefault(place, np.zeros(self.shape[2], dtype=np.bool_))
            known[rows] = True
            if known.all():
                self.known[place] = True
                del self.known_rows[place]

    def known_of(self, example: int, heads: Index, queries: Index) -> LogSums:
        """(h, q) of rows that are known."""
        places, rows = positions_of(heads, self.shape[1]), positions_of(queries, self.shape[2])
        if self._lse is None:  # no rows were asked for
            return LogSums(torch.empty((len(places), 0), dtype=torch.float32, device=self._device))
        device = self._lse.device
        index = torch.from_numpy(rows).to(device)
        rest = self._lse[example, torch.from_numpy(places).to(device)[:, None], index]
        apart = {head: tables for head in places.tolist() if (tables := self._apart.get((example, head))) is not None}
        if not apart:
            return LogSums(rest)
        top = torch.zeros_like(rest)
        for number, head in enumerate(places.tolist()):
            if head in apart:
                top[number], rest[number] = apart[head][:, index]
        return LogSums(rest, top)

    def _keep_apart(self, place: tuple[int, int], rows: torch.Tensor, found: LogSums) -> None:
        assert self._lse is not None  # noqa: S101 - the caller knows both; this is for the type checker
        assert found.top is not None  # noqa: S101
        tables = self._apart.get(place)
        if tables is None:
            tables = torch.stack([torch.zeros_like(self._lse[place]), self._lse[place]])
        coarse = _are_coarse(found.lse)
        tables[0, rows] = torch.where(coarse, found.top, 0)
        tables[1, rows] = torch.where(coarse, found.rest, found.lse)
        self._apart[place] = tables

    def _read_given(self, example: int) -> None:
        """Count as known what a kernel gave, where a number in float32 tells it."""
        if self.given is None or self._read[example]:
            return
        with self._writing, torch.inference_mode(False), torch.no_grad():
            if self._read[example]:
                return
            coarse = _are_coarse(self.given[example])
            any_coarse = coarse.any(-1).cpu().numpy()  # (H,)
            for head in np.flatnonzero(any_coarse).tolist():
                self.known_rows[example, head] = (~coarse[head]).cpu().numpy()
            self.known[example] = ~any_coarse
            self._read[example] = True


def _are_coarse(lse: torch.Tensor) -> torch.Tensor:
    sizes = lse.abs()
    return (sizes >= COARSE) & (sizes <= _HIGHEST)
