"""What heads do over many texts: mean and spread, a table for each stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.analysis.definitions import BY_NAME
from attnwidget.analysis.patterns import in_order, shapes_of
from attnwidget.analysis.table import as_html, as_text, need_pandas, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike
    from pathlib import Path

    from numpy.typing import NDArray

    from attnwidget.analysis.moments import Moments

    Values = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class HeadSurvey:
    """One row of the table.

    Attributes:
        layer: counted from 0.
        head: counted from 0.
        shape: name of what the head does most on average, as `Patterns.shapes` names it.
        measures: means over texts, by measure; NaN where it applied to no text.
        std: standard deviations over texts (n - 1); NaN where it applied to fewer than two.
        count: texts that it applied to.
    """

    layer: int
    head: int
    shape: str
    measures: Mapping[str, float]
    std: Mapping[str, float]
    count: Mapping[str, int]


@dataclass(frozen=True)
class Failure:
    """A text that was left out.

    Attributes:
        index: its place among the texts, from 0.
        error: why, in words.
    """

    index: int
    error: str


class SurveyTable:
    """The heads of one stack, over all texts. Every text counts once, however long it is.

    Args:
        title: what was looked at, in words.
        stack: name of the stack.
        moments: by measure, each of maps (L, H).
    """

    def __init__(self, title: str, stack: str, moments: Mapping[str, Moments]) -> None:
        self.title, self.stack, self.moments = title, stack, moments

    @property
    def mean(self) -> Values:
        """By measure, (L, H) float64 over the texts that it applies to; NaN where there is none."""
        return {name: one.mean for name, one in self.moments.items()}

    @property
    def std(self) -> Values:
        """By measure, (L, H) float64: the standard deviation over texts (n - 1); NaN of fewer than two."""
        return {name: one.std for name, one in self.moments.items()}

    @property
    def count(self) -> Mapping[str, NDArray[np.int64]]:
        """By measure, (L, H) int64: texts that it applies to, as a text without repeated tokens has no induction."""
        return {name: one.count for name, one in self.moments.items()}

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads."""
        n_layers, n_heads = next(iter(self.moments.values())).count.shape
        return n_layers, n_heads

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The mean of one measure, (L, H)."""
        if name not in self.moments:
            raise KeyError(f"there is no measure {name!r}: this survey has {', '.join(self.moments)}")
        return self.moments[name].mean

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def __iter__(self) -> Iterator[HeadSurvey]:
        """Row by row, in the order of layers and heads."""
        mean, std, count = self.mean, self.std, self.count
        shapes = shapes_of(mean)
        for layer, head in np.ndindex(*self.shape):
            at = layer, head
            yield HeadSurvey(
                layer,
                head,
                str(shapes[at]),
                {name: float(values[at]) for name, values in mean.items()},
                {name: float(values[at]) for name, values in std.items()},
                {name: int(values[at]) for name, values in count.items()},
            )

    def sorted(self, by: str, *, descending: bool = True) -> list[HeadSurvey]:
        """Rows by the mean of a measure, the largest first; rows where it is NaN come last.

        Raises:
            KeyError: no such measure.
        """
        places = in_order(self[by], descending=descending)
        rows = list(self)
        return [rows[place] for place in places]

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas is not always there
        """A DataFrame: layer, head, shape, and of each measure its mean, `..._std` and `..._count`.

        Raises:
            ImportError: pandas is not installed.
        """
        pd: Any = need_pandas("`survey.mean`, `survey.std` and `survey.count`, dicts of NumPy arrays")
        rows = []
        for row in self:
            cells: dict[str, Any] = {"layer": row.layer, "head": row.head, "shape": row.shape}
            for name, mean in row.measures.items():
                cells |= {name: mean, f"{name}_std": row.std[name], f"{name}_count": row.count[name]}
            rows.append(cells)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return as_text(self.title, list(self), _cell)

    def _repr_html_(self) -> str:
        titles = {name: BY_NAME[name].title if name in BY_NAME else name for name in self.moments}
        return as_html(self.title, list(self), titles, _cell)


@dataclass(frozen=True, eq=False, repr=False)
class Survey:
    """What every head did over many texts; `aw.survey` makes it.

    `mean`, `std`, `count`, `sorted`, `to_pandas` and rows are of the first stack; `table("cross")` has another one's.

    Attributes:
        model: its name.
        moments: by stack and measure, of maps (L, H).
        n_texts: that were counted.
        n_tokens: of all of them, in the first stack; of queries, padding left out.
        failures: texts that were left out, and why.
        n_sampled: texts of which not all queries were looked at: `rows` of them, or 1024 of more than 4096.
        window: how far is near, in tokens.
        rows: queries looked at in each text, as for `cap.patterns`.
        interrupted: somebody stopped it before the last text.
        digests: uint64, of each text that was looked at, in order: by which going on from a file knows them.
        first: place of the first text that was counted, None before.
        sample: what was measured of that text, by stack and measure: by which going on knows model and measures.
    """

    model: str
    moments: Mapping[str, Mapping[str, Moments]] = field(default_factory=dict)
    n_texts: int = 0
    n_tokens: int = 0
    failures: tuple[Failure, ...] = ()
    n_sampled: int = 0
    window: int = 8
    rows: int | None = None
    interrupted: bool = False
    digests: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    first: int | None = None
    sample: Mapping[str, Values] = field(default_factory=dict)

    @property
    def stacks(self) -> Mapping[str, SurveyTable]:
        """A table for each stack, in the order they ran."""
        return {name: self.table(name) for name in self.moments}

    @property
    def mean(self) -> Values:
        """By measure, (L, H) float64: its mean over the texts that it applies to."""
        return self.table().mean

    @property
    def std(self) -> Values:
        """By measure, (L, H) float64: its standard deviation over these texts (n - 1)."""
        return self.table().std

    @property
    def count(self) -> Mapping[str, NDArray[np.int64]]:
        """By measure, (L, H) int64: texts that it applies to."""
        return self.table().count

    def table(self, stack: str | None = None) -> SurveyTable:
        """The rows of a stack; the first one if None.

        Raises:
            KeyError: no such stack.
        """
        if not self.moments:
            raise KeyError("no text was counted, so that there are no heads")
        name = next(iter(self.moments)) if stack is None else stack
        if name not in self.moments:
            raise KeyError(f"stack {name!r} does not exist: this survey has {', '.join(map(repr, self.moments))}")
        table = SurveyTable("", name, self.moments[name])
        n_layers, n_heads = table.shape
        table.title = (
            f"stack {name!r} of {self._over()}: {n_layers} layers x {n_heads} heads, mean ± standard deviation"
        )
        return table

    def __iter__(self) -> Iterator[HeadSurvey]:
        return iter(self.table())

    def __len__(self) -> int:
        return len(self.table())

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The mean of one measure, (L, H)."""
        return self.table()[name]

    def sorted(self, by: str, *, descending: bool = True) -> list[HeadSurvey]:
        """Rows by the mean of a measure, the largest first; rows where it is NaN come last.

        Raises:
            KeyError: no such measure.
        """
        return self.table().sorted(by, descending=descending)

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas is not always there
        """A DataFrame: layer, head, shape, and of each measure its mean, `..._std` and `..._count`.

        Raises:
            ImportError: pandas is not installed.
        """
        return self.table().to_pandas()

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it into a file that `Survey.load` reads, and from which `aw.survey(..., path=...)` goes on.

        Raises:
            OSError: the file cannot be written.
        """
        from attnwidget.saving.surveys import save_survey

        return save_survey(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Survey:
        """Read what `save`, or `aw.survey(..., path=...)`, wrote. Nothing in a file is run.

        Raises:
            FileNotFoundError: there is no such file.
            IsADirectoryError: it is a folder.
            CaptureError: it is not the file of a survey, or not a whole one, or of a later version of the format.
        """
        from attnwidget.saving.surveys import load_survey

        return load_survey(path)

    def __repr__(self) -> str:
        lines = [f"Survey({self._over()}{', interrupted' if self.interrupted else ''})"]
        for name, table in self.stacks.items():
            n_layers, n_heads = table.shape
            lines.append(f"  {name}  {n_layers} layers x {n_heads} heads: {', '.join(table.moments)}")
        if self.failures:
            last = self.failures[-1]
            lines.append(f"  {len(self.failures)} left out, the last of them text {last.index}: {last.error}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def _over(self) -> str:
        sampled = f", {self.n_sampled:,} of them by a sample of their queries" if self.n_sampled else ""
        return f"{self.model!r}, {self.n_texts:,} texts of {self.n_tokens:,} tokens{sampled}"


def _cell(row: HeadSurvey, name: str) -> str:
    return f"{number(row.measures[name])} ± {number(row.std[name], 2)}"
