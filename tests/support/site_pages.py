"""The site of the docs, built as `make docs` builds it, and its pages as their readers' browsers take them apart."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOWN = {"src", "srcset", "poster", "data"}


def build(folder: Path) -> Path:
    """Build it from nothing, with warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-n", str(ROOT / "docs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the docs have mistakes:\n{done.stderr}"
    return folder


class Page(HTMLParser):
    """What a page leads to (`links`), what it loads by itself (`loads`), and the places in it that have a name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.frames: list[dict[str, str | None]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if known.get("id"):
            self.names.add(known["id"] or "")
        if tag == "iframe":
            self.frames.append(known)
        address = known.get("href") or ""
        # Fonts, styles and icons are fetched; "search", "next" and the like only lead somewhere.
        fetched = tag == "link" and (known.get("rel") or "") in {"stylesheet", "icon", "preload", "shortcut icon"}
        (self.loads if fetched else self.links).append(address)
        self.loads += [known[name] or "" for name in SHOWN & known.keys()]
