"""One number drawn from the output of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch.nn import functional

from attnwidget.outputs.vocabulary import logits_of, name_of_token, place_of, token_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnwidget.outputs.context import RunContext

Asked: TypeAlias = "Literal['loss', 'logits', 'probability'] | Callable[[Any], Any]"
_NAMED = "'loss', 'logits', 'probability'"


@dataclass(frozen=True)
class Metric:
    """What is measured.

    Attributes:
        words: what it is called.
        measure: of the output of a run and the number of an example in it.
        each_alone: the output is to hold one example.
    """

    words: str
    measure: Callable[[Any, int], float]
    each_alone: bool = False


def metric_of(asked: Asked, context: RunContext, *, token: object, versus: object, position: int) -> Metric:
    """Read what a person asks for.

    Args:
        asked: a name, or a function of the model's output.
        context: of the run.
        token: whose logit or probability.
        versus: a token whose logit is taken off.
        position: of the token after which it is looked for, without padding.

    Raises:
        TypeError: the metric is neither, or the token is not one.
        ValueError: no such name, a token is missing, or is given where none is used; or the model has no loss.
        IndexError: no such position.
    """
    if callable(asked):
        if token is not None or versus is not None:
            raise ValueError("token is given, and the metric is a function: expected it to choose its token itself")
        return Metric(getattr(asked, "__name__", type(asked).__name__), _called(asked), each_alone=True)
    if not isinstance(asked, str):
        raise TypeError(
            f"metric is {type(asked).__name__} {asked!r:.60}; expected {_NAMED} or a function of the output"
        )
    if asked == "loss":
        if token is not None or versus is not None:
            raise ValueError(
                "token is given, and metric='loss' looks at every token; expected 'logits' or 'probability'"
            )
        return _loss(context)
    if asked not in {"logits", "probability"}:
        raise ValueError(f"metric is {asked!r}; expected {_NAMED} or a function of the output")
    if token is None:
        raise ValueError(f"metric={asked!r} is of a token, and none is given; expected token=, a str or a token id")
    if versus is not None and asked == "probability":
        raise ValueError("versus is given with metric='probability'; expected it with 'logits', where the two differ")
    return _of_token(asked, context, token, versus, place_of(position, context.span))


def _called(asked: Callable[[Any], Any]) -> Callable[[Any, int], float]:
    def measure(output: Any, _: int) -> float:  # noqa: ANN401
        found = asked(output)
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            shape = f" of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else ""
            raise TypeError(f"metric returned {type(found).__name__}{shape}; expected one number") from error

    return measure


def _of_token(asked: str, context: RunContext, token: object, versus: object, place: int) -> Metric:
    size = context.n_vocabulary
    number = token_id(token, context.tokenizer, size)
    other = None if versus is None else token_id(versus, context.tokenizer, size)

    def measure(output: Any, example: int) -> float:  # noqa: ANN401
        row = logits_of(output, context.n_tokens, context.name)[example, place].double()
        if asked == "probability":
            return float(row.softmax(-1)[number])
        return float(row[number] if other is None else row[number] - row[other])

    name = repr(name_of_token(number, context.tokenizer))
    where = f"at position {place - context.span[0]}"
    if asked == "probability":
        return Metric(f"probability of {name} {where}", measure)
    less = "" if other is None else f" less that of {name_of_token(other, context.tokenizer)!r}"
    return Metric(f"logit of {name}{less} {where}", measure)


def _loss(context: RunContext) -> Metric:
    """Mean of -log p(token | tokens before it) over the text, in nats."""
    ids = context.ids
    if ids is None:
        raise ValueError(f"metric='loss' needs the ids of the text, and {context.name} was given none; pass a function")
    if not context.is_causal:
        raise ValueError(
            f"metric='loss' is of a model that predicts each token from those before it, and {context.name} sees those "
            "after it; expected a causal language model, or a function of the output as metric"
        )
    first, stop = context.span
    if stop - first < len("ab"):
        raise ValueError("metric='loss' needs two tokens at least, and the text has one")
    targets = ids[0, first + 1 : stop]

    def measure(output: Any, example: int) -> float:  # noqa: ANN401
        logits = logits_of(output, context.n_tokens, context.name)[example, first : stop - 1]
        return float(functional.cross_entropy(logits.float(), targets.to(logits.device)))

    return Metric("loss", measure)
