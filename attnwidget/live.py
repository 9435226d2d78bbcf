"""`model.show`: a view whose text can be edited, over a model that runs again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from attnwidget.intercept.stopping import stopping
from attnwidget.interventions.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnwidget.attention import AttentionCapture
    from attnwidget.intercept.differentiating import Target
    from attnwidget.model import AttentionModel
    from attnwidget.widget import AttentionWidget
    from attnwidget.widget.live import Text


def show(
    model: AttentionModel,
    text: Text,
    *,
    values: bool,
    target: Target | None,
    **traits: Any,  # noqa: ANN401 - traits check their types
) -> AttentionWidget:
    """Run a text and show it in a view with a text box; see `AttentionModel.show`."""
    from attnwidget.widget import AttentionWidget
    from attnwidget.widget.live import Live

    if model.tokenizer is None:
        raise TypeError(
            f"{model.name} has no tokenizer, and so no text to edit: pass one, AttentionModel(model, tokenizer), or "
            "show one capture, model.capture(inputs).show()"
        )
    text = _checked(text)
    began = time.monotonic()
    capture = model.capture(text, values=values, target=target)
    seconds = time.monotonic() - began

    def run(text: Text, stop: Callable[[], bool]) -> AttentionCapture:
        with stopping(stop):
            return model.capture(_checked(text), values=values, target=target, progress=False)

    def ask(text: Text, capture: AttentionCapture) -> Questions:
        return Questions(model, text, capture)

    return AttentionWidget(capture, live=Live(text, run, seconds, ask), **traits)


def _checked(text: Text) -> Text:
    from attnwidget.widget.live import is_text

    if is_text(text):
        return text
    kind = f"{type(text).__name__} {text!r:.60}"
    raise TypeError(
        f"text is {kind}; expected a str or a pair (str, str), which can be edited; of anything else, several texts "
        "for example, show one capture: model.capture(inputs).show()"
    )
