"""Checks what is to be released: an sdist and a wheel of the version in pyproject.toml, with all that belongs in them.

python scripts/check_release.py dist [--tag v0.1.0]
"""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ("attnwidget/widget/static/widget.js", "attnwidget/widget/static/kernel.js")
PACKAGE = (
    *BUILT,
    "attnwidget/py.typed",
    "attnwidget/export/page.html",
    "attnwidget/export/fragment.html",
    "attnwidget/export/notebook/templates/attnwidget/index.html.j2",
    "attnwidget/smallworld/model/config.json",
    "attnwidget/smallworld/model/model.safetensors",
    "attnwidget/smallworld/model/tokenizer.json",
)
MODEL, MODEL_BYTES = "attnwidget/smallworld/model/", 4_000_000  # what aw.demo() loads, and what it may weigh
SOURCES = ("js/src/index.ts", "package.json", "package-lock.json", "hatch_build.py", "LICENSE", "README.md", "Makefile")
ENTRY_POINTS = ("attnwidget = attnwidget.cli:main", "attnwidget_html = attnwidget.export.notebook:NotebookExporter")


def version() -> str:
    """The version of the project, which stands in pyproject.toml and nowhere else."""
    found = re.search(r'^version = "([^"]+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        sys.exit('pyproject.toml has no line version = "..."')
    return found[1]


def wrong_with_sdist(path: Path) -> list[str]:
    """What is wrong with an sdist."""
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    spare = [name for name in names if "node_modules" in name or ".venv" in name or name.endswith(".pyc")]
    return _missing(path, names, (*PACKAGE, *SOURCES)) + [f"{path.name} carries {name}" for name in spare]


def wrong_with_wheel(path: Path) -> list[str]:
    """What is wrong with a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        wrong = _missing(path, names, PACKAGE)
        wrong += [
            f"{path.name} carries {name}" for name in names if not name.startswith(("attnwidget/", "attnwidget-"))
        ]
        weight = sum(each.file_size for each in archive.infolist() if each.filename.startswith(MODEL))
        if weight > MODEL_BYTES:
            wrong.append(f"{path.name} carries {weight:,} bytes in {MODEL}: expected {MODEL_BYTES:,} at most")
        for name in BUILT:
            if name in names and (ROOT / name).exists() and archive.read(name) != (ROOT / name).read_bytes():
                wrong.append(f"{path.name} carries a {name} that is not the one built here")
        declared = [archive.read(name).decode() for name in names if name.endswith(".dist-info/entry_points.txt")]
        wrong += [f"{path.name} declares no {entry}" for entry in ENTRY_POINTS if entry not in "".join(declared)]
    return wrong


def wrong_with_tag(tag: str) -> list[str]:
    """What is wrong with a tag, and with what the changelog says of its version."""
    wrong = []
    if tag != f"v{version()}":
        wrong.append(f"the tag is {tag}, and pyproject.toml has version {version()}: expected the tag v{version()}")
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    heading = next((each for each in headings if each.split(" ")[0] == version()), None)
    if heading is None or "unreleased" in heading:
        wrong.append(f"CHANGELOG.md has {heading or 'no heading'} for {version()}: expected a heading with its date")
    return wrong


def _missing(path: Path, names: set[str], wanted: tuple[str, ...]) -> list[str]:
    return [f"{path.name} lacks {name}" for name in wanted if name not in names]


def main() -> None:
    """Print what is there, or what is wrong, and then exit with 1."""
    parser = argparse.ArgumentParser(description="Check what is to be released.")
    parser.add_argument("folder", type=Path, help="where the sdist and the wheel are")
    parser.add_argument("--tag", help="the tag that is released")
    given = parser.parse_args()
    wrong = [] if given.tag is None else wrong_with_tag(given.tag)
    expected = {f"attnwidget-{version()}.tar.gz", f"attnwidget-{version()}-py3-none-any.whl"}
    found = {path.name for path in given.folder.glob("*") if path.suffix in (".gz", ".whl", ".zip")}
    if found != expected:
        wrong.append(f"{given.folder} holds {sorted(found) or 'nothing'}; expected {sorted(expected)}")
    for path in sorted(given.folder / name for name in found & expected):
        wrong += wrong_with_wheel(path) if path.suffix == ".whl" else wrong_with_sdist(path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"version {version()}, with all that belongs to it")


if __name__ == "__main__":
    main()
