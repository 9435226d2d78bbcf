"""The stacks of two captures put into one frame, where tokens that both texts have stand once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.aligning import Aligned, align
from attnwidget.attention.framed import FramedAttention
from attnwidget.attention.stack import AttentionStack
from attnwidget.attention.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Attention


def in_one_frame(
    names: Sequence[str], stacks: Sequence[AttentionStack], examples: Sequence[int]
) -> tuple[list[AttentionStack], Aligned, Aligned]:
    """Two stacks of the same tokens, made of one example of each of two stacks.

    Args:
        names: what to call them.
        stacks: of which.
        examples: which of each.

    Returns:
        The stacks, and how their queries and their keys are aligned. A side allows no pair with a token that it lacks.
    """
    each = list(zip(stacks, examples, strict=True))
    queries = [shown.query_tokens[example] for shown, example in each]
    keys = [shown.key_tokens[example] for shown, example in each]
    aligned = align(*queries)
    aligned_keys = aligned if keys == queries else align(*keys)
    framed = [
        AttentionStack(
            name,
            _framed(shown, example, [pair[side] for pair in aligned], [pair[side] for pair in aligned_keys]),
            query_tokens=[_merged(queries, aligned)],
            key_tokens=[_merged(keys, aligned_keys)],
            infos=shown.infos,
        )
        for side, (name, (shown, example)) in enumerate(zip(names, each, strict=True))
    ]
    return framed, aligned, aligned_keys


def lacking(aligned: Aligned) -> tuple[list[int], list[int]]:
    """Places of the frame that only a has, and that only b has."""
    only = [[place for place, pair in enumerate(aligned) if pair[other] is None] for other in (1, 0)]
    return only[0], only[1]


def has_both(aligned: Aligned) -> NDArray[np.bool_]:
    """Per place of the frame, whether both sides have its token."""
    return np.array([None not in pair for pair in aligned], dtype=np.bool_)


def _framed(
    shown: AttentionStack, example: int, queries: Sequence[int | None], keys: Sequence[int | None]
) -> Sequence[Attention]:
    """The layers of a side, its tokens at their places in the frame."""
    first = shown.layers[0]
    of_queries = _places(queries, shown.query_spans[example][0], first.n_queries)
    of_keys = _places(keys, shown.key_spans[example][0], first.n_keys)
    whole = all(
        np.array_equal(places, np.arange(len(frame))) for places, frame in ((of_queries, queries), (of_keys, keys))
    )
    if first.n_examples == 1 and whole:
        return shown.layers
    each = np.full((first.n_examples, first.n_queries), -1), np.full((first.n_examples, first.n_keys), -1)
    each[0][example], each[1][example] = of_queries, of_keys
    frame = FramedAttention(first, *each, n_examples=1, n_queries=len(queries), n_keys=len(keys))
    return [frame.around(layer) for layer in shown.layers]


def _places(side: Sequence[int | None], start: int, count: int) -> NDArray[np.int64]:
    """(count,) where in the frame each token of a side stands; -1: padding."""
    places = np.full(count, -1)
    for place, token in enumerate(side):
        if token is not None:
            places[start + token] = place
    return places


def _merged(sides: Sequence[Tokens], aligned: Aligned) -> Tokens:
    """The tokens of the frame: those of a where it has them."""
    a, b = sides
    pick = [(a, place) if place is not None else (b, other) for place, other in aligned]
    columns = ("pieces", "text", "gap", "special", "segment")
    return Tokens(*(tuple(getattr(tokens, name)[place] for tokens, place in pick) for name in columns))
