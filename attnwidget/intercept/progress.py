"""A bar for captures that take long, of layers or of tokens. Short ones never make one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

DELAY = 2.0
"""Seconds after which it is shown."""


class Progress:
    """Counts what a capture has seen, and shows it after a while.

    Args:
        name: of what is captured.

    Attributes:
        n_tokens: to be generated, where that is known.
    """

    def __init__(self, name: str) -> None:
        self.n_tokens: int | None = None
        self._name = name
        self._due = time.monotonic() + DELAY
        self._layers = 0
        self._bar: Any = None
        self._unit = ""

    @classmethod
    def of(cls, name: str, *, wanted: bool) -> Progress | None:
        """None where none is wanted, and in other threads than the main one, whose output is nobody's."""
        return cls(name) if wanted and threading.current_thread() is threading.main_thread() else None

    def tick(self, passes: int, total: Callable[[], int], *, generating: bool) -> None:
        """A layer has run.

        Args:
            passes: how many runs there were before this one.
            total: layers that one run has; asked only if a bar is shown.
            generating: each run makes a token.
        """
        self._layers += 1
        if time.monotonic() < self._due:
            return
        try:
            if generating:
                self._show("token", passes + 1, self.n_tokens)
            elif passes:
                self._show("pass", passes + 1, None)
            else:
                self._show("layer", self._layers, total())
        except Exception:  # noqa: BLE001 - a terminal that is gone must not disturb the run
            self._due = float("inf")

    def _show(self, unit: str, count: int, total: int | None) -> None:
        if unit != self._unit:
            self.close()
            # Not before it is needed: in a notebook this makes a widget.
            from tqdm.auto import tqdm

            self._unit, self._bar = unit, tqdm(desc=f"capturing {self._name}", total=total, unit=unit, leave=False)
        if total is not None:
            self._bar.total = max(total, count)
        self._bar.update(count - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        bar, self._bar, self._unit = self._bar, None, ""
        if bar is not None:
            bar.close()
