"""The panel "output": what the page asks of the model about the text shown, and what is kept between messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from attnwidget.attention.wording import word_starts
from attnwidget.widget.live import words_of
from attnwidget.widget.parsing import RequestError, head_of, integer, one_of, optional, parse_place
from attnwidget.widget.protocol import ABLATIONS, METRICS
from attnwidget.widget.tilecache import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from attnwidget.analysis import Ablation, Candidate, Candidates, Effect, LogitAttribution
    from attnwidget.attention import AttentionCapture
    from attnwidget.widget.live import Live, Runner, Text
    from attnwidget.widget.requests import Method

    Found = tuple[str, Ablation | LogitAttribution]
    Answer = tuple[dict[str, Any], Found | None]

Mode: TypeAlias = Literal["zero", "mean", "uniform"]
Metric: TypeAlias = Literal["loss", "probability", "logits"]

SLICE = 0.1
"""Seconds of work on what is made in slices, in one message."""
_MOST = 10
"""Candidates that are sent."""


class Steps(Protocol):
    """Heads that are replaced one after another."""

    ablation: Ablation

    @property
    def done(self) -> float:
        """From 0 to 1."""

    def step(self, seconds: float) -> bool:
        """Go on for about so long, and say whether all is done."""


class Asking(Protocol):
    """A model that is asked about one text. Positions are queries of a stack; None is the last one."""

    @property
    def masked(self) -> bool:
        """Whether candidates stand at a position, and not after it."""

    def candidates(self, stack: str, position: int | None, k: int) -> Candidates:
        """The likeliest tokens."""

    def candidate(self, stack: str, position: int | None, token: int) -> tuple[Candidate, int]:
        """One token, and how many are likelier."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Tokens as the vocabulary writes them."""

    def ablating(
        self,
        stack: str,
        heads: list[tuple[int, int]] | None,
        mode: Mode,
        metric: Metric,
        token: int | None,
        position: int | None,
    ) -> Steps:
        """Heads replaced, one at a time."""

    def knockout(
        self,
        stack: str,
        query: slice,
        key: slice,
        layers: int | None,
        metric: Metric,
        token: int | None,
        position: int | None,
    ) -> Effect:
        """Edges cut, in one layer or all."""

    def attribution(self, stack: str, token: int, position: int | None) -> LogitAttribution:
        """What heads add to a logit."""


