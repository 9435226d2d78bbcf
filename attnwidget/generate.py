"""Text that goes on: a prompt and what the model makes of it, captured as one map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from attnwidget.attention import CaptureError
from attnwidget.inputs.generated import describe_generated, name_generated
from attnwidget.intercept.naming import Naming
from attnwidget.intercept.session import fill, watching

if TYPE_CHECKING:
    from attnwidget.attention import AttentionCapture
    from attnwidget.inputs import Prepared
    from attnwidget.intercept.passes.outcome import Outcome
    from attnwidget.intercept.terms import Terms
    from attnwidget.model import AttentionModel


def generate(model: AttentionModel, prepared: Prepared, options: dict[str, Any], terms: Terms) -> AttentionCapture:
    """Run transformers' own method under a capture.

    Args:
        model: what generates.
        prepared: the prompt.
        options: keyword arguments of transformers' generate().
        terms: what is kept.

    Returns:
        The capture.

    Raises:
        CaptureError: as for `AttentionModel.generate`.
    """
    two_sided = bool(getattr(getattr(model.model, "config", None), "is_encoder_decoder", False))
    prompt = prepared.naming.queries
    with watching(model.model, terms, model=model.name) as (result, recorder), torch.no_grad():
        if recorder.progress is not None:
            recorder.progress.n_tokens = options.get("max_new_tokens")
        model.model.generate(*prepared.args, **{**prepared.kwargs, **options})  # type: ignore[operator]

    def naming(outcome: Outcome | None) -> Naming:
        if outcome is None:
            return Naming()
        return name_generated(prompt, outcome, model.tokenizer, two_sided=two_sided)

    fill(result, recorder, naming)
    if recorder.outcome is not None:
        result.generation = describe_generated(prompt, recorder.outcome, model.tokenizer, two_sided=two_sided)
    return result


def check_generates(model: Any, name: str) -> None:  # noqa: ANN401 - any module
    """Raise if a model has no generate(), and say how to load one that has."""
    can = getattr(model, "can_generate", None)
    if callable(getattr(model, "generate", None)) and (can is None or can()):
        return
    config = getattr(model, "config", None)
    advice = "expected a model of transformers with a generate() of its own"
    if config is not None:
        kind = "AutoModelForSeq2SeqLM" if getattr(config, "is_encoder_decoder", False) else "AutoModelForCausalLM"
        advice = (
            "it has no language modelling head. Load it with one: AttentionModel.from_pretrained(..., "
            f"auto_class=transformers.{kind})"
        )
    raise CaptureError(f"{name} ({type(model).__name__}) cannot generate text: {advice}")
