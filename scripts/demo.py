"""Opens JupyterLab on the quickstart notebook; JupyterLab prints the address where no browser can be opened."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

NOTEBOOK = "quickstart.ipynb"


def main() -> None:
    """Replace this process with JupyterLab, so that Ctrl-C reaches it and no child is left behind."""
    folder = Path(__file__).resolve().parent.parent / "notebooks"
    flags = [f"--notebook-dir={folder}", f"--LabApp.default_url=/lab/tree/{NOTEBOOK}", *sys.argv[1:]]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--allow-root")
    try:
        webbrowser.get()
    except webbrowser.Error:
        print("No browser can be opened from here: open the address below by hand.", flush=True)
        flags.append("--no-browser")
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *flags])


if __name__ == "__main__":
    main()
