"""A bar for what takes long. Short work never shows one."""

from __future__ import annotations

import threading
from typing import Any

DELAY = 2.0
"""Seconds after which it is shown."""


def bar(total: int | None, name: str, unit: str, *, wanted: bool) -> Any:  # noqa: ANN401 - tqdm ships no types
    """A bar, shown after a while; never in other threads than the main one, whose output is nobody's.

    Args:
        total: how many there are; None where that is not known.
        name: of the work.
        unit: what is counted.
        wanted: False for none.
    """
    from tqdm.auto import tqdm

    hidden = not wanted or threading.current_thread() is not threading.main_thread()
    return tqdm(total=total, desc=name, unit=unit, leave=False, delay=DELAY, disable=hidden)
