"""Following softmaxes by hand leaves nothing behind, keeps nothing alive and disturbs nothing."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn

import attnwidget as aw
from attnwidget.intercept.byhand.trails import trails

B, T, E = 2, 6, 8


class ByHand(nn.Module):
    def forward(self, x):
        return torch.softmax(x @ x.mT * 0.5, -1) @ x


def test_a_step_that_cannot_be_followed_does_not_disturb_the_run(monkeypatch):
    def fail(*_):
        raise RuntimeError("mine")

    monkeypatch.setattr("attnwidget.intercept.byhand.scoring.scaled", fail)
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
        np.testing.assert_allclose(captured, wanted, atol=1e-5)


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


@pytest.mark.parametrize("depth", [1, 2])
def test_a_softmax_alone_in_a_function_transform_is_told(depth):
    class Mapped(nn.Module):
        def forward(self, x):
            softmax = torch.func.vmap(lambda scores: torch.softmax(scores, -1))
            return (softmax if depth == 1 else torch.func.vmap(softmax))(x @ x.mT) @ x

    module = nn.Sequential(ByHand(), Mapped())
    with aw.capture(module) as cap:
        module(torch.randn(B, T, E))
    assert any(note.startswith("a softmax in 1 (Mapped) was taken of a product of two tensors") for note in cap.notes)


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
