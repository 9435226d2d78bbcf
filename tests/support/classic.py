"""nbclassic, the notebook before version 7, and a notebook open in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from document import Document
from lab import JUPYTER_FLAGS
from server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page


class Classic(Server):
    """An nbclassic server."""

    def __init__(self, folder: Path) -> None:
        # MathJax would be fetched from the network.
        super().__init__(folder, ["nbclassic", *JUPYTER_FLAGS, "--NotebookApp.enable_mathjax=False"], alive="/api")

    def open(self, page: Page, name: str) -> ClassicNotebook:
        """Open a notebook and wait for its kernel and for the manager of its widgets."""
        page.goto(f"{self.address}/nbclassic/notebooks/{name}?token={self.token}")
        page.wait_for_function(
            """() => {
                const kernel = window.Jupyter?.notebook?.kernel;
                return kernel?.is_connected() && kernel.info_reply?.status === 'ok' && kernel.widget_manager;
            }""",
            timeout=60_000,
        )
        notebook = ClassicNotebook(page)
        # The manager asks the kernel for its widgets, and then draws all outputs anew: no cell should run before that.
        for _ in range(2):
            notebook.execute("")
            page.wait_for_timeout(300)
        return notebook


class ClassicNotebook(Document):
    """The notebook open on a page."""

    def run_all(self) -> None:
        """Have every cell run."""
        self.page.evaluate("() => Jupyter.notebook.execute_all_cells()")

    def execute(self, code: str) -> str:
        """Run code in the kernel, outside any cell; returns what it printed."""
        result: dict[str, Any] = self.page.evaluate(
            """code => new Promise(resolve => {
                const end = '\\u0004';
                let text = '';
                const output = message => {
                    if (message.header.msg_type === 'error')
                        resolve({text, error: message.content.traceback.join('\\n')});
                    if (message.header.msg_type !== 'stream') return;
                    text += message.content.text;
                    if (text.endsWith(end)) resolve({text: text.slice(0, -1), error: null});
                };
                // The reply may come before what was printed.
                const whole = `${code}\\nprint('\\\\x04', end='', flush=True)`;
                Jupyter.notebook.kernel.execute(whole, {iopub: {output}}, {store_history: false, silent: false});
            })""",
            code,
        )
        assert result["error"] is None, result["error"]
        text: str = result["text"]
        return text

    def version(self) -> str:
        """The version of nbclassic, as it says itself."""
        version: str = self.page.evaluate("() => Jupyter.version")
        return version

    def cell_count(self) -> int:
        """How many cells the notebook has."""
        count: int = self.page.evaluate("() => Jupyter.notebook.get_cells().length")
        return count

    def darken(self) -> str:
        """Have the system be dark: the notebook has no dark theme, and stays white."""
        self.page.emulate_media(color_scheme="dark")
        return "light"

    def lose_kernel(self) -> None:
        """Restart the kernel."""
        self.page.evaluate("() => Jupyter.notebook.kernel.restart()")
