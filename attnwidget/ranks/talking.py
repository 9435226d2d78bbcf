"""Questions and answers between ranks: one looks, the others answer until they are told to go on."""

from __future__ import annotations

import pickle
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from attnwidget.attention import CaptureError
from attnwidget.attention.pairdetail import pair_detail
from attnwidget.attention.pooling import Pooling
from attnwidget.attention.rounding import moved_by_rounding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attnwidget.attention import AttentionStack

_PATIENCE = timedelta(days=30)
"""How long ranks wait for the next question: as long as a person looks."""

_ERRORS = (ValueError, IndexError, MemoryError)
_QUESTIONS = {"weights", "scores", "allowed", "sink_share", "probe_errors", "has_nan"}


_groups: dict[tuple[int, ...], tuple[Any, Any, int]] = {}
"""By ranks: the world they belong to, their group in it, and how many channels were opened over it."""


class Channel:
    """Between some ranks, apart from whatever else they exchange: on the CPU, and with a patience of its own.

    Every rank of them opens one at the same time. Their group is kept for the next one: a group made again under the
    same name may meet what is left of the one before. Messages carry the number of the channel.

    Args:
        ranks: global ranks.
    """

    def __init__(self, ranks: Sequence[int]) -> None:
        self.ranks = tuple(ranks)
        self._lock = threading.Lock()
        self._why_closed: str | None = None
        world = distributed.group.WORLD
        known = _groups.get(self.ranks)
        if known is None or known[0] is not world:
            group: Any = distributed.new_group(
                list(ranks), timeout=_PATIENCE, backend="gloo", use_local_synchronization=True
            )
            known = world, group, 0
        self._group, self._number = known[1], known[2] + 1
        _groups[self.ranks] = world, self._group, self._number

    def everybodys(self, mine: Any) -> list[Any]:  # noqa: ANN401 - whatever is told
        """What each rank tells the others, in their order."""
        found: list[Any] = [None] * len(self.ranks)
        distributed.all_gather_object(found, mine, group=self._group)
        return found

    def ask(self, rank: int, *question: Any, **options: Any) -> Any:  # noqa: ANN401
        """Ask one rank, and wait for its answer. Several threads may ask.

        Raises:
            CaptureError: the rank is gone, or has gone on.
            ValueError, IndexError, MemoryError: the question raised it there.
        """
        with self._lock:
            if self._why_closed is not None:
                raise CaptureError(self._why_closed)
            try:
                self._send(rank, (question, options))
                answer, error = self._receive(rank)
            except BaseException as broken:
                self._why_closed = (
                    f"a question to rank {rank} got no answer ({type(broken).__name__}: {broken}), and a later one "
                    "might get the wrong one: leave the block, and open it again on all ranks"
                )
                if isinstance(broken, RuntimeError):
                    raise CaptureError(self._why_closed) from broken
                raise
        if error is not None:
            kind, text = error
            raise kind(f"{text} (on rank {rank})")
        return answer

    def serve(self, looker: int, stacks: Mapping[str, AttentionStack]) -> None:
        """Answer questions until told to go on.

        Raises:
            CaptureError: the rank that looks is gone.
        """
        try:
            while (request := self._receive(looker)) is not None:
                self._send(looker, _answer(stacks, *request))
        except RuntimeError as gone:
            raise CaptureError(f"rank {looker}, which looks at this capture, is gone ({gone})") from gone

    def release(self) -> None:
        """Let the others go on. One that is gone already needs no telling."""
        with self._lock:
            self._why_closed = (
                "the other ranks have gone on: ask within the `with aw.gathered(cap)` block, while they wait"
            )
            for rank in self.ranks:
                if rank != distributed.get_rank():
                    with suppress(RuntimeError):
                        self._send(rank, None)

    def _send(self, rank: int, message: Any) -> None:  # noqa: ANN401
        data = torch.frombuffer(bytearray(pickle.dumps(message)), dtype=torch.uint8)
        distributed.send(torch.tensor([len(data)]), rank, group=self._group, tag=self._number)
        distributed.send(data, rank, group=self._group, tag=self._number)

    def _receive(self, rank: int) -> Any:  # noqa: ANN401
        size = torch.zeros(1, dtype=torch.int64)
        distributed.recv(size, rank, group=self._group, tag=self._number)
        data = torch.empty(int(size), dtype=torch.uint8)
        distributed.recv(data, rank, group=self._group, tag=self._number)
        return pickle.loads(data.numpy().tobytes())  # noqa: S301 - from another process of the same program


def _answer(
    stacks: Mapping[str, AttentionStack], question: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, tuple[type[Exception], str] | None]:
    """The answer; or None, and what went wrong: as an error that can travel, and its text."""
    stack, layer, name, *arguments = question
    try:
        asked = stacks[stack].layers[layer]
        if name == "pool":
            return Pooling(asked, *arguments, **options).finish(), None
        if name == "pair_detail":
            return pair_detail(asked, *arguments), None
        if name == "moved_by_rounding":
            return moved_by_rounding(asked), None
        if name not in _QUESTIONS:
            raise ValueError(f"no rank answers {name!r}; expected one of {', '.join(sorted(_QUESTIONS))} or pool")
        return getattr(asked, name)(*arguments, **options), None
    except _ERRORS as error:
        return None, (next(kind for kind in _ERRORS if isinstance(error, kind)), str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, who asked is told, and the next question waits
        return None, (CaptureError, f"{type(error).__name__}: {error}")