class Outputs:
    """Answers what the panel asks. Everything that is kept is about one text, and goes with it.

    Args:
        live: of the view; None: it shows one capture and knows no model.
        runner: of its texts. While one runs, nothing is asked: two runs at once would need twice the memory.
        shown: tells the text shown, its capture as the model made it, and whether its words are merged.
        take_map: colours the grid by what a head-by-head question found, under a name.
    """

    def __init__(
        self,
        live: Live | None,
        runner: Runner[Any] | None,
        shown: Callable[[], tuple[Text, AttentionCapture, bool]],
        take_map: Callable[[str, Ablation | LogitAttribution], None],
    ) -> None:
        self._live, self._runner, self._shown, self._take_map = live, runner, shown, take_map
        self._asking: tuple[AttentionCapture, Asking] | None = None
        self._begun: tuple[Any, Steps] | None = None

    def methods(self) -> dict[str, Method]:
        """What the page may ask for, by name."""
        found = {
            "candidates": self._candidates,
            "ablate": self._ablate,
            "knockout": self._knockout,
            "attribute": self._attribute,
        }
        return {name: self._guarded(method) for name, method in found.items()}

    def stop(self) -> None:
        """Let go of what was begun."""
        self._begun = None

    def release(self) -> None:
        """Let go of everything; what is asked for next runs the model anew."""
        self._asking = self._begun = None

    def close(self) -> None:
        """Answer nothing any more."""
        self.release()
        self._live = self._runner = None

    def _guarded(self, method: Callable[[Asking, Mapping[str, Any]], Answer]) -> Method:
        def answer(_: AttentionCapture, params: Mapping[str, Any]) -> Reply:
            if self._live is None or self._runner is None or self._live.ask is None:
                raise RequestError(
                    "unavailable",
                    "this view shows one capture and knows no model: model.show(text) makes one that does",
                )
            try:
                with self._runner.resting() as rests:
                    if not rests:
                        return Reply({"done": 0, "waiting": True})
                    content, found = method(self._about_shown(self._live.ask), params)
                if found is not None:  # whoever hears of it may run another text
                    self._take_map(*found)
            except RequestError:
                raise
            except Exception as error:  # the model's own, and what it refuses, in its words
                raise RequestError("unavailable", words_of(error)) from error
            return Reply(content)

        return answer

    def _about_shown(self, ask: Callable[[Text, AttentionCapture], Asking]) -> Asking:
        text, capture, _ = self._shown()
        if self._asking is None or self._asking[0] is not capture:
            self.release()
            self._asking = capture, ask(text, capture)
        return self._asking[1]

    def _candidates(self, asking: Asking, params: Mapping[str, Any]) -> Answer:
        stack, position = self._place(params)
        found = asking.candidates(stack, position, _MOST)
        rows = [(row, rank) for rank, row in enumerate(found)]
        token = optional(params, "token")
        if token is not None and all(row.id != token for row in found):
            rows.append(asking.candidate(stack, position, token))
        pieces = asking.pieces([row.id for row, _ in rows])
        sent = [
            [row.id, row.token.encode("utf-8", "backslashreplace").decode(), piece, _sent(row.probability), rank]
            for (row, rank), piece in zip(rows, pieces, strict=True)
        ]
        return {"done": 1, "masked": asking.masked, "rows": sent}, None

    def _ablate(self, asking: Asking, params: Mapping[str, Any]) -> Answer:
        stack, position = self._place(params)
        heads = None if params.get("head") is None else [head_of(self._shown()[1].stacks[stack], params)]
        mode, metric = one_of(params, "mode", ABLATIONS), one_of(params, "metric", METRICS)
        about = self._about(params, metric, position)
        key = stack, str(heads), mode, metric, *about.values()
        if self._begun is None or self._begun[0] != key:
            self._begun = None
            self._begun = key, asking.ablating(stack, heads, mode, metric, **about)
        work = self._begun[1]
        try:
            done = work.step(SLICE)
        except BaseException:
            self._begun = None
            raise
        if not done:
            return {"done": work.done}, None
        self._begun = None
        found = work.ablation
        if heads is None:
            return {"done": 1}, ("output:ablation", found)
        return {"done": 1, **_effect(found.baseline, found.baseline + float(found.values[heads[0]]))}, None

    def _knockout(self, asking: Asking, params: Mapping[str, Any]) -> Answer:
        stack, position = self._place(params)
        metric = one_of(params, "metric", METRICS)
        layer = optional(params, "layer")
        query, key = self._span(stack, "query", params), self._span(stack, "key", params)
        found = asking.knockout(stack, query, key, layer, metric, **self._about(params, metric, position))
        return {"done": 1, **_effect(found.baseline, found.value)}, None

    def _attribute(self, asking: Asking, params: Mapping[str, Any]) -> Answer:
        stack, position = self._place(params)
        found = asking.attribution(stack, integer(params, "token"), position)
        return {"done": 1}, ("output:attribution", found)

    def _about(self, params: Mapping[str, Any], metric: str, position: int | None) -> dict[str, int | None]:
        # The loss is of the whole text.
        of_token = metric != "loss"
        return {"token": integer(params, "token") if of_token else None, "position": position if of_token else None}

    def _place(self, params: Mapping[str, Any]) -> tuple[str, int | None]:
        """The stack, and a position in it: of a word that of its last token; None where none is given."""
        place = parse_place(self._shown()[1], params)[1]
        if params.get("position") is None:
            return place.stack, None
        return place.stack, self._span(place.stack, "query", {"query": params["position"]}).stop - 1

    def _span(self, stack: str, side: str, params: Mapping[str, Any]) -> slice:
        """The tokens of a query or key of the view, which may be a word."""
        _, capture, in_words = self._shown()
        plain = capture.stacks[stack]
        tokens = (plain.query_tokens if side == "query" else plain.key_tokens)[0]
        starts = word_starts(tokens) if in_words else np.arange(len(tokens))
        index = integer(params, side)
        if not 0 <= index < len(starts):
            raise RequestError("invalid", f"{side} {index} does not exist: there are 0 to {len(starts) - 1}")
        stop = starts[index + 1] if index + 1 < len(starts) else len(tokens)
        return slice(int(starts[index]), int(stop))


def _effect(before: float, after: float) -> dict[str, float | None]:
    return {"baseline": _sent(before), "value": _sent(after)}


def _sent(number: float) -> float | None:
    """JSON has no infinity, and no NaN."""
    return number if math.isfinite(number) else None
