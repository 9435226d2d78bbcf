"""marimo, the reactive notebook, and a notebook open in its editor."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from console import Console
from server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from playwright.sync_api import Page

CONSOLE = (
    """
import marimo as mo
console_line = mo.ui.text(full_width=True)
console_line
""",
    """
import html
from console import answer
console_answer = html.escape(answer(console_line.value, globals())) if console_line.value else ""
mo.Html(f'<span class="answered">{console_answer}</span>')
""",
)

SETTINGS = """
[display]
theme = "system"
[runtime]
auto_instantiate = true
"""
"""The theme of the system, which a test can change; cells run as soon as the notebook is opened."""

HEAD = "import marimo", "", "app = marimo.App()", ""


class Marimo(Server):
    """A marimo server on a folder of notebooks."""

    def __init__(self, folder: Path) -> None:
        settings = folder / "config" / "marimo"
        settings.mkdir(parents=True)
        (settings / "marimo.toml").write_text(SETTINGS)
        super().__init__(
            folder,
            [
                *("marimo", "edit", ".", "--headless", "--skip-update-check"),
                *("--host=127.0.0.1", "--port={port}", "--token-password={token}"),
            ],
            alive="/health",
            environment={"XDG_CONFIG_HOME": str(folder / "config")},
        )

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook of cells and a console; returns its name, which ends in ".py"."""
        path = (self.folder / name).with_suffix(".py")
        main = 'if __name__ == "__main__":\n    app.run()\n'
        path.write_text("\n".join([*HEAD, *(_cell(cell) for cell in [*cells, *CONSOLE]), "", main]))
        return path.name

    def open(self, page: Page, name: str) -> MarimoNotebook:
        """Open a notebook, which runs at once, and wait for its console."""
        page.goto(f"{self.address}/?file={name}&access_token={self.token}")
        page.locator(MarimoNotebook.answered).first.wait_for(state="attached", timeout=60_000)
        return MarimoNotebook(page)


def _cell(source: str) -> str:
    """A cell of a notebook file; marimo finds out by itself what it takes and gives."""
    return f"\n@app.cell\ndef _():\n{textwrap.indent(source.strip(), '    ')}\n    return\n"


class MarimoNotebook(Console):
    """The notebook open in the editor."""

    field = "marimo-text input"

    def version(self) -> str:
        """The version of marimo that runs the notebook."""
        version: str = self.evaluate("__import__('marimo').__version__")
        return version

    def cell_count(self) -> int:
        """How many cells the notebook has."""
        return self.page.locator("[data-testid='cell-editor']").count()

    def run_cell(self, index: int) -> None:
        """Run a cell again, from its code; those that use what it gives follow."""
        self.page.locator("[data-testid='cell-editor'] .cm-content").nth(index).click()
        self.page.keyboard.press("Control+Enter")

    def darken(self) -> str:
        """Have the system be dark, which the notebook follows; returns the theme it then has."""
        self.page.emulate_media(color_scheme="dark")
        return "dark"

    def lose_kernel(self) -> None:
        """Have the kernel die, which the page then says."""
        self.type("import os; os._exit(1)")
