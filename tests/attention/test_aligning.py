"""Tokens of two texts, aligned: hand-made cases, and what must hold of any two texts."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnwidget.attention import Tokens, aligning
from attnwidget.attention.aligning import align, places


def tokens(text: str) -> Tokens:
    return Tokens.from_pieces(text.split())


def named(alignment, a, b):
    left, right = a.split(), b.split()
    return [(x if x is None else left[x], y if y is None else right[y]) for x, y in alignment]


texts = st.lists(st.sampled_from(["a", "b", "c", "the", "[x]"]), max_size=12)


@st.composite
def made(draw):
    pieces = draw(texts)
    special = draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    return Tokens.from_pieces(pieces, special=special)


def test_a_word_put_in_left_out_and_replaced():
    a, b = "the cat sat on the mat", "the old cat sat under the mat"
    assert named(align(tokens(a), tokens(b)), a, b) == [
        ("the", "the"),
        (None, "old"),
        ("cat", "cat"),
        ("sat", "sat"),
        ("on", None),
        (None, "under"),
        ("the", "the"),
        ("mat", "mat"),
    ]
    assert places(tokens(a), tokens(b)) == {0: 0, 1: 2, 2: 3, 4: 5, 5: 6}


def test_vocabularies_may_write_the_same_token_in_their_own_ways():
    a = Tokens.from_pieces(["the", "Ġcat", "Ġsat"])
    b = Tokens.from_pieces(["▁the", "▁cat", "▁sat"])
    assert (a.pieces[1], a.text[1], b.text[1]) == ("Ġcat", "cat", "cat")
    assert places(a, b) == {0: 0, 1: 1, 2: 2}


def test_special_tokens_match_only_special_tokens():
    written = Tokens.from_pieces(["[SEP]", "x"])
    added = Tokens.from_pieces(["[SEP]", "x"], special=[True, False])
    assert align(written, added) == [(0, None), (None, 0), (1, 1)]


def check(a: Tokens, b: Tokens) -> None:
    alignment = align(a, b)
    assert [x for x, _ in alignment if x is not None] == list(range(len(a)))
    assert [y for _, y in alignment if y is not None] == list(range(len(b)))
    both = [(x, y) for x, y in alignment if x is not None and y is not None]
    assert all((a.text[x] or a.pieces[x], a.special[x]) == (b.text[y] or b.pieces[y], b.special[y]) for x, y in both)
    assert places(a, b) == dict(both)
    assert (None, None) not in alignment


@given(made(), made())
def test_every_token_stands_in_it_once_in_order_and_only_equal_ones_are_paired(a, b):
    check(a, b)


@given(made(), made())
def test_where_texts_are_too_long_to_compare_each_with_each_the_same_holds(a, b):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aligning, "MAX_PAIRS", 4)
        check(a, b)


@given(made())
def test_a_text_matches_itself(a):
    assert align(a, a) == [(place, place) for place in range(len(a))]


@given(st.data())
def test_around_one_edit_no_token_loses_its_partner(data):
    before, old, new, after = (data.draw(texts) for _ in range(4))
    a, b = (Tokens.from_pieces([*before, *middle, *after]) for middle in (old, new))
    assert len(before) + len(after) <= len(places(a, b)) <= min(len(a), len(b))


@given(st.permutations(range(9)), st.permutations(range(9)))
def test_cuts_are_the_longest_run_that_keeps_its_order(left, right):
    """Against dynamic programming over all pairs: of texts without repetitions every common token may be a cut."""
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for x, one in enumerate(left):
        for y, other in enumerate(right):
            table[x + 1][y + 1] = table[x][y] + 1 if one == other else max(table[x][y + 1], table[x + 1][y])
    keys = [[(str(number), False) for number in side] for side in (left, right)]
    cuts = aligning._anchors(*keys)
    assert len(cuts) == table[-1][-1]
    assert all(keys[0][x] == keys[1][y] for x, y in cuts)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(cuts))


def test_long_texts_with_edits_at_both_ends_are_aligned_in_time():
    words = [f"w{number}" if number % 3 else "the" for number in range(20_000)]
    other = ["so", *words[:9000], "a", "break", *words[9001:], "end"]
    a, b = Tokens.from_pieces(["now", *words, "stop"]), Tokens.from_pieces(other)
    began = time.perf_counter()
    found = places(a, b)
    assert time.perf_counter() - began < 5
    assert found[1] == 1
    assert found[9000] == 9000
    assert (found.get(9001), found[9002], found[20_000]) == (None, 9003, 20_001)
    assert len(found) == 19_999
