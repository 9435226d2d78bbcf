"""Markdown of the repository as pages of the site, without a second copy of any of it.

What GitHub shows as it is needs four things here:

- a fence `{from-repository}` that names a file, a section of it (`README.md#What it promises`), or a notebook, is that
  text;
- links between files of the repository become links between pages;
- a `<picture>` for light and dark pages becomes a picture for each, which Sphinx knows and copies;
- a picture under the comment `<!-- live -->` gets the page of the same name beside it, which `scripts/live_pages.py`
  made, in a frame that may do nothing but run its own script.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.errors import ExtensionError

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_TAKEN = re.compile(r"^```\{from-repository\} (?P<path>[^\n#]+)(?:#(?P<section>[^\n]+))?\n```$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\n]*)\]\((?![a-z]+:|#)(?P<path>[^)#\s]+)")
_PICTURE = re.compile(
    r"(?P<live><!-- live -->\n)?<picture>\s*<source [^>]*srcset=\"(?P<dark>[^\"]+)\">\s*"
    r"<img src=\"(?P<light>[^\"]+)\" alt=\"(?P<alt>[^\"]*)\"(?: width=\"(?P<width>\d+)\")?>\s*</picture>"
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    pages = _pages()

    def taken(found: re.Match[str]) -> str:
        origin = ROOT / found["path"].strip()
        app.env.note_dependency(str(origin))
        return _as_page(_text(origin, found["section"]), origin, page, pages)

    source[0] = _TAKEN.sub(taken, _as_page(source[0], page, page, pages))


def _pages() -> dict[Path, Path]:
    """Files of the repository that are pages as a whole, and which."""
    pages = {}
    for page in sorted(DOCS.rglob("*.md")):
        pages[page] = page
        for found in _TAKEN.finditer(page.read_text(encoding="utf-8")):
            if found["section"] is None:
                pages[(ROOT / found["path"].strip()).resolve()] = page
    return {**pages, ROOT / "README.md": DOCS / "index.md"}


def _text(origin: Path, section: str | None) -> str:
    if origin.suffix == ".ipynb":
        from nbconvert import MarkdownExporter

        return str(MarkdownExporter().from_filename(str(origin))[0])
    text = origin.read_text(encoding="utf-8")
    if section is None:
        return text
    found = re.search(rf"^(#+) {re.escape(section)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ExtensionError(f"{origin.relative_to(ROOT)} has no section {section!r}: name one of its headings")
    return found[2]


def _as_page(text: str, origin: Path, page: Path, pages: dict[Path, Path]) -> str:
    """The text of a file as it has to read where the page stands."""

    def link(found: re.Match[str]) -> str:
        target = (origin.parent / found["path"]).resolve()
        if target not in pages:
            raise ExtensionError(
                f"{origin.relative_to(ROOT)} links to {found['path']}, which is no page of the site: link to one, "
                "or write its name without a link"
            )
        text = "" if found["text"].endswith(target.suffix) else found["text"]  # a path becomes the title of the page
        return f"[{text}]({_relative(pages[target], page)}"

    def picture(found: re.Match[str]) -> str:
        shown = [
            f"```{{image}} {_relative(origin.parent / found[theme], page)}\n:class: only-{theme}\n"
            f":alt: {found['alt']}\n" + (f":width: {found['width']}px\n" if found["width"] else "") + "```\n"
            for theme in ("light", "dark")
        ]
        name = Path(found["light"]).stem.removesuffix("-light")
        return _live(name, found["alt"], shown, page) if found["live"] else "".join(shown)

    return _PICTURE.sub(picture, _LINK.sub(link, text))


def _live(name: str, alt: str, shown: list[str], page: Path) -> str:
    # An attribute `src` alone would let the page ask its own place for more; `sandbox` makes it a stranger to the site.
    url = _relative(DOCS / "live" / f"{name}.html", page)
    frame = (
        f'<iframe class="live" sandbox="allow-scripts" loading="lazy" src="{url}" title="Live view: {alt}"></iframe>'
    )
    alone = f'<p class="live-links"><a href="{url}">This view on a page of its own</a></p>'
    picture = ['<details class="live-picture"><summary>As a picture</summary>\n\n', *shown, "\n</details>\n"]
    return f"{frame}\n{alone}\n\n{''.join(picture)}"


def _relative(target: Path, page: Path) -> str:
    return Path(os.path.relpath(target.resolve(), page.parent)).as_posix()
