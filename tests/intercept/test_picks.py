"""Numbers of layers and heads as people give them, while it is not known how many there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnwidget.intercept.picks import Picks

NUMBERS = st.lists(st.integers(-6, 6), min_size=1, max_size=4)
ENDS = st.none() | st.integers(-7, 7)
SLICES = st.builds(slice, ENDS, ENDS, st.none() | st.integers(1, 5))


@given(NUMBERS | SLICES, st.integers(0, 9), st.integers(0, 12))
def test_what_may_still_be_picked_is_what_some_count_picks(given_, number, seen):
    picks = Picks.of("layers", given_)
    wanted = any(number in picks.among(count) for count in range(max(seen, number + 1), 60))
    assert picks.may_hold(number, seen) == wanted


@given(NUMBERS | SLICES, st.integers(0, 20))
def test_among_is_what_a_list_of_so_many_gives(given_, count):
    every = list(range(count))
    wanted = every[given_] if isinstance(given_, slice) else [every[one] for one in given_ if -count <= one < count]
    assert Picks.of("layers", given_).among(count) == tuple(sorted(set(wanted)))


@pytest.mark.parametrize(
    ("given_", "picked"),
    [(3, (3,)), (-1, (11,)), (range(2, 8, 3), (2, 5)), (np.array([4, 0]), (0, 4)), ((1, 1), (1,)), ({7}, (7,))],
)
def test_forms(given_, picked):
    assert Picks.of("heads", given_).among(12) == picked


@pytest.mark.parametrize(
    ("given_", "error", "text"),
    [
        ([], ValueError, "layers is empty; expected at least one number, or None for all of them"),
        (slice(None, None, -1), ValueError, "expected a step of 1 or more: they are shown in their own order"),
        ("3", TypeError, "layers is or holds str '3'; expected an int, a list of ints, a slice or a range"),
        ([1.0], TypeError, "layers is or holds float 1.0"),
        (True, TypeError, "layers is or holds bool True"),
        (slice("a"), TypeError, "layers is or holds str 'a'"),
    ],
)
def test_refused(given_, error, text):
    with pytest.raises(error) as caught:
        Picks.of("layers", given_)
    assert text in str(caught.value)
