"""Softmaxes that are no attention, and what is left behind when nothing is."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.intercept.trails import trails

B, T, E, N = 2, 6, 8, 4


class Attends(nn.Module):
    """Something to capture beside what is no attention, so that a false hit would be seen as a second layer."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def forward(self, x):
        y = torch.softmax(x @ x.mT, -1) @ x
        return y, self.other(y)


class Router(nn.Module):
    """Tokens choose experts: the scores are a projection."""

    def __init__(self, project):
        super().__init__()
        self.table = nn.Parameter(torch.randn(E, N))
        self.experts = nn.Parameter(torch.randn(N, E, E))
        self.project = project

    def forward(self, x):
        gates = torch.softmax(self.project(x, self.table), dim=-1)  # (B, T, N)
        answers = torch.einsum("bte,nef->btnf", x, self.experts)
        return torch.einsum("btn,btnf->btf", gates, answers)


class Cast(nn.Module):
    """A router in another precision than its tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(E, N, dtype=torch.float64))

    def forward(self, x):
        gates = (x @ self.table.float()).softmax(-1)
        return gates @ torch.randn(N, E)


class SoftSlots(nn.Module):
    """Soft mixture of experts (Puigcerver et al. 2023): slots are parameters."""

    def __init__(self):
        super().__init__()
        self.slots = nn.Parameter(torch.randn(E, N))

    def forward(self, x):
        scores = x @ self.slots
        filled = scores.softmax(dim=1).transpose(1, 2) @ x
        return scores.softmax(dim=2) @ filled


class SlotAttention(nn.Module):
    """Slots compete for tokens (Locatello et al. 2020): the softmax is over slots, the sum over tokens."""

    def forward(self, x):
        slots = torch.randn(B, N, E)
        weights = torch.softmax(slots @ x.mT, dim=1)
        return weights / weights.sum(-1, keepdim=True) @ x


class LinearAttention(nn.Module):
    """Softmaxes of queries and of keys, never of their product (Shen et al. 2018)."""

    def forward(self, x):
        return x.softmax(-1) @ (x.softmax(1).mT @ x)


class AttentivePooling(nn.Module):
    """A score per token, from the token alone."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(E, 1)

    def forward(self, x):
        return torch.softmax(self.score(x), dim=1).mT @ x


class Contrast(nn.Module):
    """A loss on products, whose softmax weighs nothing."""

    def forward(self, x):
        logits = functional.normalize(x, dim=-1) @ functional.normalize(x, dim=-1).mT
        return functional.cross_entropy(logits.flatten(0, 1), torch.arange(T).repeat(B)) + logits.log_softmax(-1).mean()


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(E, N)

    def forward(self, x):
        return torch.softmax(self.head(x.mean(1)), -1)


