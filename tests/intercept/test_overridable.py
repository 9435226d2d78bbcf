"""Functions that offer their calls to whoever overrides torch's, as copies of torch's own do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn, overrides
from torch.overrides import handle_torch_function, has_torch_function
from watched import watch, whole

import attnwidget as aw

E, T = 16, 5


def attend(query, key, value, n_heads, weight, *, out_size=None, seen=None):
    """Offers its call without what it was given last, which nobody notices who does not override it."""
    offered = query, key, value, weight
    if any(type(tensor) is not torch.Tensor for tensor in offered) and has_torch_function(offered):
        return handle_torch_function(attend, offered, query, key, value, n_heads, weight)
    q, k, v = (part.unflatten(-1, (n_heads, out_size // n_heads)).transpose(1, 2) for part in (query, key, value))
    weights = (q @ k.mT).softmax(-1)
    seen.append(weights)
    return (weights @ v).transpose(1, 2).flatten(2) @ weight


def asks_otherwise(query, key, value, n_heads, weight, *, out_size=None, seen=None):
    offered = query, key, value, weight
    if overrides.has_torch_function(offered):
        return handle_torch_function(asks_otherwise, offered, query, key, value, n_heads, weight)
    return attend(query, key, value, n_heads, weight.detach(), out_size=out_size, seen=seen)


class OwnAttention(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(E, E))
        self.function, self.seen = function, []

    def forward(self, x):
        return self.function(x, x, x, 4, self.weight, out_size=E, seen=self.seen)


def test_they_run_as_they_are_written_and_are_seen():
    torch.manual_seed(0)
    module, x = OwnAttention(attend).eval(), torch.randn(2, T, E)
    cap = watch(module, x)
    np.testing.assert_allclose(whole(cap), module.seen[-1], atol=1e-5)
    with torch.no_grad(), aw.capture(module) as outer, aw.capture(module) as inner:
        module(x)
    for nested in (outer, inner):
        np.testing.assert_allclose(whole(nested), whole(cap), atol=1e-5)


@pytest.mark.filterwarnings("ignore::attnwidget.AttentionWarning")
def test_one_that_asks_in_another_way_runs_all_the_same():
    module, x = OwnAttention(asks_otherwise).eval(), torch.randn(2, T, E)
    with torch.no_grad():
        plain = module(x)
        beside = nn.ModuleList([module, nn.MultiheadAttention(E, 4, batch_first=True)]).eval()
        with aw.capture(beside) as cap:
            seen = module(x)
            beside[1](x, x, x)
    assert torch.equal(plain, seen)
    assert "1" in {info.path for info in cap.stacks["self"].infos}


class Tagged(torch.Tensor):
    """Has a rule of its own, which counts."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is attend:
            return args[0] * 2
        return super().__torch_function__(func, types, args, kwargs or {})


def test_whoever_does_override_them_has_their_say():
    module, x = OwnAttention(attend).eval(), torch.randn(2, T, E).as_subclass(Tagged)
    beside = nn.ModuleList([module, nn.MultiheadAttention(E, 4, batch_first=True)]).eval()
    plain = torch.randn(2, T, E)
    with torch.no_grad(), aw.capture(beside):
        assert torch.equal(module(x), x * 2)
        beside[1](plain, plain, plain)
