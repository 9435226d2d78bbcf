"""Whether a survey that goes on from a file is the one that was begun: model, heads, measures and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.errors import CaptureError

if TYPE_CHECKING:
    from pathlib import Path

    from attnwidget.analysis.eachtext import Asked, Values
    from attnwidget.analysis.surveyed import Survey
    from attnwidget.analysis.texts import Text

OTHER = "; expected the survey that was begun there: take another path, or remove the file to begin anew"
_ALIKE = 0.02
"""How far apart, in parts of the largest number of a map, one text may be measured twice: half precision and other
kernels do less, another checkpoint of a model does more."""
_NOISE = 1e-6
"""What float32 leaves of numbers that are nothing."""


def check_asked(kept: Survey, asked: Survey, path: Path | None) -> None:
    """Raise if another model or other rows are asked for than those of the file.

    Raises:
        CaptureError: they are.
    """
    for what, theirs, ours in (
        ("model", kept.model, asked.model),
        ("window", kept.window, asked.window),
        ("rows", kept.rows, asked.rows),
    ):
        if theirs != ours:
            raise CaptureError(f"{path} is a survey with {what} {theirs!r}, and {ours!r} is asked for{OTHER}")


def check_same(kept: Survey, text: Text, digest: int, asked: Asked, path: Path | None) -> None:
    """Raise if a text of the file is another one now, or if the first one is measured otherwise.

    A model has no number of its own, and a function even less: so the first text is measured again, which tells.

    Raises:
        CaptureError: it is.
    """
    if text.digest != digest:
        raise CaptureError(f"{path} was begun with another text in the place of {text}{OTHER}")
    if text.index != kept.first:
        return
    values = asked.of([text])[0].values
    if shapes_of(values) != shapes_of(kept.sample):
        raise CaptureError(f"{path} has {shapes_text(kept.sample)}, and now there are {shapes_text(values)}{OTHER}")
    for name, maps in values.items():
        for measure, now in maps.items():
            then = kept.sample[name][measure]
            far = np.abs(now - then) > _ALIKE * np.abs(np.nan_to_num(then)).max() + _NOISE
            if far.any() or (np.isnan(now) != np.isnan(then)).any():
                raise CaptureError(
                    f"{path} was begun with another model, or other functions: of {text}, {measure!r} in stack "
                    f"{name!r} is not what it was{OTHER}"
                )


def shapes_of(values: Values) -> dict[str, dict[str, tuple[int, ...]]]:
    """By stack and measure."""
    return {name: {measure: each.shape for measure, each in maps.items()} for name, maps in values.items()}


def shapes_text(values: Values) -> str:
    """The same in words."""
    return ", ".join(
        f"stack {name!r} of {next(iter(maps.values())).shape} layers and heads, measures {', '.join(maps)}"
        for name, maps in values.items()
    )
