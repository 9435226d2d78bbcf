"""Runs that make a program of a module instead of running it: they are refused by name, and make the same program."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

import attnwidget as aw

pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(16, 48)

    def forward(self, x):
        q, k, v = self.mix(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        return self.look(q, k, v).transpose(1, 2).flatten(2)

    def look(self, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


class Hand(Block):
    def look(self, q, k, v):
        # Of what torch merges into one axis, something is told from the first reshape on.
        q, k, v = (part.reshape(-1, *part.shape[2:]) for part in (q, k, v))
        return ((q @ k.transpose(1, 2) * 0.3).softmax(-1) @ v).unflatten(0, (-1, 2))


class Multi(nn.Module):
    def __init__(self, *, need_weights):
        super().__init__()
        self.inner = nn.MultiheadAttention(16, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        return self.inner(x, x, x, need_weights=self.need_weights)[0]


def exported(module, x):
    return torch.export.export(module, (x,), strict=False)


def faked(module, x):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return module(mode.from_tensor(x))


def traced(module, x):
    return torch.jit.trace(module, (x,))


MODULES = {
    "sdpa": Block,
    "by hand": Hand,
    "multihead": lambda: Multi(need_weights=False),
    "multihead with weights": lambda: Multi(need_weights=True),
}
WAYS = [
    (exported, "it ran on fake tensors, which have shapes and hold no values"),
    (faked, "it ran on fake tensors, which have shapes and hold no values"),
    (traced, "it ran while torch.jit.trace recorded it; trace the module outside of the capture"),
]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(("run", "words"), WAYS)
def test_what_makes_a_program_of_a_module_is_refused(name, grad, run, words):
    torch.manual_seed(0)
    module, x = MODULES[name]().eval(), torch.randn(2, 6, 16)
    with torch.set_grad_enabled(grad), pytest.raises(aw.CaptureError, match=words), aw.capture(module):
        run(module, x)
    with aw.capture(module) as cap:  # and nothing of it is left
        module(x)
    assert cap.weights(0).shape == (2, 6, 6)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_token_ids_that_are_fake(implementation):
    model = tiny.llama(1, attn_implementation=implementation)
    with torch.no_grad(), pytest.raises(aw.CaptureError, match="it ran on fake tensors"), aw.capture(model):
        faked(model, tiny.ids(1, 6))


@pytest.mark.parametrize("name", ["sdpa", "by hand"])
def test_what_was_traced_is_the_program_that_it_is_without(name):
    torch.manual_seed(0)
    module, x = MODULES[name](), torch.randn(2, 6, 16)

    def program():
        made = traced(module, x)
        return [node.kind() for node in made.graph.nodes()], made(x)

    plain, seen = program(), []
    with pytest.raises(aw.CaptureError), aw.capture(module):
        seen.append(program())
    assert seen[0][0] == plain[0]
    assert torch.equal(seen[0][1], plain[1])
