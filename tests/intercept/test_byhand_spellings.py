"""However a softmax is written, it is what torch.softmax gives, and is captured as that."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

B, H, T, D = 2, 3, 7, 4
ALLOWED = torch.ones(T, T, dtype=torch.bool).tril()


def total(parts):
    return parts.sum(-1, keepdim=True)


def written_over(parts):
    parts[..., ~ALLOWED] = 0
    return parts / total(parts)


SPELLINGS = {
    "softmin": lambda scores: functional.softmin(-scores, dim=-1),
    "torch's own softmax": lambda scores: torch._softmax(scores, -1, False),
    "torch's own safe softmax": lambda scores: torch._safe_softmax(scores, -1),
    "torch's own log_softmax": lambda scores: torch._log_softmax(scores, -1, False).exp(),
    "exp2 once": lambda scores: (parts := torch.exp2(scores / np.log(2))) / total(parts),
    "less its maximum": lambda scores: (parts := (scores - scores.amax(-1, keepdim=True)).exp()) / total(parts),
    "a power of e": lambda scores: (parts := torch.pow(torch.e, scores)) / total(parts),
    "e to the": lambda scores: (parts := torch.e**scores) / total(parts),
    "times a reciprocal": lambda scores: (parts := scores.exp()) * total(parts).reciprocal(),
    "a reciprocal times": lambda scores: (1 / total(parts := scores.exp())) * parts,
    "normalize": lambda scores: functional.normalize(scores.exp(), p=1, dim=-1),
}
MASKED = {
    "times a mask": lambda scores: (parts := scores.exp() * ALLOWED) / total(parts),
    "times a mask in place": lambda scores: (parts := scores.exp().mul_(ALLOWED)) / total(parts),
    "filled": lambda scores: (parts := scores.exp().masked_fill(~ALLOWED, 0.0)) / total(parts),
    "written over": lambda scores: written_over(scores.exp()),
    "masked softmax": lambda scores: torch._masked_softmax(scores, (~ALLOWED).expand_as(scores), 3, 2),
}


class Attends(nn.Module):
    def __init__(self, spelling):
        super().__init__()
        self.spelling, self.scores = spelling, None

    def forward(self, x):
        q, k, v = x.unflatten(-1, (H, -1)).transpose(1, 2).chunk(3, -1)  # (B, H, T, D) each
        self.scores = q @ k.mT
        return (self.spelling(self.scores * 1.0) @ v).transpose(1, 2)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", [*SPELLINGS, *MASKED])
def test_a_softmax_spelled_out(name, grad):
    module = Attends({**SPELLINGS, **MASKED}[name])
    x = torch.randn(B, T, H * D * 3, generator=torch.Generator().manual_seed(0))
    with torch.set_grad_enabled(grad and "in place" not in name and "over" not in name), aw.capture(module) as cap:
        output = module(x)
    scores = module.scores.detach()
    want = torch.softmax(scores.masked_fill(~ALLOWED, -torch.inf) if name in MASKED else scores, -1)
    assert torch.equal(output, module(x))
    for example in range(B):
        for head in range(H):
            np.testing.assert_allclose(
                cap.weights(0, head=head, batch=example), want[example, head], atol=1e-5, err_msg=name
            )
    assert cap.verify().ok
    assert not cap.notes


PRODUCTS = {
    "inner": (torch.inner, lambda weights, v: torch.inner(weights, v.mT)),
    "multi_dot": (lambda q, k: torch.linalg.multi_dot([q, k.mT]), lambda w, v: torch.linalg.multi_dot([w, v])),
}


class OneHead(nn.Module):
    """Of a single text, without an axis for the batch."""

    def __init__(self, scores, use, softmax):
        super().__init__()
        self.scores, self.use, self.softmax = scores, use, softmax

    def forward(self, x):
        q, k, v = x.chunk(3, -1)  # (T, D) each
        return self.use(self.softmax(self.scores(q, k)), v)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_by_other_names(name):
    module = OneHead(*PRODUCTS[name], lambda scores: scores.softmax(-1))
    x = torch.randn(T, 3 * D, generator=torch.Generator().manual_seed(0))
    with aw.capture(module) as cap:
        module(x)
    q, k, _ = x.chunk(3, -1)
    np.testing.assert_allclose(cap.weights(0, head=0), torch.softmax(q @ k.T, -1), atol=1e-5)
    assert cap.verify().ok


@pytest.mark.parametrize(
    "softmax", [functional.softmax, nn.Softmax(), lambda scores: functional.log_softmax(scores).exp()]
)
def test_an_axis_that_nobody_named(softmax):
    module = OneHead(lambda q, k: q @ k.mT, torch.matmul, softmax)
    x = torch.randn(T, 3 * D, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), aw.capture(module) as cap:
        warnings.filterwarnings("ignore", message="Implicit dimension choice")
        module(x)
    q, k, _ = x.chunk(3, -1)
    np.testing.assert_allclose(cap.weights(0, head=0), torch.softmax(q @ k.T, 1), atol=1e-5)


class Named(torch.Tensor):
    """Something to carry along, as in many packages."""


class Ruled(torch.Tensor):
    """The same, with a rule of its own for what it becomes, as fastai's and MONAI's tensors have."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, Ruled):
            result.label = next((part.label for part in args if "label" in getattr(part, "__dict__", ())), "")
        return result


@pytest.mark.parametrize("kind", [Named, Ruled])
def test_tensors_of_a_subclass(kind):
    module = Attends(lambda scores: (scores * 0.5).masked_fill(~ALLOWED, -torch.inf).softmax(-1))
    x = torch.randn(B, T, H * D * 3)
    with aw.capture(module) as cap:
        output = module(x.as_subclass(kind))
    assert type(output) is kind
    want = torch.softmax((module.scores.as_subclass(torch.Tensor) * 0.5).masked_fill(~ALLOWED, -torch.inf), -1)
    np.testing.assert_allclose(cap.weights(0, head=1, batch=1), want[1, 1], atol=1e-5)
    assert cap.verify().ok
    plain = Attends(module.spelling)
    with aw.capture(plain) as bare:
        plain(x)
    assert repr(cap.stacks["self"].layers[0]) == repr(bare.stacks["self"].layers[0])
