"""Rows of heads as text and as HTML, for the last line of a cell."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

_SHOWN = 40
"""Rows written out; a table of a thousand heads is for `sorted` and `to_pandas`."""


class Row(Protocol):
    """What a row has in every table of heads."""

    @property
    def layer(self) -> int:
        """Counted from 0."""

    @property
    def head(self) -> int:
        """Counted from 0."""

    @property
    def shape(self) -> str:
        """Name of what the head does most."""

    @property
    def measures(self) -> Mapping[str, float]:
        """By column; NaN where a measure does not apply."""


_Row = TypeVar("_Row", bound=Row)


def plain(row: Row, name: str) -> str:
    """A cell: the number to three digits, "-" where the measure does not apply."""
    return number(row.measures[name])


def as_text(title: str, rows: Sequence[_Row], cell: Callable[[_Row, str], str] = plain) -> str:
    """Aligned columns, a line per head."""
    names = list(rows[0].measures) if rows else []
    lines = [["layer", "head", "shape", *names]]
    lines += [[str(row.layer), str(row.head), row.shape, *(cell(row, name) for name in names)] for row in rows[:_SHOWN]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    body = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([title, *body, *_rest(rows)])


def as_html(
    title: str, rows: Sequence[_Row], titles: Mapping[str, str], cell: Callable[[_Row, str], str] = plain
) -> str:
    """A plain table; what a column means is in the title of its heading."""
    heads = "".join(f'<th title="{escape(titles[name])}">{escape(name)}</th>' for name in titles)
    body = "".join(
        f"<tr><td>{row.layer}</td><td>{row.head}</td><td>{escape(row.shape)}</td>"
        + "".join(f"<td>{escape(cell(row, name))}</td>" for name in titles)
        + "</tr>"
        for row in rows[:_SHOWN]
    )
    rest = "".join(f"<p>{escape(line)}</p>" for line in _rest(rows))
    return (
        f"<table><caption>{escape(title)}</caption><thead><tr><th>layer</th><th>head</th><th>shape</th>{heads}</tr>"
        f"</thead><tbody>{body}</tbody></table>{rest}"
    )


def need_pandas(instead: str) -> ModuleType:
    """pandas, for a `to_pandas`.

    Args:
        instead: what has the same numbers without it.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(
            f"to_pandas() needs pandas, which is not installed: `pip install pandas`, or use {instead}"
        ) from error
    module: ModuleType = pd
    return module


def _rest(rows: Sequence[Row]) -> list[str]:
    left = len(rows) - _SHOWN
    return [f"... and {left} more heads: sorted(by=...), columns or to_pandas() have all of them"] if left > 0 else []


def number(value: float, digits: int = 3) -> str:
    """To so many digits; "-" where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}g}"
