"""What a live view asks about the text it shows; the numbers are those of the methods of `AttentionModel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnwidget.interventions.ablating import Ablating
from attnwidget.interventions.baseline import check_eval, is_causal
from attnwidget.interventions.nexttokens import NextTokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attnwidget.analysis import Candidate, Candidates, Effect, LogitAttribution
    from attnwidget.attention import AttentionCapture
    from attnwidget.interventions.ablating import Mode
    from attnwidget.interventions.asking import Interventions
    from attnwidget.outputs.measuring import Asked


class Questions:
    """About one text. The logits of one run, (tokens, vocabulary) numbers, answer for all its positions.

    Positions are queries of a stack, and counted without padding.

    Args:
        model: that is asked.
        text: that is shown.
        capture: of it.
    """

    def __init__(self, model: Interventions, text: str | tuple[str, str], capture: AttentionCapture) -> None:
        self._model, self._text, self._stacks = model, text, capture.stacks
        self._said: NextTokens | None = None

    @property
    def masked(self) -> bool:
        """Whether the model says what stands at a place, and not what comes after it."""
        return not is_causal(self._stacks[self._own])

    def candidates(self, stack: str, position: int | None, k: int) -> Candidates:
        """`AttentionModel.candidates`, from a run that is kept; None: after the last token."""
        place = self._place(stack, position)
        return self._next().likeliest(place, k)

    def candidate(self, stack: str, position: int | None, token: int) -> tuple[Candidate, int]:
        """One token as a candidate, and how many are likelier."""
        place = self._place(stack, position)
        return self._next().of_token(place, token)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Tokens as the vocabulary writes them."""
        return [str(piece) for piece in self._model.tokenizer.convert_ids_to_tokens(list(ids))]

    def ablating(
        self,
        stack: str,
        heads: Iterable[tuple[int, int]] | None,
        mode: Mode,
        metric: Asked,
        token: int | None,
        position: int | None,
    ) -> Ablating:
        """`AttentionModel.ablate`, in steps; a token and a position where the metric is of one."""
        about = {**self._about(stack, token, position), "versus": None}
        return Ablating.of(self._model, self._text, heads, mode=mode, asked=metric, about=about, stack=stack)

    def knockout(
        self,
        stack: str,
        query: slice,
        key: slice,
        layers: int | None,
        metric: Asked,
        token: int | None,
        position: int | None,
    ) -> Effect:
        """`AttentionModel.knockout`; layers: one, or None for all."""
        about = self._about(stack, token, position)
        return self._model.knockout(
            self._text, query=query, key=key, layers=layers, metric=metric, stack=stack, **about
        )

    def attribution(self, stack: str, token: int, position: int | None) -> LogitAttribution:
        """`AttentionModel.logit_attribution`."""
        return self._model.logit_attribution(self._text, token=token, position=self._place(stack, position))

    def _about(self, stack: str, token: int | None, position: int | None) -> dict[str, Any]:
        return {"token": token, "position": -1 if token is None else self._place(stack, position)}

    @property
    def _own(self) -> str:
        """The stack whose queries the output is about."""
        return next((name for name in ("decoder", "self") if name in self._stacks), next(iter(self._stacks)))

    def _place(self, stack: str, position: int | None) -> int:
        own = self._own
        if position is not None and stack == "encoder" and own != stack:
            raise ValueError(
                f"the output of {self._model.name} is about the tokens of stack {own!r}, and position {position} is of "
                f"stack {stack!r}; expected a query of {own!r}, or none for the last position"
            )
        return -1 if position is None else position

    def _next(self) -> NextTokens:
        check_eval(self._model)
        if self._said is None:
            self._said = NextTokens.of(self._model, self._text, {})
        return self._said
