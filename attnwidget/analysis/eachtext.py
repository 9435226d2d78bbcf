"""What a survey measures of each text. The capture of a text is closed before the next one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from attnwidget.analysis.definitions import BY_NAME
from attnwidget.analysis.finding import WINDOW, find_patterns
from attnwidget.attention.arrays import to_numpy
from attnwidget.attention.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.analysis.texts import Text
    from attnwidget.attention import AttentionCapture, AttentionStack

Measuring: TypeAlias = "Callable[[AttentionCapture], Any]"
Values: TypeAlias = "Mapping[str, Mapping[str, NDArray[np.float64]]]"
"""By stack and measure, (L, H)."""


class Found(NamedTuple):
    """Of one text.

    Attributes:
        n_tokens: queries in the first stack, padding left out.
        sampled: not all queries were looked at.
        values: what was measured.
    """

    n_tokens: int
    sampled: bool
    values: Values


class Captures(Protocol):
    """What makes captures: an `AttentionModel`."""

    name: str

    def capture(self, inputs: Any, **options: Any) -> AttentionCapture:  # noqa: ANN401 - see `AttentionModel.capture`
        """Run the model once and keep its attention."""


@dataclass(frozen=True)
class Asked:
    """What is asked of each text.

    Attributes:
        model: that is run.
        stack: of which heads; None for those of all stacks.
        measures: functions of a capture that give an array (L, H), beside those of `cap.patterns()`.
        rows: queries looked at, as for `cap.patterns`.
        window: how far is near, likewise.
        options: of `model.capture`.

    Raises:
        TypeError: the model makes no captures, or measures are no functions.
        ValueError: a measure has the name of one that there is.
    """

    model: Captures
    stack: str | None = None
    measures: Mapping[str, Measuring] | None = None
    rows: int | None = None
    window: int = WINDOW
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not callable(getattr(self.model, "capture", None)):
            raise TypeError(
                f"model is {type(self.model).__name__}; expected an AttentionModel: aw.AttentionModel(model, tokenizer)"
            )
        measures = self.measures or {}
        if not isinstance(measures, Mapping) or not all(callable(each) for each in measures.values()):
            raise TypeError(
                f"measures is {measures!r:.60}; expected functions of a capture by name, "
                '{"to the start": lambda cap: cap.pair(query=2, key=0)}'
            )
        taken = [name for name in measures if name in BY_NAME]
        if taken:
            raise ValueError(
                f"measures has {taken[0]!r}, which is one of those that every survey has; name it otherwise"
            )

    def of(self, texts: Sequence[Text]) -> list[Found]:
        """Run texts as one batch, and measure each.

        Returns:
            What was found of each.

        Raises:
            CaptureError: it left other stacks than one example for each text.
            ValueError: a measure is no map of the heads.
            Exception: whatever the model or a measure raises.
        """
        inputs = [text.inputs if text.kind == "text" else list(text.inputs) for text in texts if text.kind]
        capture = self.model.capture(inputs or texts[0].inputs, **{**(self.options or {}), "progress": False})
        try:
            stacks = self._stacks(capture)
            for stack in stacks:
                if stack.n_examples != len(texts):
                    raise CaptureError(
                        f"stack {stack.name!r} has {stack.n_examples} examples of {len(texts)} text"
                        f"{'s' if len(texts) > 1 else ''}; expected one of each: pass each example as a text"
                    )
            return [self._one(capture, stacks, example) for example in range(len(texts))]
        finally:
            capture.close()

    def _stacks(self, capture: AttentionCapture) -> list[AttentionStack]:
        if self.stack is None:
            return list(capture.stacks.values())
        if self.stack not in capture.stacks:
            raise KeyError(f"stack {self.stack!r} does not exist: this run has {', '.join(map(repr, capture.stacks))}")
        return [capture.stacks[self.stack]]

    def _one(self, capture: AttentionCapture, stacks: Sequence[AttentionStack], example: int) -> Found:
        tables = {stack.name: find_patterns(stack, example, rows=self.rows, window=self.window) for stack in stacks}
        values = {name: dict(table.columns) for name, table in tables.items()}
        first = stacks[0]
        if self.measures:
            alone = capture.example(example) if first.n_examples > 1 else capture
            for name, measure in self.measures.items():
                values[first.name][name] = _checked(name, measure(alone), (first.n_layers, first.n_heads))
        start, stop = first.query_spans[example]
        return Found(stop - start, not all(table.exact for table in tables.values()), values)


def _checked(name: str, values: object, shape: tuple[int, int]) -> NDArray[np.float64]:
    array = to_numpy(values)
    if array.dtype.kind not in "biuf" or array.shape != shape:
        raise ValueError(
            f"measure {name!r} gave {array.dtype} {array.shape}; expected a number for each layer and head, {shape}"
        )
    if np.isinf(array).any():
        raise ValueError(
            f"measure {name!r} is infinite for some head; expected numbers, and NaN where it does not apply"
        )
    return array.astype(np.float64)
