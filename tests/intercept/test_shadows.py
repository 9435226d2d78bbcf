"""Shadows of tensors that data is moved through, against the data."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from attnwidget.intercept.windows import casting
from attnwidget.intercept.windows.shadows import PADDING, Base, base_of, codes, shadows


@pytest.fixture(autouse=True)
def clean():
    yield
    shadows().clear()


def call(func, *args, **kwargs):
    """A call as the function mode of a capture sees it."""
    return casting.watched(lambda: func(*args, **kwargs), func, args, kwargs)


def counted(*shape):
    """A tensor of distinct numbers from 1 on, known to be a base."""
    tensor = torch.arange(1.0, math.prod(shape) + 1).view(shape)
    shadows().put(tensor, Base(tuple(shape)))
    return tensor


def numbers(tensor):
    """What a tensor's shadow says its numbers are: 1 more than the number's place in the first base, 0 for none."""
    shadow = shadows().get(tensor)
    assert shadow is not None
    found, base = codes(shadow, ()), base_of(shadow)
    while base is not None and base.source is not None:
        back = codes(base.source, ()).reshape(-1)
        found = torch.where(found < 0, found, back[found.clamp(min=0)])
        base = base_of(base.source)
    assert (found >= PADDING).all()
    return found.float() + 1


def divisors(size):
    return [number for number in range(1, size + 1) if size % number == 0]


@st.composite
def steps(draw, tensor):
    """A movement of a tensor: the function, and its arguments after the tensor."""
    shape, ndim = tuple(tensor.shape), tensor.ndim
    axis, other = (draw(st.integers(-ndim, ndim - 1)) for _ in "ab")
    size = shape[axis]
    order = draw(st.permutations(range(ndim)))
    part = draw(st.sampled_from(divisors(size)))
    cut = sorted(draw(st.tuples(*[st.integers(0, size)] * 2)))
    cut = (cut[0], max(cut[1], cut[0] + 1)) if cut[0] < size else (0, size)
    picked = torch.tensor(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4)))
    everything = (slice(None),) * (axis % ndim)
    spread = (*shape[: axis % ndim], size // part, part, *shape[axis % ndim + 1 :])
    split = tuple(draw(st.permutations([size, math.prod(shape) // max(size, 1)])))
    widths = [number for _ in range(ndim) for number in draw(st.tuples(*[st.integers(0, 1)] * 2))]
    return draw(
        st.sampled_from(
            [
                (torch.Tensor.reshape, (spread,), {}),
                (torch.Tensor.unflatten, (axis, (size // part, part)), {}),
                (torch.reshape, (split,), {}),
                (torch.Tensor.flatten, (), {}),
                (torch.flatten, (), {"start_dim": max(0, axis % ndim - 1), "end_dim": axis % ndim}),
                (torch.Tensor.permute, order, {}),
                (torch.permute, (tuple(order),), {}),
                (torch.Tensor.transpose, (axis, other), {}),
                (torch.roll, (draw(st.integers(-3, 3)), axis), {}),
                (torch.Tensor.roll, (), {"shifts": (1, -2), "dims": (0, axis % ndim)}),
                (torch.Tensor.roll, (2,), {}),
                (functional.pad, (widths,), {}),
                (functional.pad, (tuple(widths[:2]),), {"mode": "constant", "value": 0.0}),
                (torch.Tensor.__getitem__, ((*everything, slice(*cut)),), {}),
                (torch.Tensor.__getitem__, ((..., None),), {}),
                (torch.Tensor.__getitem__, ((*everything, picked),), {}),
                (torch.Tensor.__getitem__, ((*everything, picked.tolist()),), {}),
                (torch.index_select, (axis, picked), {}),
                (torch.Tensor.narrow, (axis, cut[0], cut[1] - cut[0]), {}),
                (torch.Tensor.flip, (axis,), {}),
                (torch.Tensor.unfold, (axis, part, max(1, part // 2)), {}),
                (torch.Tensor.unsqueeze, (axis,), {}),
                (torch.squeeze, (axis,), {}),
                (torch.Tensor.repeat, ((1, *(2 if number == axis % ndim else 1 for number in range(ndim))),), {}),
                (torch.repeat_interleave, (2,), {"dim": axis}),
                (torch.Tensor.expand, ((2, *shape),), {}),
                (torch.Tensor.contiguous, (), {}),
                (torch.clone, (), {}),
                (torch.Tensor.to, (torch.float64,), {}),
                (torch.Tensor.mT.__get__ if ndim > 1 else torch.Tensor.contiguous, (), {}),
            ]
        )
    )


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_chain_of_movements_is_followed(data):
    tensor = counted(*data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    for _ in range(data.draw(st.integers(1, 6))):
        func, args, kwargs = data.draw(steps(tensor))
        tensor = call(func, tensor, *args, **kwargs)
        if not tensor.ndim or not tensor.numel() or tensor.numel() > 1000:
            return
    torch.testing.assert_close(numbers(tensor), tensor.float(), rtol=0, atol=0)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_pieces_and_what_is_put_together_from_them(data):
    tensor = counted(*data.draw(st.tuples(*[st.integers(1, 5)] * 3)))
    axis = data.draw(st.integers(-3, 2))
    split = data.draw(
        st.sampled_from([(torch.split, (2, axis)), (torch.Tensor.chunk, (3, axis)), (torch.unbind, (axis,))])
    )
    pieces = list(call(split[0], tensor, *split[1]))
    for piece in pieces:
        torch.testing.assert_close(numbers(piece), piece, rtol=0, atol=0)
    pieces = data.draw(st.permutations(pieces))
    if split[0] is not torch.unbind:
        whole = call(torch.cat, pieces, dim=axis)
    else:
        whole = call(torch.stack, pieces, data.draw(st.integers(-3, 2)))
    torch.testing.assert_close(numbers(whole), whole, rtol=0, atol=0)


def test_what_is_cut_up_and_put_together_is_what_it_was():
    tensor = counted(2, 4, 6)
    base = shadows().get(tensor)
    for _ in range(20):
        windows = call(torch.Tensor.reshape, tensor, (2, 2, 2, 3, 2))
        windows = call(torch.Tensor.transpose, windows, 1, 3)
        back = call(torch.Tensor.transpose, windows, 3, 1)
        again = call(torch.Tensor.reshape, back, (2, 4, 6))
        assert shadows().get(again) is base
        turned = call(torch.Tensor.reshape, windows, (2, 4, 6))
        torch.testing.assert_close(numbers(turned), turned)
        tensor = again


def test_memory_seen_in_another_shape():
    whole = counted(3, 8)
    part = call(torch.Tensor.__getitem__, whole, (slice(1, 3), slice(None)))
    overlapping = call(torch.Tensor.as_strided, part, (2, 3, 4), (8, 2, 1))
    torch.testing.assert_close(numbers(overlapping), overlapping)
    late = call(torch.as_strided, part, (2, 4), (4, 1), 8)  # where the part begins
    torch.testing.assert_close(numbers(late), late)
    beyond = call(torch.as_strided, part, (2, 4), (4, 1), 0)  # rows that are no part of it
    assert len(beyond) == 2
    with pytest.raises(Exception, match="reaches beyond its tensor"):
        numbers(beyond)


def test_padding_by_hand():
    tensor = counted(2, 3, 4)
    room = call(torch.Tensor.new_zeros, tensor, (2, 5, 4))
    call(torch.Tensor.__setitem__, room, (slice(None), slice(1, 4)), tensor)
    torch.testing.assert_close(numbers(room), room)
    call(torch.Tensor.__setitem__, room, (0, 2), 0.0)
    torch.testing.assert_close(numbers(room), room)
    longer = call(torch.cat, [tensor, call(torch.zeros, 2, 2, 4)], 1)
    torch.testing.assert_close(numbers(longer), longer)


def test_functions_number_by_number_keep_the_shadow():
    tensor = counted(2, 3, 4)
    shadow = shadows().get(tensor)
    scale = torch.nn.Parameter(torch.ones(4))
    for func, args in (
        (torch.mul, (2.0,)),
        (torch.Tensor.mul, (scale,)),
        (torch.Tensor.add, (torch.nn.Parameter(torch.ones(2, 3, 4)),)),
        (functional.gelu, ()),
        (functional.dropout, (0.5,)),
        (torch.Tensor.masked_fill, (torch.zeros(2, 3, 4, dtype=torch.bool), 0.0)),
        (torch.Tensor.mul_, (1.0,)),
    ):
        assert shadows().get(call(func, tensor, *args)) is shadow
    assert shadows().get(tensor) is shadow


def test_sums_of_two_tensors():
    tensor = counted(2, 3, 4)
    rolled = call(torch.roll, tensor, 1, 1)
    both = call(torch.add, tensor, rolled)
    with pytest.raises(Exception, match="several tokens make one"):
        numbers(both)
    again = call(torch.add, rolled, call(torch.roll, call(torch.neg, tensor), 1, 1))
    torch.testing.assert_close(numbers(again), rolled)
    # A residual connection: what was there before the branch that is added to it.
    later = counted(2, 3, 4)
    for args in ((rolled, later), (later, rolled)):
        assert shadows().get(call(torch.add, *args)) is shadows().get(rolled)
    # With a tensor that comes from elsewhere it is a sequence of its own.
    found = shadows().get(call(torch.add, rolled, torch.randn(2, 3, 4)))
    assert isinstance(found, Base)
    assert found.source is None


@pytest.mark.parametrize("inference", [False, True])
def test_what_is_overwritten_is_forgotten(inference):
    with torch.inference_mode(inference):
        tensor = torch.arange(24.0).view(2, 3, 4)
        shadows().put(tensor, Base((2, 3, 4)))
        part = call(torch.Tensor.__getitem__, tensor, 0)
        other = torch.randn(3, 4)
        call(torch.Tensor.copy_, part, other)
        assert shadows().get(tensor) is None
        assert shadows().get(part) is None


def test_rows_through_linear_maps_and_norms():
    tensor = counted(2, 3, 4)
    moved = call(torch.roll, tensor, 1, 1)
    for func, args in (
        (functional.linear, (torch.randn(5, 4),)),
        (torch.matmul, (torch.randn(4, 5),)),
        (functional.conv1d, (torch.randn(5, 3, 1),)),
    ):
        found = shadows().get(call(func, moved, *args))
        assert isinstance(found, Base)
        assert found.source is shadows().get(moved)
    assert shadows().get(call(functional.layer_norm, moved, (4,))) is shadows().get(moved)
    for func, args in (
        (torch.matmul, (torch.randn(2, 4, 5),)),  # not a map of rows
        (functional.layer_norm, ((3, 4),)),  # over tokens
        (torch.softmax, (-1,)),
    ):
        if func in casting.RULES:
            assert shadows().get(call(func, moved, *args)) is None


def test_calls_in_unknown_forms_do_not_disturb():
    tensor = counted(2, 3)
    weird = call(torch.Tensor.__getitem__, tensor, torch.tensor([[True, False, True], [False, True, False]]))
    torch.testing.assert_close(numbers(weird), weird)
    assert call(torch.max, tensor, 1).values.tolist() == [3.0, 6.0]
    assert call(torch.Tensor.type, tensor) == "torch.FloatTensor"
    assert shadows().get(call(torch.Tensor.view, tensor, torch.int32)) is None
