"""What lies within a row of a projection is told from tokens and examples, whatever stands beside the features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from seenafter import D, E, H, SeenAfter, T, heads
from torch import nn
from torch.nn import functional
from watched import watch, whole

from attnwidget.intercept.byhand.handmade import UNTOLD
from attnwidget.intercept.byhand.kernelaxes import ELSEWHERE

B = 2
NOTE = UNTOLD.format(module="Attention")


class Attention(SeenAfter):
    def __init__(self, run):
        super().__init__(run)
        self.convs = nn.ModuleList(nn.Conv2d(3, E, 1) for _ in "qkv")
        self.several = nn.Linear(E, 5 * E)
        self.map = nn.Parameter(torch.randn(E, E) * 0.2)


def check(run, *inputs, notes=()):
    net = Attention(run)
    cap = watch(net, *inputs)
    np.testing.assert_allclose(whole(cap), net.seen, atol=1e-5)
    assert [note for note in cap.notes if note == NOTE] == list(notes)
    return cap


def test_convolutions_put_out_channels():
    """(B, H * d, height, width), as in the U-Nets of diffusion models."""

    def run(net, x):
        q, k, v = (conv(x).flatten(2).unflatten(1, (H, D)) for conv in net.convs)  # (B, H, d, T)
        w = torch.einsum("bhdi,bhdj->bhij", q, k).softmax(-1)
        return torch.einsum("bhij,bhdj->bhid", w, v), w, lambda w: w

    check(run, torch.randn(B, 3, 3, 4))


def test_convolutions_over_tokens():
    """(B, H * d, T), seen as (B, H, d, T), as SqueezeBERT has it: channels that were split are no groups of tokens."""

    def run(net, x):
        q, k, v = (conv(x).squeeze(2).view(len(x), H, D, -1).permute(0, 1, 3, 2) for conv in net.convs)
        w = torch.matmul(q, k.mT).softmax(-1)
        return torch.matmul(w, v), w, lambda w: w

    check(run, torch.randn(B, 3, 1, T))


def test_an_image_whose_rows_and_heads_are_merged_at_once():
    """(B, rows, columns, H * d) to (B * H, rows * columns, d), as einops writes it."""

    def run(net, x):
        q, k, v = (
            fit(x).reshape(B, 2, 3, H, D).permute(0, 3, 1, 2, 4).reshape(B * H, 6, D) for fit in (net.q, net.k, net.v)
        )
        w = torch.bmm(q, k.mT).softmax(-1)
        return torch.bmm(w, v), w, lambda w: w.unflatten(0, (B, H))

    check(run, torch.randn(B, 2, 3, E))


@pytest.mark.parametrize("n_examples", [1, 2])
def test_a_token_of_the_class_is_put_before_the_others(n_examples):
    def run(net, x):
        parts = [heads(fit(x)).reshape(-1, T, D) for fit in (net.q, net.k, net.v)]
        first, rest = parts[0][:, :1], (parts[0] * 2)[:, 1:]
        q, k, v = torch.cat((first, rest), 1), torch.cat((parts[1][:, :1], parts[1][:, 1:] * 2), 1), parts[2]
        w = torch.bmm(q, k.mT).softmax(-1)
        return torch.bmm(w, v), w, lambda w: w.unflatten(0, (-1, H))

    check(run, torch.randn(n_examples, T, E))


def test_inputs_that_no_projection_made():
    def run(_, q, k, v):
        w = (q @ k.mT).softmax(-1)
        return w @ v, w, lambda w: w

    q, k, v = (torch.linspace(-1, 1, 2 * 3 * n * 8).view(2, 3, n, 8) for n in (5, 7, 7))
    check(run, q, k, v, notes=[NOTE])


def test_a_row_that_holds_all_tokens():
    def run(_, x):
        x = x.view(B, 7, E)
        w = (x @ x.mT).softmax(-1)
        return w @ x, w, lambda w: w[:, None]

    check(run, torch.randn(B, 7 * E))


def test_several_queries_from_one_row():
    def run(net, z, y):
        q, k, v = heads(net.several(z).view(B, 5, E)), heads(net.k(y)), heads(net.v(y))
        w = (q @ k.mT).softmax(-1)
        return w @ v, w, lambda w: w

    check(run, torch.randn(B, E), torch.randn(B, 7, E))


@pytest.mark.parametrize("n_examples", [1, 2])
def test_attention_among_the_heads_of_each_token(n_examples):
    """Where somebody forgot to transpose."""

    def run(net, x):
        q, k, v = (fit(x).unflatten(-1, (H, D)) for fit in (net.q, net.k, net.v))
        w = (q @ k.mT).softmax(-1)  # (B, T, H, H)
        return w @ v, w, lambda w: w.flatten(0, 1)[:, None]

    check(run, torch.randn(n_examples, T, E))


def test_heads_that_are_tokens_of_their_own():
    """All of them look at all: one head over T * H tokens."""

    def run(net, x):
        q, k, v = (fit(x).view(B, T * H, D) for fit in (net.q, net.k, net.v))
        w = torch.bmm(q, k.mT).softmax(-1)
        return torch.bmm(w, v), w, lambda w: w[:, None]

    check(run, torch.randn(B, T, E))


def test_tokens_that_are_put_into_groups_after_the_projection():
    def run(net, x):
        q, k, v = (fit(x).view(B, 3, 2, E).transpose(1, 2) for fit in (net.q, net.k, net.v))
        w = (q @ k.mT).softmax(-1)
        return w @ v, w, lambda w: w.flatten(0, 1)[:, None]

    cap = check(run, torch.randn(B, T, E))
    assert "parts of what it was given, such as blocks, rows or images" in cap.notes[0]


def test_groups_of_a_single_head_that_were_there_before_are_doubted():
    def run(net, x):
        q, k, v = (fit(x).transpose(1, 2).reshape(-1, 3, E) for fit in (net.q, net.k, net.v))
        w = torch.bmm(q, k.mT).softmax(-1)
        return torch.bmm(w, v), w, None

    for n_examples in (1, B):
        net = Attention(run)
        assert NOTE in watch(net, torch.randn(n_examples, 3, 5, E)).notes


@pytest.mark.parametrize("n_queries", [1, 4])
def test_a_parameter_that_is_repeated_for_examples(n_queries):
    """Luong's "general" score: examples are no heads."""

    def run(net, x, y):
        q = torch.bmm(x, net.map.expand(len(x), -1, -1))
        w = torch.bmm(q, y.mT).softmax(-1)
        return torch.bmm(w, y), w, lambda w: w[:, None]

    check(run, torch.randn(3, n_queries, E), torch.randn(3, 7, E))


