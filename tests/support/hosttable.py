"""README's table of hosts, made from what the browser tests recorded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostrecord import Row

BEGIN, END = "<!-- hosts: written by `make hosts` -->", "<!-- hosts end -->"

HEAD = "| host | version | browser | with | tested by |\n|---|---|---|---|---|"

BY_CONTRACT = (
    ("VS Code", "saves no state; shows the picture after a reload", "tests/export/test_preview.py"),
    ("JupyterLite", "JupyterLab's page, in which a saved notebook shows what it showed", "tests/browser/test_saved.py"),
)
"""Hosts that cannot be run here, what is relied on, and the test that stands behind it."""


def line(row: Row) -> str:
    """The line of a host that was run."""
    packages = ", ".join(f"{name} {version}" for name, version in sorted(row["packages"].items()))
    browser = f"{row['browser'].capitalize()} {row['browser_version']}"
    return f"| {row['host']} | {row['version']} | {browser} | {packages} | {_link(row['test'])} |"


def table(rows: Sequence[Row]) -> str:
    """The whole table."""
    contract = [f"| {host} | by contract: {what} | | | {_link(test)} |" for host, what, test in BY_CONTRACT]
    return "\n".join([HEAD, *(line(row) for row in rows), *contract])


def replaced(text: str, new: str) -> str:
    """A text with another table between the marks.

    Raises:
        ValueError: the text lacks a mark.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"there is no table to replace: the text must hold the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def printed(text: str) -> str:
    """The table between the marks of a text."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def without_browser_versions(text: str) -> str:
    """A table in which a browser has its name only: browsers move with the system's updates."""
    return re.sub(r"(Chromium|Firefox) [\d.]+", r"\1", text)


def _link(test: str) -> str:
    return f"[{test.rpartition('/')[2]}]({test})"
