"""A line of Python and its answer, inside a document: for hosts in which a page cannot talk to the kernel itself.

The cells of a document make the console out of what the host has for that, and hand what is typed to `answer`.
"""

from __future__ import annotations

import contextlib
import io
import json
import traceback
from typing import TYPE_CHECKING, Any

from document import Document

if TYPE_CHECKING:
    from playwright.sync_api import Page


def answer(line: str, names: dict[str, Any]) -> str:
    """Run what was typed, `number code`, with these names at hand; returns number, print and traceback as JSON."""
    number, _, code = line.partition(" ")
    printed, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(json.loads(code), names)  # noqa: S102 - our own tests' code
    except Exception:  # noqa: BLE001 - it is told to the test, which fails
        error = traceback.format_exc()
    return json.dumps([int(number), printed.getvalue(), error])


class Console(Document):
    """A document with a console in it: the first text field of the page, and an element of the class `answered`."""

    field = "input"
    answered = ".answered"

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._asked = 0

    def type(self, code: str) -> None:
        """Have code run through the console, without waiting for it."""
        self._asked += 1
        field = self.page.locator(self.field).first
        field.fill(f"{self._asked} {json.dumps(code)}")
        field.press("Enter")

    def execute(self, code: str) -> str:
        """Run code through the console; returns what it printed."""
        self.type(code)
        shown = self.page.locator(self.answered).filter(has_text=f"[{self._asked},").first
        _, printed, error = json.loads(shown.text_content() or "")
        assert error is None, error
        text: str = printed
        return text