@pytest.mark.parametrize("way", ["repeated", "broadcast", "copied"])
@pytest.mark.parametrize("n_examples", [1, 2])
def test_groups_of_heads_in_a_kernel(way, n_examples):
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(E, E), nn.Linear(E, E)
            self.seen = None

        def forward(self, x):
            q = self.q(x).unflatten(-1, (2, 2, D)).permute(0, 2, 3, 1, 4)  # (B, G, R, T, d)
            k, v = (part.unflatten(-1, (2, D)).transpose(1, 2)[:, :, None] for part in self.kv(x).chunk(2, -1))
            if way != "broadcast":
                k, v = (part.expand(-1, -1, 2, -1, -1) for part in (k, v))
            if way == "copied":
                q, v = q * 1.0, v.contiguous()
            self.seen = q, k
            return functional.scaled_dot_product_attention(q, k, v)

    net = Grouped()
    cap = watch(net, torch.randn(n_examples, T, E))
    q, k = net.seen
    weights = (q @ k.mT / D**0.5).softmax(-1).flatten(1, 2)
    np.testing.assert_allclose(whole(cap), weights, atol=1e-6)
    assert cap.notes == ()


def transposed(part):
    return part.unflatten(-1, (H, D)).transpose(1, 2)


def not_transposed(part):
    return part.unflatten(-1, (H, D))


def heads_first(part):
    return part.unflatten(-1, (H, D)).permute(2, 0, 1, 3)


@pytest.mark.parametrize(("order", "axis"), [(transposed, None), (not_transposed, 2), (heads_first, 0)])
def test_heads_of_a_kernel_that_stand_elsewhere_are_told_of(order, axis):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Attention(None)

        def forward(self, x):
            net = self.inner
            return functional.scaled_dot_product_attention(*(order(fit(x)) for fit in (net.q, net.k, net.v)))

    cap = watch(Net(), torch.randn(3, T, E))
    wanted = () if axis is None else (ELSEWHERE.format(module="Net", axis=axis),)
    assert tuple(note for note in cap.notes if "axis 1" in note) == wanted
