"""Which pairs are drawn as lines and arcs: `js/src/passing.ts` and `js/src/mass.ts` in Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.export.words import counted, format_end, grouped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.export.shown import Gaze, Shown, Span

MOST_DRAWN = 2000
"""Pairs drawn at most, of all heads together; the strongest."""
MAX_PAIRS = 2**24
"""Looked at, at most, to find them, in each head."""
_BLOCK = 2**20
"""Weights looked at at a time."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of tokens, weakest first.

    Attributes:
        queries: their queries.
        keys: their keys.
        weights: their weights, float32.
        heads: of which head each is: its place among those that are drawn.
        total: how many pass the threshold; the arrays hold the strongest of them.
    """

    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    weights: NDArray[np.float32]
    heads: NDArray[np.int64]
    total: int


def pairs_of(shown: Shown, gazes: tuple[Gaze | None, ...], noun: str) -> Pairs:
    """The pairs to draw: of the locked token of each head, or the strongest of the window.

    Args:
        shown: what is shown.
        gazes: of each head drawn.
        noun: what the pairs are drawn as, "lines" or "arcs".

    Raises:
        ValueError: too many pairs to choose from.
    """
    found = [
        _in_window(shown, head, noun) if gaze is None else _of_token(shown, head, gaze, noun)
        for head, gaze in zip(shown.drawn, gazes, strict=True)
    ]
    places = np.concatenate([np.full(len(one[0]), place) for place, (one, _) in enumerate(found)])
    queries, keys, weights = (np.concatenate([one[part] for one, _ in found]) for part in range(3))
    # Of equal ones the first: a stable order, strongest first, and then turned around.
    order = np.argsort(-weights, kind="stable")[:MOST_DRAWN][::-1]
    return Pairs(queries[order], keys[order], weights[order], places[order], sum(total for _, total in found))


def passes(shown: Shown, weights: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which weights of whole rows, (q, k), pass the threshold.

    A weight is compared. By mass each row keeps the fewest strongest keys whose weights add up to the threshold: all
    that are above 0 where they never do, at least one of them, and of equal ones the first.
    """
    with np.errstate(invalid="ignore"):
        known = (weights > 0) & (weights <= 1)
    if not shown.by_mass:
        passing: NDArray[np.bool_] = known & (np.nan_to_num(weights) >= np.float32(shown.least))
        return passing
    strong = np.where(known, weights, 0)
    order = np.argsort(-strong, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(strong, order, axis=1), axis=1, dtype=np.float64)
    before = np.concatenate([np.zeros((len(weights), 1)), before[:, :-1]], axis=1)
    kept = before < shown.threshold
    kept[:, :1] = True
    found = np.zeros_like(known)
    np.put_along_axis(found, order, kept, axis=1)
    return found & known


def threshold_words(shown: Shown) -> str:
    """What passes: `≥ 0.05`."""
    if shown.by_mass:
        return f"in the top {format_end(shown.threshold * 100)} % of each query's mass"
    return f"≥ {format_end(shown.number(shown.least), shown.kind)}"


def pair_note(shown: Shown, gazes: tuple[Gaze | None, ...], pairs: Pairs, noun: str) -> str:
    """What is drawn and what is left out, beside the title of the panel."""
    gaze, many = gazes[0], len(shown.drawn)
    of = f" of {counted(many, 'head')}" if many > 1 else ""
    if gaze is not None:
        words = f"{noun}s of {gaze.side} {gaze.index} {threshold_words(shown)}{of}"
    else:
        few = f"strongest {grouped(len(pairs.weights))} of " if pairs.total > len(pairs.weights) else ""
        words = f"{few}{counted(pairs.total, noun)} {threshold_words(shown)}{of}"
    return ", ".join(filter(None, [shown.window_words, words]))


def _in_window(shown: Shown, head: int | None, noun: str) -> tuple[tuple[NDArray[Any], ...], int]:
    """The strongest pairs of one head, and how many pass."""
    (first, end), keys = shown.queries, shown.keys
    # A mass is that of whole rows, also where the window shows a part of them.
    looked = (0, len(shown.key_tokens)) if shown.by_mass else keys
    _check(shown, end - first, looked[1] - looked[0], noun)
    best: tuple[NDArray[Any], ...] = tuple(np.empty(0, dtype=kind) for kind in (np.int64, np.int64, np.float32))
    total = 0
    for rows in _blocks((first, end), looked):
        weights = shown.weights(rows, looked, head)
        part = slice(keys[0] - looked[0], keys[1] - looked[0])
        queries, columns = np.nonzero(passes(shown, weights)[:, part])
        total += len(queries)
        values = weights[:, part][queries, columns]
        found: tuple[NDArray[Any], ...] = (queries + rows[0], columns + keys[0], values)
        merged = tuple(np.concatenate([old, new]) for old, new in zip(best, found, strict=True))
        order = np.argsort(-merged[2], kind="stable")[:MOST_DRAWN]
        best = tuple(one[order] for one in merged)
    return best, total


def _of_token(shown: Shown, head: int | None, gaze: Gaze, noun: str) -> tuple[tuple[NDArray[Any], ...], int]:
    """The pairs of one token, and how many pass."""
    by_query = gaze.side == "query"
    if by_query:
        passing = passes(shown, gaze.values[None])[0]
    elif shown.by_mass:
        passing = _kept_by_queries(shown, head, gaze.index, noun)
    else:
        passing = passes(shown, gaze.values[:, None])[:, 0]
    others = np.flatnonzero(passing)
    own = np.full(len(others), gaze.index)
    queries, keys = (own, others) if by_query else (others, own)
    seen = _inside(shown.queries, queries) & _inside(shown.keys, keys)
    return (queries[seen], keys[seen], gaze.values[others][seen]), int(seen.sum())


def _kept_by_queries(shown: Shown, head: int | None, key: int, noun: str) -> NDArray[np.bool_]:
    """The queries whose mass this key belongs to."""
    keys, count = (0, len(shown.key_tokens)), len(shown.query_tokens)
    _check(shown, count, keys[1], noun)
    return np.concatenate(
        [passes(shown, shown.weights(rows, keys, head))[:, key] for rows in _blocks((0, count), keys)]
    )


def _inside(span: Span, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (tokens >= span[0]) & (tokens < span[1])
    return found


def _blocks(rows: Span, keys: Span) -> list[Span]:
    height = max(1, _BLOCK // max(1, keys[1] - keys[0]))
    return [(start, min(rows[1], start + height)) for start in range(*rows, height)]


def _check(shown: Shown, rows: int, columns: int, noun: str) -> None:
    if rows * columns > MAX_PAIRS:
        way = "set `view.threshold_kind` to 'weight', lock" if shown.by_mass else "lock"
        raise ValueError(
            f"the {noun}s of {grouped(rows)} × {grouped(columns)} tokens cannot be told apart: {way} a query or a key "
            "(`view.query = 7`), or look at a part of the head (`view.window`), and draw it again"
        )
