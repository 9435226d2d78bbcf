"""A real JupyterLab server, and a notebook open in a real browser: for browser tests, pictures and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from document import Document
from server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

JUPYTER_FLAGS = (
    "--no-browser",
    "--allow-root",
    "--ip=127.0.0.1",
    "--port={port}",
    "--ServerApp.port_retries=0",
    "--ServerApp.root_dir={folder}",
    "--IdentityProvider.token={token}",
)
"""What every server that stands on Jupyter's is started with."""


class Lab(Server):
    """A JupyterLab server, in the light theme whenever a notebook is opened."""

    def __init__(
        self,
        folder: Path,
        *,
        command: tuple[str, ...] = ("jupyterlab", "--LabApp.expose_app_in_browser=True"),
        path: str = "/doc/tree/{name}?token={token}&reset",
    ) -> None:
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        self._theme = settings / "themes.jupyterlab-settings"
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self._path = path
        super().__init__(folder, [*command, *JUPYTER_FLAGS], alive="/api")

    def open(self, page: Page, name: str) -> Notebook:
        """Open a notebook alone on the page, in the light theme, and wait for its kernel."""
        self._theme.write_text('{"theme": "JupyterLab Light"}')
        page.goto(self.address + self._path.format(name=name, token=self.token))
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady", timeout=60_000)
        page.evaluate("() => window.jupyterapp.shell.currentWidget.revealed")
        page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'",
            timeout=60_000,
        )
        return Notebook(page)


class Notebook7(Lab):
    """A Jupyter Notebook 7 server: another application out of JupyterLab's parts, driven in the same way."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            command=("notebook", "--JupyterNotebookApp.expose_app_in_browser=True"),
            path="/notebooks/{name}?token={token}",
        )


class Notebook(Document):
    """The notebook open on a page."""

    def run_all(self) -> None:
        """Run every cell and wait for the last one; an exception in a cell fails here, with its traceback."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'",
            timeout=120_000,
        )
        errors = self.page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
                .flatMap(cell => cell.model.type === 'code' ? cell.model.outputs.toJSON() : [])
                .filter(output => output.output_type === 'error')
                .map(output => output.traceback.join('\\n'))"""
        )
        assert not errors, "\n".join(errors)

    def run_cell(self, index: int) -> None:
        """Run one cell and wait for it."""
        self.page.evaluate(
            """async index => {
                const content = window.jupyterapp.shell.currentWidget.content;
                content.activeCellIndex = index;
                content.deselectAll();
                await window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            index,
        )

    def execute(self, code: str) -> str:
        """Run code in the kernel, outside any cell; returns what it printed."""
        result: dict[str, Any] = self.page.evaluate(
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({code, store_history: false});
                let text = '', error = null;
                future.onIOPub = message => {
                    if (message.header.msg_type === 'stream') text += message.content.text;
                    if (message.header.msg_type === 'error') error = message.content.traceback.join('\\n');
                };
                await future.done;
                return {text, error};
            }""",
            code,
        )
        assert result["error"] is None, result["error"]
        text: str = result["text"]
        return text

    def version(self) -> str:
        """The version of JupyterLab or Notebook, as it says itself."""
        version: str = self.page.evaluate("() => window.jupyterapp.version")
        return version

    def cell_count(self) -> int:
        """How many cells the notebook has."""
        count: int = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
        return count

    def darken(self) -> str:
        """Switch to the dark theme."""
        self.theme("JupyterLab Dark")
        return "dark"

    def lose_kernel(self) -> None:
        """Restart the kernel."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")

    def theme(self, name: str) -> None:
        """Switch JupyterLab's theme: "JupyterLab Light" or "JupyterLab Dark"."""
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg=str("Light" in name).lower(), timeout=30_000
        )

    def save(self) -> None:
        """Save the notebook to disk."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
