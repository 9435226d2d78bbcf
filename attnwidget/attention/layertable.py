"""The layers of a stack as a short table: one row for each group of layers that are alike."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attnwidget.attention.stack import LayerInfo

NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
"""A number that is a whole part of a path: that of a layer."""
_SHOWN = 8
"""Runs of layer numbers written out in one row."""

_COLUMNS = ("layers", "in the model", "heads", "key heads", "head size", "by", "kept", "module")


def layer_table(infos: Sequence[LayerInfo], details: Sequence[str]) -> list[str]:
    """Aligned lines, a heading first. Columns in which no row has anything to say are left out.

    Args:
        infos: one per layer.
        details: how each is kept, in words.

    Returns:
        Lines without indentation.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    chosen = any(info.number is not None for info in infos)
    for number, (info, detail) in enumerate(zip(infos, details, strict=True)):
        groups.setdefault(_cells(info, detail), []).append(number)
    rows = [
        (
            ranges(numbers),
            ranges(found for number in numbers if (found := infos[number].number) is not None) if chosen else "",
            *cells[:-1],
            _place([infos[number] for number in numbers]),
        )
        for cells, numbers in groups.items()
    ]
    used = [column for column in range(len(_COLUMNS)) if any(row[column] for row in rows)]
    lines = [[_COLUMNS[column] for column in used], *([row[column] or "-" for column in used] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(used))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _cells(info: LayerInfo, detail: str) -> tuple[str, ...]:
    return (
        f"{ranges(info.picked)} of {info.n_heads}" if info.picked else str(info.heads),
        str(info.key_heads) if info.key_heads not in (None, info.heads) else "",
        str(info.head_size) if info.head_size is not None else "",
        info.implementation,
        detail,
        f"{starred(info.path)} {info.kind}",  # paths that differ in the number of the layer alone are alike
    )


def _place(alike: Sequence[LayerInfo]) -> str:
    """Where layers sit that are alike: the path, with a star for the number in which theirs differ."""
    path, kind = alike[0].path, alike[0].kind
    if any(info.path != path for info in alike):
        path = starred(path)
    return f"{path} ({kind})" if path and kind else path or kind


@lru_cache(maxsize=1 << 14)
def starred(path: str) -> str:
    """A path without the numbers of layers: those of one list of layers are alike."""
    return NUMBER.sub("*", path)


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in a few words: "0-3, 5, 7-9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(start) if start == stop else f"{start}-{stop}" for start, stop in runs]
    return ", ".join(texts if len(texts) <= _SHOWN else [*texts[:_SHOWN], "..."])
