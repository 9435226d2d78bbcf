"""Softmaxes in other words, and what happens to weights between the softmax and the values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from watched import is_factored, watch, whole

import attnwidget as aw

B, H, T, D = 2, 3, 6, 4
GATE = torch.linspace(0.2, 0.9, H).view(1, H, 1, 1)
HALF = torch.ones(T, T).triu().bool()
CHANGED = "where the model mixes heads after the softmax, or turns weights into numbers below 0 or above 1"


class Weighed(nn.Module):
    """`normalise` makes weights of scores, `change` what meets the values of them; `seen` are the former."""

    def __init__(self, normalise=lambda s: torch.softmax(s, -1), change=lambda w: w):
        super().__init__()
        self.mix = nn.Linear(H * D, 3 * H * D)
        self.normalise, self.change = normalise, change
        self.seen = self.used = None

    def forward(self, x):
        q, k, v = self.mix(x).view(*x.shape[:2], 3, H, D).permute(2, 0, 3, 1, 4)
        weights = self.normalise(q @ k.transpose(-1, -2))
        self.seen = weights.detach().clone()
        self.used = self.change(weights)
        return (self.used @ v).transpose(1, 2).flatten(2)


def by_exponentials(s):
    s = torch.exp(s - s.amax(dim=-1, keepdim=True))
    return s / s.sum(dim=-1, keepdim=True)


def sums_without_keeping_the_axis(s):
    s = s.exp()
    return s / torch.sum(s, -1).unsqueeze(-1)


def less_than_one(s):
    """Softmax with a 1 in its denominator (Miller, "Attention is off by one", 2023)."""
    top = s.amax(dim=-1, keepdim=True)
    s = torch.exp(s - top)
    return s / (s.sum(dim=-1, keepdim=True) + torch.exp(-top))


SOFTMAXES = {
    "torch": (lambda s: torch.softmax(s, dim=-1), True),
    "method": (lambda s: s.softmax(-1), True),
    "functional": (lambda s: functional.softmax(s, dim=3), True),
    "module": (nn.Softmax(dim=-1), True),
    "special": (lambda s: torch.special.softmax(s, -1), True),
    "in float32": (lambda s: functional.softmax(s, -1, dtype=torch.float32), True),
    "exp of log_softmax": (lambda s: functional.log_softmax(s, -1).exp(), True),
    "exp of scores less logsumexp": (lambda s: (s - torch.logsumexp(s, dim=-1, keepdim=True)).exp(), True),
    "exponentials over their sum": (by_exponentials, True),
    "sums without keeping the axis": (sums_without_keeping_the_axis, True),
    "less than one": (less_than_one, False),
    "gumbel": (lambda s: functional.gumbel_softmax(s, tau=1.0), False),
}


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("grad", [False, True])
def test_every_softmax(name, grad):
    torch.manual_seed(0)
    normalise, factored = SOFTMAXES[name]
    module = Weighed(normalise)
    cap = watch(module, torch.randn(B, T, H * D), grad=grad)
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)
    assert is_factored(cap) == factored
    assert cap.verify().ok


CHANGES = {
    "cast": lambda w: w.double().float(),
    "copied": lambda w: w.clone().contiguous(),
    "reshaped": lambda w: w.flatten(0, 1).unflatten(0, (B, H)),
    "swapped twice": lambda w: w.transpose(1, 2).transpose(1, 2),
    "a head mask": lambda w: w * torch.tensor([1.0, 0.0, 1.0]).view(1, H, 1, 1),
    "gated": lambda w: w * GATE,
    "gated in place": lambda w: w.mul_(GATE),
    "filled with zeros": lambda w: w.masked_fill(HALF, 0.0),
    "where": lambda w: torch.where(HALF, w, torch.tensor(0.0)),
    "nan_to_num": lambda w: torch.nan_to_num(w, 0.0),
    "thresholded and normalised again": lambda w: (w * (w > 0.1)) / (w * (w > 0.1)).sum(-1, keepdim=True),
    "no dropout": lambda w: functional.dropout(w, 0.5, training=False),
    "clamped": lambda w: w.clamp(min=0.05),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("grad", [False, True])
def test_weights_are_those_that_meet_the_values(name, grad):
    if grad and name == "gated in place":
        grad = False  # torch allows no gradient through a softmax whose result is overwritten
    torch.manual_seed(0)
    module = Weighed(change=CHANGES[name])
    cap = watch(module, torch.randn(B, T, H * D), grad=grad)
    np.testing.assert_allclose(whole(cap), module.used.detach().numpy(), atol=1e-6)
    assert is_factored(cap) == torch.allclose(module.used, module.seen)
    assert cap.verify().ok
    assert cap.notes == ()


@pytest.mark.parametrize("way", ["module", "functional", "torch", "in place", "with a gate", "seen in another shape"])
def test_weights_are_those_before_dropout(way):
    dropped = {
        "module": nn.Dropout(0.4),
        "functional": lambda w: functional.dropout(w, 0.4),
        "torch": lambda w: torch.dropout(w, 0.4, train=True),
        "in place": lambda w: functional.dropout(w, 0.4, inplace=True),
        "with a gate": lambda w: functional.dropout(w, 0.4) * GATE,
        "seen in another shape": lambda w: functional.dropout(w.flatten(0, 1), 0.4).view(B, H, T, T).clone(),
    }[way]
    torch.manual_seed(0)
    module = Weighed(change=dropped)
    cap = watch(module, torch.randn(B, T, H * D))
    wanted = module.seen * GATE if way == "with a gate" else module.seen
    np.testing.assert_allclose(whole(cap), wanted.numpy(), atol=1e-6)
    assert not np.allclose(whole(cap), module.used.numpy(), atol=1e-2)


def test_heads_mixed_before_the_softmax_leave_weights_and_no_factors():
    mixing = nn.Conv2d(H, H, 1)
    module = Weighed(lambda s: torch.softmax(mixing(s), -1))
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)
    assert not is_factored(cap)
    assert cap.notes == ()


@pytest.mark.parametrize("way", ["conv", "linear", "einsum", "matmul"])
def test_heads_mixed_after_the_softmax(way):
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(H, H))
    mixing = {
        "conv": nn.Conv2d(H, H, 1),
        "linear": lambda w: functional.linear(w.permute(0, 2, 3, 1), table).permute(0, 3, 1, 2),
        "einsum": lambda w: torch.einsum("bhqk,hg->bgqk", w, table),
        "matmul": lambda w: (w.permute(0, 2, 3, 1) @ table).permute(0, 3, 1, 2),
    }[way]
    module = Weighed(change=mixing)
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)
    assert [note for note in cap.notes if note.startswith(CHANGED)]


def test_numbers_that_are_no_weights_any_more_are_said():
    module = Weighed(change=lambda w: w * 3 - 1)
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)
    assert [note for note in cap.notes if note.startswith(CHANGED)]


class Blend(Weighed):
    """Two softmaxes, put together by a rule."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, x):
        q, k, v = self.mix(x).view(*x.shape[:2], 3, H, D).permute(2, 0, 3, 1, 4)
        self.used = self.rule(torch.softmax(q @ k.mT, -1), torch.softmax(k @ q.mT, -1))
        return self.used @ v


