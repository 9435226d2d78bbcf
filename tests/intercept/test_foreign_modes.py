"""Function modes of other people, and torch's default device, beside captures: neither disturbs the other."""

from __future__ import annotations

import pytest
import torch
from surroundings import assert_same, surroundings
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

import attnwidget as aw

SIZE, HEADS = 16, 2


@pytest.fixture(autouse=True)
def untouched():
    before = surroundings()
    yield
    assert_same(before, surroundings())


class Tell(TorchFunctionMode):
    """Somebody's mode, which writes down what it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


class Halve(TorchFunctionMode):
    """A mode with a rule of its own for one function: half the scale."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is functional.scaled_dot_product_attention:
            return func(*args, **{**(kwargs or {}), "scale": 0.5 * args[0].shape[-1] ** -0.5})
        return func(*args, **(kwargs or {}))


class Plain(nn.Module):
    def forward(self, x):
        self.seen = x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return functional.scaled_dot_product_attention(self.seen, self.seen, self.seen)


def modules():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(SIZE, HEADS, SIZE, batch_first=True)
    return {
        "sdpa": Plain(),
        "multihead": nn.MultiheadAttention(SIZE, HEADS, batch_first=True),
        "encoder": nn.TransformerEncoder(layer, 2).eval(),
    }


def call(module, x, **options):
    return module(x, x, x, **options)[0] if isinstance(module, nn.MultiheadAttention) else module(x)


@pytest.mark.parametrize("name", ["sdpa", "multihead", "encoder"])
@pytest.mark.parametrize("outside", [True, False])
def test_a_mode_sees_what_it_would_see_without_capture(name, outside):
    module, x = modules()[name], torch.randn(1, 5, SIZE)
    with torch.no_grad():
        with Tell() as before:
            plain = call(module, x)
        capture = aw.capture(module)
        cap = None if outside else capture.__enter__()
        with Tell() as during:
            cap = capture.__enter__() if outside else cap
            during.seen.clear()  # what a capture does on entering
            seen = call(module, x)
            capture.__exit__(None, None, None) if outside else None
            kept = list(during.seen)
        None if outside else capture.__exit__(None, None, None)
    assert torch.equal(plain, seen)
    assert kept[: len(before.seen)] == before.seen
    assert cap.notes == (), "any mode keeps torch from its fused path, so the capture changed nothing"
    assert cap.stacks["self"].n_heads == HEADS


@pytest.mark.parametrize("outside", [True, False])
def test_what_counts_is_what_a_mode_made_of_the_call(outside):
    module, x = Plain(), torch.randn(1, 5, SIZE)
    with Halve() if outside else torch.no_grad(), aw.capture(module) as cap, torch.no_grad() if outside else Halve():
        module(x)
    q = module.seen[0]
    wanted = torch.softmax(0.5 * (SIZE // HEADS) ** -0.5 * q @ q.transpose(1, 2), -1)
    torch.testing.assert_close(torch.from_numpy(cap.weights(0)), wanted)


def test_a_mode_left_below_a_capture_that_a_generator_holds():
    module, x = Plain(), torch.randn(1, 5, SIZE)

    def watch(found):
        with aw.capture(module) as cap:
            found.append(cap)
            yield
            module(x)

    found = []
    generator = watch(found)
    with Tell():
        next(generator)
    (mode,) = _get_current_function_mode_stack()
    assert not isinstance(mode, Tell)
    assert next(generator, "finished") == "finished"
    assert found[0].stacks["self"].n_layers == 1


def test_the_default_device_set_and_taken_back_while_captures_come_and_go():
    module, x = Plain(), torch.randn(1, 5, SIZE)
    first, second = aw.capture(module), aw.capture(module)
    first.__enter__()
    torch.set_default_device("meta")
    try:
        assert torch.empty(1).device.type == "meta"
        cap = second.__enter__()
        module(x)
        first.__exit__(None, None, None)
        torch.set_default_device("cpu")
    finally:
        torch.set_default_device(None)
    second.__exit__(None, None, None)
    assert torch.empty(1).device.type == "cpu"
    assert cap.weights().shape == (1, HEADS, 5, 5)


def test_a_device_block_around_the_first_half_of_a_capture():
    module, x = Plain(), torch.randn(1, 5, SIZE)
    block = aw.capture(module)
    with torch.device("meta"):
        cap = block.__enter__()
    assert torch.empty(1).device.type == "cpu"
    module(x)
    block.__exit__(None, None, None)
    assert cap.weights().shape == (1, HEADS, 5, 5)
