"""What a view shows of the capture it was given: the same, without some keys, in words, or by another measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.analysis.measured import LENSES, measured, why_not
from attnwidget.attention.wording import word_starts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from attnwidget.attention import AttentionCapture, AttentionStack, Tokens


class Lenses:
    """The captures a view makes from the one it was given, one at a time.

    Args:
        capture: the one given.
    """

    def __init__(self, capture: AttentionCapture) -> None:
        self.capture = capture
        self._wanted: tuple[bool, tuple[int, ...], str] = False, (), ""
        self._made = capture
        self._measured: tuple[AttentionCapture, str, str] = capture, "", ""
        self._seen = capture

    def weights(self, stack: str, *, words: bool, hidden: Iterable[int]) -> AttentionCapture:
        """The weights that are looked at; the same object for the same wishes.

        Args:
            stack: whose keys are hidden.
            words: merge sub-words.
            hidden: keys, as tokens of the capture given; those the stack does not have are passed over.
        """
        plain = self.capture.stacks.get(stack)
        keys = () if plain is None else tuple(key for key in hidden if 0 <= key < key_count(plain))
        wanted = words, keys, stack if keys else ""
        if wanted != self._wanted:
            made = self.capture.without_keys(keys, stack=stack) if keys else self.capture
            self._wanted, self._made = wanted, made.in_words() if words else made
        return self._made

    def shown(self, stack: str, *, words: bool, hidden: Iterable[int], measure: str) -> AttentionCapture:
        """What is shown: these weights, or another measure in their place where they have it."""
        weights = self.weights(stack, words=words, hidden=hidden)
        if measure not in LENSES or stack not in weights.stacks:
            self._measured, self._seen = (self.capture, "", ""), self.capture  # rollout keeps T x T numbers a layer
            return weights
        if self._measured != (weights, stack, measure):
            lacking = why_not(weights.stacks[stack], measure)
            self._seen = weights if lacking else measured(weights, measure, stack=stack)
            self._measured = weights, stack, measure
        return self._seen

    def moved(self, stack: str, batch: int, side: str, index: int | None, *, to_words: bool) -> int | None:
        """A place among tokens as one among words, or the first token of a word.

        Args:
            stack: which stack.
            batch: which example.
            side: "query" or "key".
            index: the place; None stays None.
            to_words: from tokens to words, or back.
        """
        if index is None:
            return None
        plain = self.capture.stacks[stack]
        tokens = (plain.query_tokens if side == "query" else plain.key_tokens)[batch]
        starts = word_starts(tokens)
        return int(np.searchsorted(starts, index, side="right")) - 1 if to_words else int(starts[index])

    def described(self, meta: dict[str, Any], stack: str, *, words: bool, hidden: Iterable[int]) -> dict[str, Any]:
        """The `meta` trait with what is hidden, and where words begin."""
        if words:
            meta["words"] = True
        for described, plain in zip(meta["stacks"], self.capture.stacks.values(), strict=True):
            for example, tokens in zip(described["examples"], plain.key_tokens, strict=True):
                if words:
                    example["key_starts"] = [*word_starts(tokens).tolist(), len(tokens)]
                if plain.name == stack and hidden:
                    example["hidden"] = [[key, _text(tokens, key)] for key in hidden if key < len(tokens)]
        return meta


@dataclass(frozen=True)
class Prepared:
    """Another capture, ready to be shown.

    Attributes:
        lenses: on it.
        hidden: keys hidden in it.
        packed: the `embed` trait.
        looked: what was packed: the stack, whether sub-words were merged, and the measure.
    """

    lenses: Lenses
    hidden: list[int]
    packed: bytes
    looked: tuple[str, bool, str]


def key_count(stack: AttentionStack) -> int:
    """Keys of the longest example."""
    return max(len(tokens) for tokens in stack.key_tokens)


def _text(tokens: Tokens, key: int) -> str:
    return (tokens.text[key] or tokens.pieces[key]).encode("utf-8", "backslashreplace").decode()
