"""The visible numbers of a head, as an array and as CSV."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from attnwidget.export.figure import check_target
from attnwidget.export.words import visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.export.shown import Shown, Span

MOST_IN_CSV = 2**20
"""Numbers that are written as text, at most: about 12 MB."""
WEIGHTS = "weights after the softmax"
AS_THEY_ARE = "as the model used them"
LIFT = "lift over uniform: weights after the softmax, times the keys that the query may look at"


@dataclass(frozen=True)
class Numbers:
    """The weights, or what is shown in their place, of one head or of many as one, in a window.

    Attributes:
        values: float32 (queries, keys); NaN where the mask forbids and of hidden keys, infinity where the model
            overflowed.
        queries: what stands for each row: its index and its token, `7 it`.
        keys: likewise, for each column.
        first: the query of the first row and the key of the first column.
        about: what these numbers are: model, stack, layer, head, ranges and normalisation.
    """

    values: NDArray[np.float32]
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    first: tuple[int, int]
    about: str

    def __repr__(self) -> str:
        rows, columns = self.values.shape
        return f"Numbers({rows} queries x {columns} keys: {self.about})"


def numbers_of(shown: Shown) -> Numbers:
    """The numbers that a view shows.

    Raises:
        MemoryError: they would take more than half of the free memory.
    """
    values = shown.weights(shown.queries, shown.keys)
    if shown.kind == "lift":
        values *= len(shown.key_tokens)
    elif shown.reading is not None:
        values = shown.reading.numbers(values).astype(np.float32)
    queries = _names(shown.query_labels, shown.queries)
    keys = _names(shown.key_labels, shown.keys)
    return Numbers(values, queries, keys, (shown.queries[0], shown.keys[0]), _about(shown))


def save_csv(shown: Shown, target: str | os.PathLike[str] | IO[str] | IO[bytes]) -> None:
    """Write the numbers that a view shows as CSV, UTF-8; a file that is there is overwritten.

    The first line says what they are, the second names the keys; each line after it begins with the name of its query.
    Cells that the mask forbids are empty. Numbers are as short as they can be to be the same float32 when read back:
    `pandas.read_csv(path, skiprows=1, index_col=0)`.

    Args:
        shown: what the view shows.
        target: a path that ends in .csv, or a file open for writing, text or bytes.

    Raises:
        ValueError: more numbers than a text file should hold, or the path ends otherwise.
    """
    check_target(target, "csv")
    text = _csv(shown)
    if isinstance(target, (str, os.PathLike)):
        Path(target).write_text(text, encoding="utf-8", newline="")
        return
    file: Any = target
    file.write(text if isinstance(file, io.TextIOBase) else text.encode())


def _csv(shown: Shown) -> str:
    sides = shown.queries[1] - shown.queries[0], shown.keys[1] - shown.keys[0]
    if sides[0] * sides[1] > MOST_IN_CSV:
        raise ValueError(
            f"the window has {sides[0]:,} × {sides[1]:,} numbers, and a CSV file at most {MOST_IN_CSV:,}: look at a "
            "part of it (`view.window`), or save the array, numpy.save(path, view.numbers().values)"
        )
    numbers = numbers_of(shown)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([f"# {numbers.about}; empty: {shown.forbidden_words}"])
    writer.writerow(["query \\ key", *numbers.keys])
    for name, row in zip(numbers.queries, numbers.values, strict=True):
        writer.writerow([name, *("" if np.isnan(value) else str(value) for value in row)])
    return file.getvalue()


def _names(labels: tuple[str, ...], span: Span) -> tuple[str, ...]:
    # The index comes first: names differ, and none is a formula or a missing value to whoever opens the file.
    return tuple(f"{index} {labels[index]}" for index in range(*span))


def _about(shown: Shown) -> str:
    ranges = [
        f"{side} {start} to {stop - 1}" for side, (start, stop) in (("queries", shown.queries), ("keys", shown.keys))
    ]
    made = shown.made_words
    as_it_is = shown.kind == "weight" and not (made or shown.aggregate)
    what = LIFT if shown.kind == "lift" else WEIGHTS if shown.reading is None else shown.reading.words
    return visible(" · ".join([shown.title, *ranges, f"{what}, {AS_THEY_ARE}" if as_it_is else what, *made]))