class Values(nn.Module):
    """Weights of a product, times a table of positions only, as relative values are (Shaw et al. 2018)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(T, E))

    def forward(self, x):
        return torch.softmax(x @ x.mT, -1) @ self.table


class Outer(nn.Module):
    """Positions times frequencies sum over nothing."""

    def forward(self, x):
        return torch.softmax(x[..., :1] @ x[..., :1].mT, -1) @ x


OTHERS = {
    "router by matmul": Router(lambda x, table: x @ table),
    "router by a view": Router(lambda x, table: x @ table.t().t()),
    "router by linear": Router(lambda x, table: functional.linear(x, table.t())),
    "router by einsum": Router(lambda x, table: torch.einsum("bte,en->btn", x, table)),
    "router in another type": Cast(),
    "soft slots": SoftSlots(),
    "slot attention": SlotAttention(),
    "linear attention": LinearAttention(),
    "attentive pooling": AttentivePooling(),
    "contrastive loss": Contrast(),
    "classifier": Classifier(),
    "values that are parameters": Values(),
    "outer product": Outer(),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("grad", [False, True])
def test_what_is_no_attention_is_not_shown(name, grad):
    module = Attends(OTHERS[name])
    x = torch.randn(B, T, E)
    with torch.set_grad_enabled(grad), aw.capture(module) as cap:
        module(x)
    assert {info.path for stack in cap.stacks.values() for info in stack.infos} == {""}


def test_alone_it_is_an_error_that_says_what_was_seen():
    module = OTHERS["attentive pooling"]
    with pytest.raises(aw.CaptureError) as error, aw.capture(module):
        module(torch.randn(B, T, E))
    assert (
        "A softmax in AttentivePooling (AttentivePooling) was multiplied with values, and not seen to be taken of"
        in str(error.value)
    )


class ByHand(nn.Module):
    def forward(self, x):
        return torch.softmax(x @ x.mT * 0.5, -1) @ x


def test_a_step_that_cannot_be_followed_does_not_disturb_the_run(monkeypatch):
    def fail(*_):
        raise RuntimeError("mine")

    monkeypatch.setattr("attnwidget.intercept.scoring.scaled", fail)
    module, x = ByHand(), torch.randn(B, T, E)
    plain, seen = module(x), []
    with pytest.raises(aw.CaptureError, match="and not seen to be taken of a product"), aw.capture(module):
        seen.append(module(x))
    assert torch.equal(seen[0], plain)


def test_nothing_is_remembered_after_the_block():
    module, x = ByHand(), torch.randn(B, T, E)
    with aw.capture(module):
        y = torch.softmax(x @ x.mT, -1)
        module(x)
        assert trails()
    assert not trails()
    del y


def test_after_an_exception_nothing_is_remembered():
    x = torch.randn(B, T, E)
    with pytest.raises(ZeroDivisionError), aw.capture(ByHand()):  # noqa: PT012
        scores = x @ x.mT
        raise ZeroDivisionError
    assert not trails()
    del scores


def test_tensors_of_the_run_live_no_longer_than_without_capture():
    class Keeps(nn.Module):
        def forward(self, x):
            scores = x @ x.mT
            biased = scores + torch.zeros(T, T)
            weights = torch.softmax(biased, -1)
            self.alive = [weakref.ref(scores), weakref.ref(biased), weakref.ref(weights)]
            del scores, biased
            y = weights @ x
            self.during = [ref() is not None for ref in self.alive]
            return y

    module = Keeps()
    with torch.no_grad(), aw.capture(module) as cap:
        module(torch.randn(B, T, E))
    gc.collect()
    assert module.during == [False, False, True]
    assert all(ref() is None for ref in module.alive)
    assert cap.stacks["self"].n_layers == 1


def test_what_is_kept_is_linear_in_the_number_of_tokens():
    module, sizes = ByHand(), []
    for length in (64, 128):
        with torch.no_grad(), aw.capture(module) as cap:
            module(torch.randn(1, length, E))
        sizes.append(cap.nbytes)
    assert sizes[1] < 2.1 * sizes[0]


def test_nested_captures_share_the_layer():
    module = nn.Sequential(ByHand(), ByHand())
    with aw.capture(module) as outer, aw.capture(module[1]) as inner:
        module(torch.randn(B, T, E))
    assert outer.stacks["self"].n_layers == 2
    assert inner.stacks["self"].layers[0] is outer.stacks["self"].layers[1]


def test_an_inner_capture_that_begins_between_the_products():
    class Halfway(nn.Module):
        def forward(self, x):
            scores = x @ x.mT
            with aw.capture(self) as self.cap:
                return torch.softmax(scores, -1) @ x

    module = Halfway()
    with aw.capture(module) as outer:
        module(torch.randn(B, T, E))
    assert outer.stacks["self"].n_layers == module.cap.stacks["self"].n_layers == 1


def test_threads_follow_their_own():
    found = {}
    start = threading.Barrier(4)

    def run(length):
        module, x = ByHand(), torch.randn(1, length, E)
        start.wait()
        for _ in range(5):
            with torch.no_grad(), aw.capture(module) as cap:
                module(x)
        found[length] = cap.weights(0, head=0), torch.softmax(x[0] @ x[0].mT * 0.5, -1).numpy()

    threads = [threading.Thread(target=run, args=(length,)) for length in (3, 4, 5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for captured, wanted in found.values():
        np.testing.assert_allclose(captured, wanted, atol=1e-6)


@pytest.mark.filterwarnings(r"ignore:`torch.cpu.amp.autocast:FutureWarning")  # torch 2.4, of itself
def test_gradient_checkpointing_is_seen_once():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ByHand()

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False)

    module = Checkpointed()
    with aw.capture(module) as cap:
        module(torch.randn(B, T, E, requires_grad=True)).sum().backward()
    assert cap.stacks["self"].n_layers == 1
    assert cap.notes == ()


def test_gradients_are_the_same():
    grads = []
    x = torch.randn(B, T, E)
    for watched in (False, True):
        own = x.clone().requires_grad_()
        module = ByHand()
        if watched:
            with aw.capture(module):
                module(own).square().sum().backward()
        else:
            module(own).square().sum().backward()
        grads.append(own.grad)
    assert torch.equal(*grads)


def test_function_transforms_run_as_before_and_are_refused():
    class Mapped(nn.Module):
        def forward(self, x):
            return torch.func.vmap(lambda part: torch.softmax(part @ part.mT, -1) @ part)(x)

    module, x = Mapped(), torch.randn(B, T, E)
    plain = module(x)
    seen = []
    with pytest.raises(aw.CaptureError, match="it ran inside a function transform"), aw.capture(module):
        seen.append(module(x))
    assert torch.equal(seen[0], plain)
