"""A notebook server of any kind, as a process of its own, on a folder, a port and with settings of its own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Server:
    """A server that is up when this is made.

    Args:
        folder: an empty one, for documents and settings.
        command: what follows `python -m`; `{port}`, `{token}` and `{folder}`, of the documents, are filled in.
        alive: the path of the address that is asked until it answers.
        environment: variables beside those of this process, those that keep Jupyter's settings in the folder, and
            the path to the modules beside this one.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], *, alive: str = "/", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = (folder / "server.log").open("w")
        places = {"port": self.port, "token": self.token, "folder": self.folder}
        self._process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(**places) for part in command)],
            cwd=self.folder,
            env={
                **os.environ,
                "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
                "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
                "JUPYTER_CONFIG_DIR": str(folder / "config"),
                "IPYTHONDIR": str(folder / "ipython"),
                "HF_HUB_OFFLINE": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
                **(environment or {}),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait(alive)

    def _wait(self, alive: str, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{alive}?token={self.token}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.close()
        raise RuntimeError(f"{type(self).__name__} did not start:\n{Path(self._log.name).read_text()}")

    def close(self) -> None:
        """Stop the server and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook of code cells; returns its name."""
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(notebook, self.folder / name)
        return name
