"""A pair of sentences: the same heads, whole and cut to who looks at whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.attention import AttentionStack, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = "All"


def by_sentence(stacks: Sequence[AttentionStack], b_start: int) -> list[AttentionStack]:
    """Each stack whole, and its four parts, named as BertViz names them: "Sentence A -> Sentence B".

    The parts are windows on the same layers and hold nothing of their own; their rows sum to less than 1, as the rest
    of each is in the other part.

    Args:
        stacks: of square attention, all of one length.
        b_start: the first token of sentence B.

    Raises:
        ValueError: b_start leaves a sentence without tokens.
    """
    made = []
    for stack in stacks:
        length = stack.layers[0].n_keys
        if isinstance(b_start, bool) or not 0 < b_start < length:
            raise ValueError(
                f"sentence_b_start is {b_start}; expected the index of sentence B's first token, from 1 to {length - 1}"
            )
        spans = {"A": (0, b_start), "B": (b_start, length)}
        names = _segmented(stack, b_start)
        suffix = stack.name.removeprefix("self")  # layers of other shapes are in stacks of their own
        whole = _window(stack, ALL + suffix, names, (0, length), (0, length))
        made.append(whole)
        for query, key in ("AA", "BB", "AB", "BA"):
            called = f"Sentence {query} -> Sentence {key}{suffix}"
            made.append(_window(stack, called, names, spans[query], spans[key]))
    return made


def _window(
    stack: AttentionStack, name: str, tokens: list[Tokens], queries: tuple[int, int], keys: tuple[int, int]
) -> AttentionStack:
    return AttentionStack(
        name,
        stack.layers,
        query_tokens=tokens,
        key_tokens=tokens,
        query_spans=[queries] * stack.n_examples,
        key_spans=[keys] * stack.n_examples,
        infos=stack.infos,
    )


def _segmented(stack: AttentionStack, b_start: int) -> list[Tokens]:
    return [
        Tokens(
            tokens.pieces,
            tokens.text,
            tokens.gap,
            tokens.special,
            tuple(int(place >= b_start) for place in range(len(tokens))),
        )
        for tokens in stack.query_tokens
    ]


def start_of_b(tokens: Tokens) -> int | None:
    """Where the second sentence begins: after the separator that ends the first; None where there is one sentence."""
    firsts = [place for place, number in enumerate(tokens.segment) if number == 0 and not tokens.special[place]]
    if 1 not in tokens.segment or not firsts:
        return None
    after = firsts[-1] + 1
    return after + 1 if tokens.special[after] else after
