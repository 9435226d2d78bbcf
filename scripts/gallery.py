"""The Python of docs/gallery.md, block by block: what the live pages and the pictures of the docs are made from."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parent.parent / "docs" / "gallery.md"
_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n(?P<live><!-- live -->\n)?<picture>.*?src=\"pictures/(?P<name>[\w-]+)-light\.png\"[^\n]*\n</picture>)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """Some lines of Python.

    Attributes:
        code: the lines. What the last one is worth is shown, if the block has a picture.
        line: where they begin in the document, from 0.
        name: of the picture below them; None where there is none.
        live: whether a page without a kernel shows the same, as the comment over the picture says.
    """

    code: str
    line: int
    name: str | None
    live: bool

    def run(self, known: dict[str, Any]) -> object:
        """Run the lines as a cell runs them; returns what is shown."""
        lines = ast.parse("\n" * self.line + self.code, PATH.name).body
        last = lines.pop() if isinstance(lines[-1], ast.Expr) else None
        exec(compile(ast.Module(lines, []), PATH.name, "exec"), known)  # noqa: S102 - our own document
        if not isinstance(last, ast.Expr):
            return None
        return eval(compile(ast.Expression(last.value), PATH.name, "eval"), known)  # noqa: S307 - the same

    def named(self, name: str) -> str:
        """The lines, where what is shown has a name."""
        lines = self.code.splitlines()
        first = ast.parse(self.code).body[-1].lineno - 1
        return "\n".join([*lines[:first], f"{name} = {lines[first]}", *lines[first + 1 :]])


def blocks() -> list[Block]:
    """All of them, in order: each may need those before it."""
    text = PATH.read_text(encoding="utf-8")
    return [
        Block(found["code"], text[: found.start("code")].count("\n"), found["name"], found["live"] is not None)
        for found in _BLOCK.finditer(text)
    ]