def test_a_blend_of_two_softmaxes_is_weights():
    positions = torch.randn(H, T, T)
    module = Blend(lambda one, other: 0.5 * positions.softmax(-1) + 0.2 * one + 0.3 * other)
    cap = watch(module, torch.randn(B, T, H * D))
    np.testing.assert_allclose(whole(cap), module.used.numpy(), atol=1e-6)
    assert cap.stacks["self"].n_layers == 1
    assert cap.notes == ()


def test_a_difference_of_two_softmaxes_is_refused():
    module, x = Blend(lambda one, other: one - other), torch.randn(B, T, H * D)
    with pytest.raises(aw.CaptureError) as error, aw.capture(module):
        module(x)
    assert str(error.value) == (
        "attention of Blend (by hand) could not be recorded: its weights are a combination of several softmaxes, and "
        "no weights themselves"
    )


def test_the_same_weights_for_two_products_are_one_layer():
    class Twice(Weighed):
        def forward(self, x):
            q, k, v = self.mix(x).view(*x.shape[:2], 3, H, D).permute(2, 0, 3, 1, 4)
            weights = torch.softmax(q @ k.mT, -1)
            return weights @ v + weights @ k

    cap = watch(Twice(), torch.randn(B, T, H * D))
    assert cap.stacks["self"].n_layers == 1
