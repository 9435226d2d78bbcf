"""Many texts, one after another: of a list, a generator or the rows of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import is_tensor, to_numpy
from attnwidget.attention.selection import is_int

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Text:
    """One of them.

    Attributes:
        index: its place, from 0.
        inputs: what the model is asked with.
        kind: "text" or "ids", of which several run as one batch; "" for what runs alone.
    """

    index: int
    inputs: Any
    kind: str

    @property
    def digest(self) -> int:
        """A number for what is in it, 64 bits."""
        found = hashlib.blake2b(digest_size=8)
        for part in _parts(self.inputs):
            found.update(len(part).to_bytes(8, "little") + part)
        return int.from_bytes(found.digest(), "little")

    def __str__(self) -> str:
        shown = repr(self.inputs)
        return f"text {self.index} ({shown if len(shown) < 60 else shown[:57] + '...'})"  # noqa: PLR2004 - of a line


def several(texts: Iterable[Any], column: str | None) -> Iterator[Text]:
    """Each of the texts, with its place.

    Args:
        texts: what a person gave.
        column: which column of each row holds the text; None where they are no rows.

    Raises:
        TypeError: it is one text, or no texts at all, or rows of which no column is named.
        KeyError: a row has no such column.
    """
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
        shown = f"keys {', '.join(map(repr, texts))}" if isinstance(texts, Mapping) else f"{texts!r:.60}"
        raise TypeError(
            f"texts is one {type(texts).__name__}, {shown}; expected several: a list, a generator, or one split of a "
            "data set with column= to say which column holds the text"
        )
    if hasattr(texts, "columns"):  # going through a table of pandas or Polars gives its headings
        raise TypeError(f"texts is a table, {type(texts).__name__}; expected one of its columns: texts['text']")
    return _each(texts, column)


def _each(texts: Iterable[Any], column: str | None) -> Iterator[Text]:
    for index, given in enumerate(texts):
        inputs = given
        if column is not None:
            if not isinstance(given, Mapping):
                raise TypeError(
                    f"text {index} is {type(given).__name__}, no row with a column {column!r}: leave column out"
                )
            if column not in given:
                raise KeyError(f"row {index} has no column {column!r}: it has {', '.join(map(repr, given))}")
            inputs = given[column]
        elif isinstance(given, Mapping) and any(isinstance(value, str) for value in given.values()):
            raise TypeError(
                f"text {index} is a row with columns {', '.join(map(repr, given))}; say which one holds the text: "
                "column='text'"
            )
        yield Text(index, inputs, _kind(inputs))


def how_many(texts: Iterable[Any]) -> int | None:
    """None where that is not known before the last one."""
    return len(texts) if isinstance(texts, Sized) else None


def in_batches(texts: Iterable[Text], size: int) -> Iterator[list[Text]]:
    """As many as may run together, neighbours of one kind."""
    batch: list[Text] = []
    for text in texts:
        if batch and text.kind != batch[0].kind:
            yield batch
            batch = []
        batch.append(text)
        if len(batch) == size or not text.kind:
            yield batch
            batch = []
    if batch:
        yield batch


def _kind(inputs: object) -> str:
    if isinstance(inputs, str):
        return "text"
    if not isinstance(inputs, (list, tuple)) or not inputs:
        return ""
    if isinstance(inputs, tuple) and len(inputs) == len("ab") and all(isinstance(part, str) for part in inputs):
        return "text"
    return "ids" if all(is_int(part) for part in inputs) else ""


def _parts(value: object) -> Iterator[bytes]:
    """What tells a value from others, whatever it is made of; what is no data goes by its type."""
    if isinstance(value, str):
        yield b"text"
        yield value.encode("utf-8", "surrogatepass")
    elif isinstance(value, Mapping):
        yield b"mapping"
        for key, each in value.items():
            yield from _parts(key)
            yield from _parts(each)
        yield b"end"
    elif isinstance(value, (list, tuple)):
        yield b"pair" if isinstance(value, tuple) else b"list"
        for each in value:
            yield from _parts(each)
        yield b"end"
    elif is_tensor(value) or isinstance(value, np.ndarray):
        array = to_numpy(value)
        yield f"array {array.dtype.str} {array.shape}".encode()
        if array.dtype.hasobject:
            yield from _parts(array.tolist())
        else:
            yield array.tobytes()
    else:
        known = isinstance(value, (int, float, bool, bytes, np.generic)) or value is None
        yield f"{type(value).__name__} {value!r}".encode() if known else type(value).__name__.encode()
