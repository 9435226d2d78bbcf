import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnwidget.attention.reading import Reading


def reading(unit=4.0, *, signed=True):
    return Reading("gradient", "gradient x attention", "Serrano and Smith 2019", "", True, signed, unit, None)


def test_signed_numbers_travel_as_the_formula_says():
    # js/test/reading.test.ts has the same numbers.
    grown = 2 ** (16 * (np.log2(1 + 2**25) / np.log2(1 + 2**27) - 1))
    assert grown == pytest.approx(0.43976810574531555, rel=1e-7)
    shares = reading().shares([4, 1, 0, -1, -4])
    np.testing.assert_allclose(shares, [1, grown, 2**-16, 2**-32 / grown, 2**-32], rtol=1e-6)


def test_what_is_no_number_stays_in_sight():
    for one in (reading(), reading(signed=False)):
        assert np.isnan(one.shares(np.nan))
        assert one.shares(np.inf) == np.inf
        assert np.isnan(one.numbers(np.nan))
        assert one.numbers(np.inf) == np.inf
    assert reading().shares(-np.inf) == np.inf
    assert reading().shares([5.0, -1e30]).tolist() == [np.inf, np.inf], "a number over the unit is none that is known"


@given(st.floats(-1, 1), st.floats(1e-3, 1e6))
def test_numbers_come_back(part, unit):
    one = reading(unit)
    back = one.numbers(one.shares(part * unit))
    # As right as float32 is; the smallest are even in steps of unit / 2^27.
    assert back == pytest.approx(part * unit, rel=3e-6, abs=unit * 2e-13)
    amount = reading(unit, signed=False)
    assert amount.numbers(amount.shares(abs(part) * unit)) == pytest.approx(abs(part) * unit, rel=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_larger_numbers_are_larger_shares(parts):
    shares = reading(1.0).shares(sorted(parts))
    assert (np.diff(shares) >= 0).all()
    assert ((shares >= 2**-32) & (shares <= 1)).all()
