"""Our function modes, off for a moment: what runs then runs as it would without a capture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def set_aside() -> Callable[[], None]:
    """Take our modes off this thread's stack.

    Returns:
        What puts the stack back as it was.
    """
    whole = _popped()  # the top first
    _push([mode for mode in whole if not hasattr(mode, "attnwidget_watches")])

    def put_back() -> None:
        _popped()
        _push(whole)

    return put_back


def _popped() -> list[Any]:
    count = torch._C._len_torch_function_stack()  # noqa: SLF001 - what torch itself does for this
    return [torch._C._pop_torch_function_stack() for _ in range(count)]  # noqa: SLF001


def _push(modes: list[Any]) -> None:
    for mode in reversed(modes):
        torch._C._push_on_torch_function_stack(mode)  # noqa: SLF001
