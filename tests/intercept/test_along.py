"""What is kept of values and outputs to check weights by, however they lie in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnwidget.intercept.along import along, along_each, direction, rows_of

ORDERS = {
    "token by token": lambda values: values.transpose(1, 2).contiguous().transpose(1, 2),
    "head by head": lambda values: values.contiguous(),
    "beside queries and keys": lambda values: (
        torch.cat([values.transpose(1, 2).flatten(2)] * 3, -1)
        .split(values.shape[1] * values.shape[3], -1)[2]
        .unflatten(-1, (values.shape[1], values.shape[3]))
        .transpose(1, 2)
    ),
    "one head for all": lambda values: values[:, :1].expand(values.shape),
    "a part of a cache": lambda values: torch.cat([values, values], 2)[:, :, : values.shape[2]],
    "every other number": lambda values: values.repeat_interleave(2, -1)[..., ::2],
}
SIZE = st.integers(1, 5)


@pytest.mark.parametrize("order", ORDERS)
@given(shape=st.tuples(SIZE, SIZE, SIZE, SIZE), dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
def test_each_vector_is_multiplied_with_the_direction(order, shape, dtype):
    values = ORDERS[order](torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype))
    expected = values.double().numpy() @ direction(shape[-1], values.device).double().numpy()
    for found in (along_each(values)(), along(values)):
        assert found.dtype == torch.float32
        assert found.shape == shape[:3]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_what_is_written_to_values_afterwards_is_too_late():
    values = torch.randn(1, 2, 3, 4)
    expected, late = along(values), along_each(values)
    values.fill_(torch.nan)
    torch.testing.assert_close(late(), expected)


@given(n_queries=st.integers(1, 100))
def test_the_last_query_is_among_those_that_are_checked(n_queries):
    rows = range(n_queries)[rows_of(n_queries)]
    assert rows[-1] == n_queries - 1
    assert min(n_queries, 5) <= len(rows) <= 8
