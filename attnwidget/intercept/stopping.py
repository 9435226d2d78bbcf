"""A run that may be stopped from another thread, between two of its operations."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASKED: ContextVar[Callable[[], bool] | None] = ContextVar("attnwidget_stop_asked", default=None)
"""Says whether the captures that begin in this thread or task are to stop; None where nobody may ask."""


class Stopped(BaseException):
    """A run was stopped because it was asked to. No `except Exception` of a model swallows it."""


@contextmanager
def stopping(asked: Callable[[], bool]) -> Iterator[None]:
    """Let captures that begin in this block be stopped.

    They look before every product, linear map and softmax that the capture sees, so several times in each layer; what
    runs unseen (a kernel that is running, a tokenizer, code that a compiler made) comes to its end first. It is raised
    once, so that everything can be put back as after any exception.

    Args:
        asked: whether to stop; called often, from the thread of the run.

    Raises:
        Stopped: from within the run, once `asked` says so.
    """
    token = ASKED.set(asked)
    try:
        yield
    finally:
        ASKED.reset(token)
