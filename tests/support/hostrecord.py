"""What a browser test really ran on: host, browser and packages, kept in a file from which README's matrix is made.

A test takes the fixture `record_host` (tests/browser/conftest.py) and calls it anywhere, once it knows its host:

    record_host("JupyterLab", version=notebook.version(), packages=notebook.evaluate(PACKAGES))

Browser and test are filled in, and the row is kept only if the test passes. `scripts/hosts.py` writes the table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

RECORD = Path(__file__).parents[2] / "test-results" / "hosts.json"

PACKAGES = (
    "{name: __import__('importlib.metadata', fromlist=['version']).version(name)"
    " for name in ('ipywidgets', 'anywidget')}"
)
"""An expression for the kernel: the versions of what our view stands on there."""


class Row(TypedDict):
    """One host in one browser."""

    host: str
    version: str
    browser: str
    """Its name as Playwright has it: "chromium", "firefox"."""
    browser_version: str
    packages: dict[str, str]
    """Versions on the kernel's side."""
    test: str
    """The file that ran, from the root of the checkout."""


def read_rows(record: Path = RECORD) -> list[Row]:
    """The rows kept so far, by host and browser; [] before any test has run."""
    rows: list[Row] = json.loads(record.read_text()) if record.exists() else []
    return rows


def keep_row(row: Row, record: Path = RECORD) -> None:
    """Keep a row, in the place of the one of the same host and browser."""
    others = [old for old in read_rows(record) if (old["host"], old["browser"]) != (row["host"], row["browser"])]
    rows = sorted([*others, row], key=lambda kept: (kept["host"], kept["browser"]))
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps(rows, indent=2) + "\n")
