"""What a language model would say next, and what each head adds to the logit of one token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from attnwidget.analysis.effects import head_lines, largest_first
from attnwidget.analysis.table import need_pandas

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidate:
    """One token that may come next.

    Attributes:
        token: as text, its space included.
        id: its number in the vocabulary.
        probability: from 0 to 1, over the whole vocabulary.
        logit: before the softmax.
    """

    token: str
    id: int
    probability: float
    logit: float


@dataclass(frozen=True)
class Candidates:
    """The likeliest tokens, the likeliest first.

    Attributes:
        position: after which they would come (of a model for masked tokens: at which), counted from 0.
        after: the token there.
        rows: one for each.
    """

    position: int
    after: str
    rows: tuple[Candidate, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, index: int | slice) -> Candidate | tuple[Candidate, ...]:
        """One, or some of them."""
        return self.rows[index]

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas is not always there
        """A DataFrame: token, id, probability, logit.

        Raises:
            ImportError: pandas is not installed.
        """
        return need_pandas("candidates.rows").DataFrame([vars(row) for row in self.rows])

    def __repr__(self) -> str:
        lines = [f"{row.probability:>11.4f}  {row.logit:>8.3f}  {row.token!r} ({row.id})" for row in self.rows]
        return "\n".join([f"at position {self.position}, {self.after!r}:", "probability     logit  token", *lines])


@dataclass(frozen=True, eq=False)
class LogitAttribution:
    """What each head adds to a logit through the residual stream (Elhage et al. 2021; Wang et al. 2022).

    The last state of the stream is a sum, and the final norm, its scale held at the value it has in this run, and the
    output layer are linear: so the logit is the sum of all numbers here, up to rounding.

    Attributes:
        token: whose logit, in words.
        position: of the logits, counted from 0.
        logit: what the model computed (of two tokens: the first less the second).
        heads: (L, H) float64.
        attention_biases: (L,) float64, what the bias of each attention's output projection adds.
        others: (L,) float64, what else each layer adds: its MLP.
        embedding: what came into the first layer, positions included.
        bias: of the final norm and of the output layer.
    """

    token: str
    position: int
    logit: float
    heads: NDArray[np.float64]
    attention_biases: NDArray[np.float64]
    others: NDArray[np.float64]
    embedding: float
    bias: float

    @property
    def total(self) -> float:
        """The sum of all parts."""
        parts = self.heads.sum() + self.attention_biases.sum() + self.others.sum()
        return float(parts) + self.embedding + self.bias

    def sorted(self) -> list[tuple[int, int, float]]:
        """(layer, head, contribution), the largest first, whatever its sign."""
        return largest_first(self.heads)

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas is not always there
        """A DataFrame: part ("embedding", "head", "attention bias", "mlp", "bias"), layer, head, contribution.

        Raises:
            ImportError: pandas is not installed.
        """
        rows: list[tuple[str, int | None, int | None, float]] = [("embedding", None, None, self.embedding)]
        for layer, heads in enumerate(self.heads):
            rows += [("head", layer, head, float(value)) for head, value in enumerate(heads)]
            rows.append(("attention bias", layer, None, float(self.attention_biases[layer])))
            rows.append(("mlp", layer, None, float(self.others[layer])))
        rows.append(("bias", None, None, self.bias))
        frame = need_pandas("attribution.heads, a NumPy array").DataFrame(
            rows, columns=["part", "layer", "head", "contribution"]
        )
        return frame.astype({"layer": "Int64", "head": "Int64"})

    def __repr__(self) -> str:
        parts = [
            ("heads", self.heads.sum()),
            ("mlps", self.others.sum()),
            ("embedding", self.embedding),
            ("biases", self.attention_biases.sum() + self.bias),
        ]
        title = f"logit of {self.token} at position {self.position}: {self.logit:.4g} = " + " ".join(
            f"{value:+.4g} ({name})" for name, value in parts
        )
        return "\n".join([title, *head_lines("contribution", self.sorted(), "sorted(), heads or to_pandas()")])
