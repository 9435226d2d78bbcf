"""The head finder: what every head of a stack does, in numbers that the field has names for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.analysis.definitions import BY_NAME, MEASURES, SHAPES
from attnwidget.analysis.table import as_html, as_text, need_pandas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

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
        return shapes_of(self.columns)

    @property
    def labels(self) -> list[str]:
        """What each head does most, in words and with its number: "previous-token head, 0.82 on the token before".

        One for each row of the table.
        """
        measures = {shape: BY_NAME[name] for name, shape in SHAPES.items()}
        words = []
        for row in self:
            value = row.measures
            if np.isnan(value["entropy"]):
                words.append("no query has two keys to choose from")
            elif row.shape == "one key":
                words.append(f"one-key head, {value['sink']:.3g} on key {row.sink}")
            elif row.shape in measures:
                measure = measures[row.shape]
                words.append(f"{row.shape.replace(' ', '-')} head, {value[measure.name]:.3g} {measure.title}")
            elif row.shape == "local":
                words.append(f"local head, {value['near']:.3g} within {self.window} tokens")
            else:
                words.append(f"{row.shape} head, entropy {value['spread']:.3g} of that of an even row")
        return words

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
        rows = list(self)
        return [rows[place] for place in in_order(self[by], descending=descending)]

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
        pd: Any = need_pandas("`patterns.columns`, a dict of NumPy arrays")
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


def shapes_of(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.str_]:
    """(L, H), what each head does most, by the columns of `Patterns`; its `shapes` says how."""
    shares = np.stack([np.nan_to_num(columns[name]) for name in SHAPES])
    # A tie goes to the more particular one: all of "first token" is also "one key".
    best = shares.argmax(axis=0)
    named = np.array(list(SHAPES.values()), dtype=np.str_)[best]
    rest = np.where(columns["spread"] >= _EVEN, "broad", "mixed")
    rest = np.where(np.nan_to_num(columns["near"]) >= _NEAR, "local", rest)
    found: NDArray[np.str_] = np.where(shares.max(axis=0) >= DOMINANT, named, rest)
    return found


def in_order(column: NDArray[np.float64], *, descending: bool) -> NDArray[np.intp]:
    """Places of heads by a column (L, H), the largest first or the smallest; those that are NaN last."""
    flat = column.ravel()
    return np.argsort(np.where(np.isnan(flat), np.inf, -flat if descending else flat), kind="stable")
