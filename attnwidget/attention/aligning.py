"""Tokens of two texts, aligned by what they say."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from attnwidget.attention.tokens import Tokens

Aligned: TypeAlias = "list[tuple[int | None, int | None]]"
_Key: TypeAlias = "tuple[str, bool]"

MAX_PAIRS = 2**20
"""Pairs of tokens that are compared each with each: of 1024 tokens with 1024, say."""


def align(a: Tokens, b: Tokens) -> Aligned:
    """Align the tokens of two texts.

    Tokens match where they read the same, whatever their vocabularies call them, and are both special or both not;
    those that show nothing of their own (part of a character) match by their names. Matches never cross. What both
    texts begin and end with matches as it stands; the middles by Ratcliff and Obershelp's matching blocks, as in
    `difflib`, which gives readable alignments and not always the most matches. Where the two middles make more than
    2^20 pairs, they are first cut at tokens that stand once in each, in the same order (Cohen's patience diff); where
    a part is still larger, only what its two sides begin and end with matches.

    Args:
        a: the tokens of one text.
        b: those of the other.

    Returns:
        (place in a, place in b) in the order of both, with None where a token has no partner. Every token of each
        stands in it once; of tokens without one between the same two matches, those of `a` come first.
    """
    keys_a, keys_b = _keys(a), _keys(b)
    aligned: Aligned = []
    done_a = done_b = 0
    for place_a, place_b in (*_matches(keys_a, keys_b), (len(keys_a), len(keys_b))):
        aligned += [(place, None) for place in range(done_a, place_a)]
        aligned += [(None, place) for place in range(done_b, place_b)]
        if place_a < len(keys_a):
            aligned.append((place_a, place_b))
        done_a, done_b = place_a + 1, place_b + 1
    return aligned


def places(a: Tokens, b: Tokens) -> dict[int, int]:
    """Where tokens of one text stand in another.

    Args:
        a: the tokens of one text.
        b: those of the other.

    Returns:
        From places in a to places in b, of those that match; see `align`.
    """
    return dict(_matches(_keys(a), _keys(b)))


def _keys(tokens: Tokens) -> list[_Key]:
    return [(text or piece, flag) for text, piece, flag in zip(tokens.text, tokens.pieces, tokens.special, strict=True)]


def _matches(a: Sequence[_Key], b: Sequence[_Key], *, may_cut: bool = True) -> Iterator[tuple[int, int]]:
    shorter = min(len(a), len(b))
    start = next((place for place in range(shorter) if a[place] != b[place]), shorter)
    left = shorter - start
    end = next((back for back in range(left) if a[-1 - back] != b[-1 - back]), left)
    stops = len(a) - end, len(b) - end
    yield from ((place, place) for place in range(start))
    yield from ((start + x, start + y) for x, y in _middle(a[start : stops[0]], b[start : stops[1]], may_cut))
    yield from ((stops[0] + place, stops[1] + place) for place in range(end))


def _middle(a: Sequence[_Key], b: Sequence[_Key], may_cut: bool) -> Iterator[tuple[int, int]]:  # noqa: FBT001
    if len(a) * len(b) <= MAX_PAIRS:
        for first, second, length in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
            yield from ((first + step, second + step) for step in range(length))
    elif may_cut:
        done_a = done_b = 0
        for x, y in (*_anchors(a, b), (len(a), len(b))):
            for first, second in _matches(a[done_a:x], b[done_b:y], may_cut=False):
                yield done_a + first, done_b + second
            if x < len(a):
                yield x, y
            done_a, done_b = x + 1, y + 1


def _anchors(a: Sequence[_Key], b: Sequence[_Key]) -> list[tuple[int, int]]:
    """Tokens that stand once in each text: the most of them that have the same order in both."""
    count_a, count_b = Counter(a), Counter(b)
    where_b = {key: place for place, key in enumerate(b) if count_b[key] == 1}
    both = [(place, where_b[key]) for place, key in enumerate(a) if count_a[key] == 1 and key in where_b]
    # The longest increasing run of places in b, by patience sorting: for each length its smallest end, and what led to
    # it.
    ends: list[int] = []
    tops: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(both):
        length = bisect_left(ends, place)
        ends[length:], tops[length:] = [place, *ends[length + 1 :]], [number, *tops[length + 1 :]]
        before.append(tops[length - 1] if length else -1)
    chosen: list[tuple[int, int]] = []
    number = tops[-1] if tops else -1
    while number >= 0:
        chosen.append(both[number])
        number = before[number]
    return chosen[::-1]
