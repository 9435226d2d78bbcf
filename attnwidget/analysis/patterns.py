"""The head finder: what every head of a stack does, in numbers that the field has names for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.analysis.definitions import BY_NAME, MEASURES, SHAPES
from attnwidget.analysis.streaming import Side, stream
from attnwidget.analysis.table import as_html, as_text
from attnwidget.attention.selection import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from attnwidget.attention import AttentionStack

LONG = 4096
"""Queries up to which all rows are looked at unless a number of rows is given."""
SAMPLED = 1024
"""Rows looked at in longer heads."""
DOMINANT = 0.4
"""The share of a head's mass from which a pattern gives it its name."""
_EVEN = 0.9
_NEAR = 0.8


@dataclass(frozen=True)
class HeadPattern:
    """One row of the table.

    Attributes:
        layer: counted from 0.
        head: counted from 0.
        shape: name of what the head does most, as `Patterns.shapes` says.
        sink: the key that takes most of the head's mass.
        measures: by column, as `Patterns` describes them; NaN where a measure does not apply.
    """

    layer: int
    head: int
    shape: str
    sink: int
    measures: Mapping[str, float]


class Patterns:
    """A row per head: means over the queries that may look at two keys at least, the mask and padding respected.

    Columns (`definitions.MEASURES` has formulas and sources): `entropy` in bits, `spread` (entropy over that of an even
    row), `distance` in tokens, and shares from 0 to 1: `max`, `first`, `special`, `punctuation`, `self`, `previous`,
    `next`, `near` (within `window`), `duplicate`, `induction`, `sink`. `patterns["induction"]` is one of them, float64
    (L, H). Those that compare queries with keys are NaN in cross attention.

    Attributes:
        stack: name of the stack.
        columns: by name, (L, H) float64.
        errors: by name, (L, H) float64, the standard error where rows were sampled (Cochran 1977, section 2.6); 0 where
            all rows were looked at. None is known for `sink`, which is NaN then.
        sinks: (L, H) int, the key that takes most of each head's mass.
        rows: queries looked at.
        n_queries: queries there are.
        window: how far is near, in tokens.
    """

    def __init__(
        self,
        stack: str,
        columns: Mapping[str, NDArray[np.float64]],
        errors: Mapping[str, NDArray[np.float64]],
        sinks: NDArray[np.intp],
        *,
        rows: int,
        n_queries: int,
        window: int,
    ) -> None:
        self.stack, self.columns, self.errors, self.sinks = stack, columns, errors, sinks
        self.rows, self.n_queries, self.window = rows, n_queries, window

    @property
    def exact(self) -> bool:
        """All rows were looked at."""
        return self.rows == self.n_queries

    @property
    def shapes(self) -> NDArray[np.str_]:
        """(L, H), what each head does most.

        The pattern that takes at least 0.4 of the head's mass, the largest if several do: "induction", "duplicate
        token", "previous token", "next token", "diagonal" (itself), "first token", "special tokens", "punctuation" or
        "one key"; else "local" where at least 0.8 lies within the window, "broad" where the entropy is at least 0.9 of
        what it can be, or "mixed".
        """
        shares = np.stack([np.nan_to_num(self.columns[name]) for name in SHAPES])
        # A tie goes to the more particular one: all of "first token" is also "one key".
        best = shares.argmax(axis=0)
        named = np.array(list(SHAPES.values()), dtype=np.str_)[best]
        rest = np.where(self.columns["spread"] >= _EVEN, "broad", "mixed")
        rest = np.where(np.nan_to_num(self.columns["near"]) >= _NEAR, "local", rest)
        found: NDArray[np.str_] = np.where(shares.max(axis=0) >= DOMINANT, named, rest)
        return found

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """One column, (L, H)."""
        if name not in self.columns:
            raise KeyError(f"there is no measure {name!r}: patterns have {', '.join(self.columns)}")
        return self.columns[name]

    def __len__(self) -> int:
        return int(self.sinks.size)

    def __iter__(self) -> Iterator[HeadPattern]:
        """Row by row, in the order of layers and heads."""
        shapes = self.shapes
        for layer, head in np.ndindex(*self.sinks.shape):
            values = {name: float(column[layer, head]) for name, column in self.columns.items()}
            yield HeadPattern(layer, head, str(shapes[layer, head]), int(self.sinks[layer, head]), values)

    def sorted(self, by: str, *, descending: bool = True) -> list[HeadPattern]:
        """Rows by a column, the largest first; rows where it is NaN come last.

        Args:
            by: name of a column.
            descending: False for the smallest first.

        Raises:
            KeyError: no such column.
        """
        column = self[by].ravel()
        order = np.argsort(np.where(np.isnan(column), np.inf, -column if descending else column), kind="stable")
        rows = list(self)
        return [rows[place] for place in order]

    def similar(self, layer: int, head: int) -> list[HeadPattern]:
        """Heads like this one: all others, the most alike first, by the distance between their shares.

        Raises:
            IndexError: no such head.
        """
        n_layers, n_heads = self.sinks.shape
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise IndexError(
                f"layer {layer} head {head} does not exist: layers are 0 to {n_layers - 1}, heads 0 to {n_heads - 1}"
            )
        shares = np.stack([np.nan_to_num(self.columns[m.name]) for m in MEASURES if m.unit == "share"])
        apart = np.sqrt(((shares - shares[:, layer, head, None, None]) ** 2).sum(axis=0)).ravel()
        apart[layer * n_heads + head] = -1
        rows = list(self)
        return [rows[place] for place in np.argsort(apart, kind="stable")[1:]]

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas is not always there
        """A DataFrame: a row per head, with layer, head, shape, sink and the columns.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError(
                "to_pandas() needs pandas, which is not installed: `pip install pandas`, or use "
                "`patterns.columns`, a dict of NumPy arrays"
            ) from error
        return pd.DataFrame(
            [
                {"layer": row.layer, "head": row.head, "shape": row.shape, "sink_key": row.sink, **row.measures}
                for row in self
            ]
        )

    def __repr__(self) -> str:
        return as_text(self.title, list(self))

    def _repr_html_(self) -> str:
        return as_html(self.title, list(self), {name: BY_NAME[name].title for name in self.columns})

    @property
    def title(self) -> str:
        """What was looked at, in words."""
        n_layers, n_heads = self.sinks.shape
        looked = "all" if self.exact else f"{self.rows:,} of"
        return (
            f"patterns of stack {self.stack!r}: {n_layers} layers x {n_heads} heads, over {looked} {self.n_queries:,} "
            f"queries, near is {self.window} tokens"
        )


def find_patterns(stack: AttentionStack, example: int, *, rows: int | None, window: int) -> Patterns:
    """Measure every head of a stack, in one pass over its rows, a bounded block of them at a time.

    Args:
        stack: whose heads.
        example: of the batch.
        rows: look at no more than so many rows of each head, spread over all of them; None: all of them, or 1024 where
            there are more than 4096.
        window: how far is near, in tokens.

    Returns:
        A row per head.

    Raises:
        ValueError: rows or window are not whole numbers of at least 1.
    """
    if rows is not None:
        check_size("rows", rows)
    check_size("window", window)
    queries, keys = stack.query_spans[example], stack.key_spans[example]
    side = Side.of(queries, keys, stack.query_tokens[example], stack.key_tokens[example], window=int(window))
    n_queries = queries[1] - queries[0]
    if rows is None and n_queries > LONG:
        rows = SAMPLED
    shape = stack.n_layers, stack.n_heads
    columns = {measure.name: np.full(shape, np.nan) for measure in MEASURES}
    errors = {measure.name: np.full(shape, np.nan) for measure in MEASURES}
    sinks = np.zeros(shape, dtype=np.intp)
    for number, layer in enumerate(stack.layers):
        found = stream(layer, example, side, rows)
        for name, mean in found.means.items():
            columns[name][number] = mean.value
            errors[name][number] = mean.error(found.share)
        mass = found.received.sum(axis=1)
        sinks[number] = found.received.argmax(axis=1)
        columns["sink"][number] = found.received.max(axis=1) / np.where(mass > 0, mass, np.nan)
    looked = n_queries if rows is None else min(int(rows), n_queries)
    if looked == n_queries:
        errors = {name: np.where(np.isnan(columns[name]), np.nan, 0.0) for name in errors}
    return Patterns(stack.name, columns, errors, sinks, rows=looked, n_queries=n_queries, window=int(window))
