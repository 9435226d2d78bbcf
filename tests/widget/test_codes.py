import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attnwidget.widget.codes import decode, encode

WEIGHTS = st.floats(min_value=0, max_value=1, width=32)


@given(weights=hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=8), elements=WEIGHTS))
@pytest.mark.parametrize(("dtype", "error"), [("u16", 2e-4), ("u8", 0.045)])
def test_a_code_is_right_to_the_stated_error(weights, dtype, error):
    back = decode(encode(weights, dtype))
    visible = weights >= 2.0**-31
    np.testing.assert_allclose(back[visible], weights[visible], rtol=error)
    assert (back[~visible] <= 2.0**-30).all()


@given(WEIGHTS.filter(lambda weight: weight >= 2.0**-31))
def test_the_code_is_the_formula_of_the_readme(weight):
    code = int(encode(np.float32(weight).reshape(1), "u16")[0])
    assert abs(code - (3 + (math.log2(weight) + 32) * (65535 - 3) / 32)) <= 0.5 + 1e-9


def test_masked_zero_and_one_have_codes_of_their_own():
    weights = np.array([np.nan, 0.0, 1e-12, 1.0], dtype=np.float32)
    assert encode(weights, "u8").tolist() == [0, 2, 2, 255]
    assert encode(weights, "u16").tolist() == [0, 2, 2, 65535]


def test_masked_and_missing_decode_to_what_was_encoded():
    np.testing.assert_array_equal(decode(np.array([0, 1], dtype=np.uint8)), [np.nan, np.inf])


def test_rounding_above_one_stays_on_the_axis():
    assert encode(np.array([1.0000001], dtype=np.float32), "u16").tolist() == [65535]


@given(hnp.arrays(np.float32, 16, elements=WEIGHTS))
def test_codes_keep_the_order_of_weights(weights):
    order = np.argsort(weights, kind="stable")
    assert (np.diff(encode(weights, "u16")[order].astype(int)) >= 0).all()
