"""Voila, which shows a notebook without its code, and a notebook open in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from console import Console
from server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from playwright.sync_api import Page

CONSOLE = """
import ipywidgets
from console import answer
console_line, console_answer = ipywidgets.Text(continuous_update=False), ipywidgets.Label()
console_answer.add_class("answered")
console_line.observe(lambda change: console_answer.set_trait("value", answer(change["new"], globals())), "value")
ipywidgets.VBox([console_line, console_answer])
"""


class Voila(Server):
    """A Voila server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ["voila", "--no-browser", "--Voila.ip=127.0.0.1", "--port={port}", "--token={token}"])

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook of code cells and a console; returns its name."""
        return super().write(name, [*cells, CONSOLE])

    def open(self, page: Page, name: str, *, theme: str = "light") -> Dashboard:
        """Open a notebook, which runs at once, in the theme "light" or "dark", and wait for its console."""
        page.goto(f"{self.address}/voila/render/{name}?token={self.token}&theme={theme}")
        page.locator(Dashboard.answered).first.wait_for(state="attached", timeout=60_000)
        return Dashboard(page)


class Dashboard(Console):
    """The notebook open on a page."""

    field = ".widget-text input"

    def config(self) -> dict[str, Any]:
        """What Voila tells the page about itself."""
        config: dict[str, Any] = json.loads(self.page.locator("#jupyter-config-data").text_content() or "")
        return config

    def version(self) -> str:
        """The version of Voila, as it says itself."""
        version: str = self.config()["appVersion"]
        return version

    def cell_count(self) -> int:
        """How many cells are shown: outputs only."""
        return self.page.locator(".jp-Cell").count()

    def darken(self) -> str:
        """Open the page anew in the dark theme."""
        self.page.goto(self.page.url.replace("theme=light", "theme=dark"))
        self.page.locator(self.answered).first.wait_for(state="attached", timeout=60_000)
        return "dark"

    def lose_kernel(self) -> None:
        """Have the kernel die; the server starts another one."""
        self.type("import os; os._exit(1)")
