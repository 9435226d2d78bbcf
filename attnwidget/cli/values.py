"""What people write on a command line: sizes, layers, endings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import typer

if TYPE_CHECKING:
    from pathlib import Path

Format: TypeAlias = Literal["html", "safetensors", "png", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)
_UNITS = {"": 1, "b": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_MOST_LAYERS = 100_000
"""A range with more numbers is a slip."""


def parse_size(text: str) -> int:
    """Bytes, as people write them: "8MB", "500 kB", "1.5GiB", "8_000_000".

    Raises:
        typer.BadParameter: it is none.
    """
    found = _SIZE.fullmatch(text.replace("_", "").strip())
    nbytes = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if nbytes <= 0:
        raise typer.BadParameter(f"{text!r} is no size; expected a number of bytes above 0: 8MB, 500kB, 8_000_000")
    return nbytes


def parse_layers(text: str) -> list[int]:
    """Layers, as people write them: "0,3-5" is 0, 3, 4 and 5.

    Raises:
        typer.BadParameter: it is none.
    """
    layers: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last or last >= _MOST_LAYERS:
            raise typer.BadParameter(f"{text!r} names no layers; expected numbers from 0 and ranges of them: 0,3-5")
        layers += range(first, last + 1)
    return layers


def format_of(output: Path, wanted: Format | None) -> Format:
    """What is written: what was asked for, or what the name of the file ends in.

    Raises:
        typer.BadParameter: it ends in nothing that is known.
    """
    if wanted is not None:
        return wanted
    ending = output.suffix.lower().removeprefix(".")
    for known in FORMATS:
        if ending in (known, {"html": "htm"}.get(known)):
            return known
    endings = ", ".join(f".{known}" for known in FORMATS)
    raise typer.BadParameter(f"{output.name!r} ends in none of {endings}; rename it, or say --format")
