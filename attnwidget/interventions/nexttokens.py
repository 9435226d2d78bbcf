"""`model.candidates`: what a language model says after each token of a text, all from one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from attnwidget.analysis import Candidate, Candidates
from attnwidget.interventions.baseline import check_eval, ids_of
from attnwidget.outputs.vocabulary import logits_of, name_of_token, place_of, token_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.interventions.asking import Interventions


@dataclass(frozen=True, eq=False)
class NextTokens:
    """The logits of one text.

    Attributes:
        model: that ran.
        ids: (T,) of the text, padding included.
        logits: (T, V), as the model gave them.
        span: what of the sequence is not padding.
    """

    model: Interventions
    ids: torch.Tensor
    logits: torch.Tensor
    span: tuple[int, int]

    @classmethod
    def of(cls, model: Interventions, inputs: Any, forward_kwargs: Mapping[str, Any]) -> NextTokens:  # noqa: ANN401
        """Run the model once.

        Raises:
            TypeError, ValueError: as `Interventions.candidates`.
        """
        check_eval(model)
        prepared = model._arguments(inputs, forward_kwargs)  # noqa: SLF001 - a part of its class
        ids = ids_of(model, prepared)
        if ids is None or ids.shape[0] != 1:
            seen = "no ids" if ids is None else f"{ids.shape[0]} examples"
            raise ValueError(f"inputs hold {seen}; expected one text, or the ids of one")
        with torch.no_grad():
            output = model.model(*prepared.args, **prepared.kwargs)
        axis = prepared.naming.queries
        span = (0, ids.shape[1]) if axis is None or axis.spans is None else axis.spans[0]
        return cls(model, ids[0], logits_of(output, ids.shape[1], model.name)[0], span)

    def likeliest(self, position: int, k: int) -> Candidates:
        """The likeliest tokens after a position, counted without padding.

        Raises:
            IndexError: no such position.
        """
        place = place_of(position, self.span)
        row = self.logits[place].double()
        best = row.topk(min(k, len(row))).indices
        probabilities = row.softmax(-1)
        found = [self._candidate(int(number), row, probabilities) for number in best]
        after = name_of_token(int(self.ids[place]), self.model.tokenizer)
        return Candidates(place - self.span[0], after, tuple(found))

    def of_token(self, position: int, token: object) -> tuple[Candidate, int]:
        """One token as a candidate, and how many are likelier.

        Raises:
            TypeError, ValueError: it is no token.
            IndexError: no such position.
        """
        row = self.logits[place_of(position, self.span)].double()
        number = token_id(token, self.model.tokenizer, len(row))
        return self._candidate(number, row, row.softmax(-1)), int((row > row[number]).sum())

    def _candidate(self, number: int, row: torch.Tensor, probabilities: torch.Tensor) -> Candidate:
        name = name_of_token(number, self.model.tokenizer)
        return Candidate(name, number, float(probabilities[number]), float(row[number]))


def candidates(
    model: Interventions,
    inputs: Any,  # noqa: ANN401
    *,
    position: int,
    k: int,
    forward_kwargs: Mapping[str, Any],
) -> Candidates:
    """See `Interventions.candidates`."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k is {k!r}; expected 1 candidate or more")
    return NextTokens.of(model, inputs, forward_kwargs).likeliest(position, k)
