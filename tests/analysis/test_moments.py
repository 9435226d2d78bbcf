"""Running means and spreads against NumPy's over all numbers at once."""

from functools import reduce

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attnwidget.analysis.moments import Moments

NUMBERS = st.floats(-10, 10, width=32) | st.just(float("nan"))
MAPS = hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2), st.just(3)), elements=NUMBERS)


def of(maps):
    return reduce(Moments.plus, map(Moments.one, maps), Moments.none(maps.shape[1:]))


def expect(found, maps, scale=1.0):
    count = (~np.isnan(maps)).sum(axis=0)
    np.testing.assert_array_equal(found.count, count)
    mean = np.divide(np.nansum(maps, axis=0), count, where=count > 0, out=np.full(count.shape, np.nan))
    squares = np.nansum((maps - np.nan_to_num(mean)) ** 2, axis=0)
    std = np.sqrt(np.divide(squares, count - 1, where=count > 1, out=np.full(count.shape, np.nan)))
    np.testing.assert_allclose(found.mean, mean, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(found.std, std, rtol=0, atol=1e-12 * scale)


@given(MAPS, st.data())
def test_any_split_gives_what_numpy_gives(maps, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(maps)), max_size=4)))
    parts = [of(part) for part in np.split(maps, cuts)]
    expect(of(maps), maps, scale=10)
    expect(reduce(Moments.plus, parts), maps, scale=10)


def test_no_digits_are_lost_where_the_spread_is_small():
    rng = np.random.default_rng(0)
    small = rng.normal(size=(1000, 1, 1)) * 1e-3
    # Sums of squares would have nothing left: their digits end at 1e16 * 2e-16.
    np.testing.assert_allclose(of(small + 1e8).std, (small + 1e8).std(axis=0, ddof=1), rtol=1e-4)
