"""What is replaced while captures run, counted, and put back by the last of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from attnwidget.intercept import compiled, flex, interface

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTALLERS = (interface.install, flex.install, compiled.install)
# The garbage collector may end a capture anywhere in this thread, also where the lock is held.
_lock = threading.RLock()
_watchers = 0
_undo: dict[Callable[[], list[Callable[[], None]]], list[Callable[[], None]]] = {}


def watch() -> None:
    """Replace what has to be and is not yet. Where nobody captures, a replacement does what the original does."""
    global _watchers  # noqa: PLW0603 - what is replaced is global too, and the count must stand beside it
    with _lock:
        _watchers += 1
        for install in _INSTALLERS:
            # What had nothing to replace may have by now: a package was imported since.
            if not _undo.get(install):
                _undo[install] = install()


def unwatch() -> None:
    """Put everything back as it was, if nobody watches any more."""
    global _watchers  # noqa: PLW0603
    with _lock:
        _watchers -= 1
        if _watchers == 0:
            for undo in list(_undo.values()):
                while undo:
                    undo.pop()()
