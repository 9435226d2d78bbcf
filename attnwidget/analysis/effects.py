"""What a change of a model's attention does to its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.analysis.table import need_pandas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SHOWN = 10


def largest_first(values: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """(layer, head, value) of a map (L, H), the largest first, whatever its sign; those that are NaN left out."""
    order = np.argsort(-np.abs(values), axis=None, kind="stable")
    places = np.column_stack(np.unravel_index(order, values.shape))
    rows = [(int(layer), int(head), float(values[layer, head])) for layer, head in places]
    return [row for row in rows if not np.isnan(row[2])]


def head_lines(title: str, rows: Sequence[tuple[int, int, float]], whole: str) -> list[str]:
    """A line for each of the first heads, under a heading.

    Args:
        title: of the number.
        rows: (layer, head, number).
        whole: what has all of them.
    """
    lines = [f"{layer:>5}  {head:>4}  {number:>+12.4g}" for layer, head, number in rows[:_SHOWN]]
    left = len(rows) - _SHOWN
    more = [f"... and {left} more heads: {whole} have all of them"] if left > 0 else []
    return [f"layer  head  {title:>12}", *lines, *more]


@dataclass(frozen=True)
class Effect:
    """One number of the output, with and without a change.

    Attributes:
        what: was changed, in words.
        metric: what the number is, in words.
        baseline: without the change.
        value: with it.
    """

    what: str
    metric: str
    baseline: float
    value: float

    @property
    def change(self) -> float:
        """The value with the change less that without."""
        return self.value - self.baseline

    def __repr__(self) -> str:
        return f"{self.what}: {self.metric} {self.baseline:.4g} -> {self.value:.4g} ({self.change:+.4g})"


@dataclass(frozen=True, eq=False)
class Ablation:
    """How one number of the output changes when the result of one head at a time is replaced.

    Attributes:
        stack: whose heads.
        mode: what replaced their results: "zero", "mean" or "uniform".
        metric: what the number is, in words.
        baseline: of the model as it is.
        values: (L, H) float64, the number with this head replaced less the baseline; NaN for heads left out.
    """

    stack: str
    mode: str
    metric: str
    baseline: float
    values: NDArray[np.float64]

    def sorted(self) -> list[tuple[int, int, float]]:
        """(layer, head, change), the largest change first, whatever its sign; heads left out are not in it."""
        return largest_first(self.values)

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas is not always there
        """A DataFrame: layer, head, change; a row per head that was replaced.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = [row for row in np.ndindex(*self.values.shape) if not np.isnan(self.values[row])]
        return need_pandas("ablation.values, a NumPy array").DataFrame(
            [{"layer": layer, "head": head, "change": self.values[layer, head]} for layer, head in rows]
        )

    def __repr__(self) -> str:
        rows = self.sorted()
        title = (
            f"{self.mode} ablation of {len(rows)} of {self.values.size} heads of stack {self.stack!r}: {self.metric} "
            f"is {self.baseline:.4g}, and changes by"
        )
        return "\n".join([title, *head_lines("change", rows, "sorted(), values or to_pandas()")])
