"""A document that is open in a notebook host, whichever it is: what browser tests ask of every one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


class Document(ABC):
    """The document open on a page, with the kernel behind it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @abstractmethod
    def execute(self, code: str) -> str:
        """Run code in the kernel; returns what it printed. What it raises fails here, with its traceback."""

    @abstractmethod
    def version(self) -> str:
        """The version of the host, as it says itself."""

    @abstractmethod
    def cell_count(self) -> int:
        """How many cells the host shows."""

    @abstractmethod
    def darken(self) -> str:
        """Have the page be dark, in the way of the host; returns "dark", or "light" where the host is never dark."""

    @abstractmethod
    def lose_kernel(self) -> None:
        """Have the kernel restart or die, in the way of the host."""

    def run_all(self) -> None:
        """Run every cell, where the host does not do so when it opens the document."""
        return

    def evaluate(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, through JSON."""
        return json.loads(self.execute(f"import json; print(json.dumps({expression}))"))

    def views(self) -> Locator:
        """The views on the page, in the order of the document."""
        return self.page.locator(".attnwidget .root")

    def ready(self, index: int = 0, timeout: float = 30_000) -> Locator:
        """One view, scrolled to, once everything it shows is drawn from real data."""
        view = self.views().nth(index)
        view.scroll_into_view_if_needed(timeout=timeout)
        view.and_(self.page.locator('[data-ready="true"]')).wait_for(timeout=timeout)
        return view
