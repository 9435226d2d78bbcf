"""What became of one model type: a row of the table."""

from __future__ import annotations

import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EXACT, DENSE, PARTLY, REFUSED, NOTHING, NOT_BUILT, WRONG = CATEGORIES = (
    "captured exactly",
    "captured densely",
    "captured partly",
    "refused",
    "has no attention",
    "not built",
    "wrong",
)


@dataclass
class Result:
    """One row.

    Attributes:
        model_type: its name.
        category: one of CATEGORIES.
        model: class that was made.
        stacks: layers by stack.
        checked_by: "outputs", "modules" or "values".
        compared: layers that were compared with the model's own weights.
        error: the largest difference.
        flat: compared layers whose rows look everywhere alike.
        reason: why it is in its category, where that needs a reason.
        problems: what is wrong.
        notes: what else one should know.
        implementation: what computes attention by default.
        inputs: shapes of what was passed.
        seconds: taken.
    """

    model_type: str
    category: str = NOT_BUILT
    model: str = ""
    stacks: dict[str, int] = field(default_factory=dict)
    checked_by: str = ""
    compared: int = 0
    error: float | None = None
    flat: int = 0
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    implementation: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_told(self) -> bool:
        """Whether it says something of the capture that is not that it is wrong."""
        return self.category not in {NOT_BUILT, WRONG}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def told(error: BaseException | None) -> str:
    """An error in one line, with the place in transformers it comes from."""
    if error is None:
        return "nothing to try"
    frames = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    place = next((path.name for path in reversed(frames) if "models" in path.parts), "")
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" + (f" ({place})" if place else "")
