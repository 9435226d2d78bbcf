"""Pieces of work of about a millisecond: each on one thread, several at a time.

Torch splits every operation over all threads and waits for the slowest. With operations as short as ours and a machine
that has other things to do as well, that is mostly waiting: many times slower than one thread alone. Here whole pieces
are handed out, and nobody waits for anybody before the end.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")
_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def crew_size(device: torch.device) -> int:
    """How many pieces are worked on at a time: as many as torch uses threads; one where a device does the work."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def in_order(pieces: Iterable[Callable[[], _T]], size: int) -> Iterator[_T]:
    """Do pieces of work.

    Args:
        pieces: taken one by one, on the thread that asks, a few ahead of what is yielded.
        size: how many are worked on at a time.

    Yields:
        What they return, in order.
    """
    if size == 1:
        for piece in pieces:
            yield piece()
        return
    pool = _pool(size)
    pending: deque[Future[_T]] = deque()
    try:
        for piece in pieces:
            pending.append(pool.submit(piece))
            if len(pending) > 2 * size:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for left in pending:
            left.cancel()


def _pool(size: int) -> ThreadPoolExecutor:
    with _lock:
        if size not in _pools:
            own = torch.get_num_threads()
            pool = ThreadPoolExecutor(size, "attnwidget", initializer=_work_alone)
            met = threading.Barrier(size + 1)
            for _ in range(size):  # as many threads, all of them started now
                pool.submit(met.wait)
            met.wait()
            # A thread's setting is its own, but is what threads begin with that torch has not met yet.
            torch.set_num_threads(own)
            _pools[size] = pool
        return _pools[size]


def _work_alone() -> None:
    torch.get_num_threads()  # torch meets the thread, and would set what others have when it did so later
    torch.set_num_threads(1)


def _forget() -> None:
    """Threads do not come along into a forked process."""
    global _lock  # noqa: PLW0603 - it may have been held
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
