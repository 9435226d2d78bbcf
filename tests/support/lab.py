"""A real JupyterLab server, and a notebook open in a real browser: for browser tests, pictures and benchmarks."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.sync_api import Locator, Page

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Lab:
    """A JupyterLab server on a folder of its own, with settings of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir(parents=True)
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        self._theme = settings / "themes.jupyterlab-settings"
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self._log = (folder / "lab.log").open("w")
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
                *(f"--port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.folder}"),
                *(f"--IdentityProvider.token={self.token}", "--LabApp.expose_app_in_browser=True"),
            ],
            env={
                **os.environ,
                "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
                "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
                "JUPYTER_CONFIG_DIR": str(folder / "config"),
                "IPYTHONDIR": str(folder / "ipython"),
                "HF_HUB_OFFLINE": "1",
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait()

    def _wait(self, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._server.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api?token={self.token}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.close()
        raise RuntimeError(f"JupyterLab did not start:\n{Path(self._log.name).read_text()}")

    def close(self) -> None:
        """Stop the server and its kernels."""
        self._server.terminate()
        try:
            self._server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._server.kill()
        self._log.close()

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook of code cells; returns its name."""
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(notebook, self.folder / name)
        return name

    def open(self, page: Page, name: str) -> Notebook:
        """Open a notebook alone on the page, in the light theme, and wait for its kernel."""
        self._theme.write_text('{"theme": "JupyterLab Light"}')
        page.goto(f"http://127.0.0.1:{self.port}/doc/tree/{name}?token={self.token}&reset")
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady", timeout=60_000)
        page.evaluate("() => window.jupyterapp.shell.currentWidget.revealed")
        page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'",
            timeout=60_000,
        )
        return Notebook(page)


class Notebook:
    """The notebook open on a page."""

    def __init__(self, page: Page) -> None:
        self.page = page

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

    def evaluate(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, through JSON."""
        return json.loads(self.execute(f"import json; print(json.dumps({expression}))"))

    def version(self) -> str:
        """The version of JupyterLab, as it says itself."""
        version: str = self.page.evaluate("() => window.jupyterapp.version")
        return version

    def views(self) -> Locator:
        """The views on the page, in the order of the notebook."""
        return self.page.locator(".attnwidget .root")

    def ready(self, index: int = 0, timeout: float = 30_000) -> Locator:
        """One view, scrolled to, once everything it shows is drawn from real data."""
        view = self.views().nth(index)
        view.scroll_into_view_if_needed(timeout=timeout)
        view.and_(self.page.locator('[data-ready="true"]')).wait_for(timeout=timeout)
        return view

    def theme(self, name: str) -> None:
        """Switch JupyterLab's theme: "JupyterLab Light" or "JupyterLab Dark"."""
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg=str("Light" in name).lower(), timeout=30_000
        )

    def save(self) -> None:
        """Save the notebook to disk."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
