"""What is replaced while captures run, counted, and put back by the last of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from attnwidget.intercept import compiled, flex, interface

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTALLERS = (interface.install, flex.install, compiled.install)
_lock = threading.Lock()
_watchers = 0
_undo: dict[Callable[[], list[Callable[[], None]]], list[Callable[[], None]]] = {}


def watch() -> None:
    """Replace what has to be and is not yet. Where nobody captures, a replacement does what the original does."""
    global _watchers  # noqa: PLW0603 - what is replaced is global too, and the count must stand beside it
    with _lock:
        for install in _INSTALLERS:
            # What had nothing to replace may have by now: a package was imported since.
            if not _undo.get(install):
                _undo[install] = install()
        _watchers += 1


def unwatch() -> None:
    """Put everything back as it was, if nobody watches any more."""
    global _watchers  # noqa: PLW0603
    with _lock:
        _watchers -= 1
        if _watchers == 0:
            for undo in _undo.values():
                while undo:
                    undo.pop()()
