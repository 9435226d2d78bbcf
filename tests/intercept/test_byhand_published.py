"""Layouts of published packages: areas, padded windows, keys made fewer, queries with keys of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from seenafter import D, E, H, SeenAfter, T, as_it_is, heads
from torch import nn
from torch.nn import functional
from watched import watch, whole

import attnwidget as aw
from attnwidget.intercept.byhand.handmade import UNTOLD

B = 2
EXAMPLES = "stack 'self' has 8 examples, and no tensor that the module was given has as many"


def unmerged(weights):
    return weights.unflatten(0, (B, H))


def softmax_of(q, k, v):
    weights = (q @ k.mT * D**-0.5).softmax(-1)
    return weights @ v, weights


class Areas(nn.Module):
    """Area attention of YOLO12: an image is cut into areas, which are examples of their own.

    Args:
        by: how queries, keys and values are made: by a convolution, or by a linear map of tokens.
    """

    def __init__(self, by, areas=4):
        super().__init__()
        self.areas, self.by = areas, by
        self.qkv = nn.Conv2d(E, 3 * E, 1) if by == "convolution" else nn.Linear(E, 3 * E)

    def forward(self, x):
        tokens = self.qkv(x).flatten(2).mT if self.by == "convolution" else self.qkv(x.flatten(2).mT)
        cut = tokens.reshape(-1, tokens.shape[1] // self.areas, 3 * E)
        q, k, v = cut.view(*cut.shape[:2], H, 3 * D).transpose(1, 2).split(D, dim=-1)
        output, self.seen = softmax_of(q, k, v)
        return output


@pytest.mark.parametrize("grad", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("by", ["convolution", "linear"])
def test_areas_of_an_image_are_no_heads(by, grad):
    torch.manual_seed(0)
    module = Areas(by).eval()
    with grad(), aw.capture(module) as cap:
        module(torch.randn(B, E, 4, 6))
    np.testing.assert_allclose(whole(cap, 0), module.seen.detach(), atol=1e-6)
    assert any(note.startswith(EXAMPLES) for note in cap.notes)


def channels_first(module, x):
    """Heads are split off from channels as they are merged with the batch: (B, H * d, T) to (B * H, d, T)."""
    q, k, v = (part(x).mT.reshape(-1, D, x.shape[1]) for part in (module.q, module.k, module.v))
    weights = (q.mT @ k * D**-0.5).softmax(-1)
    return v @ weights.mT, weights, unmerged


def padded(module, x):
    """Merged with the batch, and padded (local-attention)."""
    q, k, v = (
        functional.pad(heads(part(x)).reshape(-1, x.shape[1], D), (0, 0, 0, 2))
        for part in (module.q, module.k, module.v)
    )
    return *softmax_of(q, k, v), unmerged


@pytest.mark.parametrize("run", [channels_first, padded])
def test_heads_merged_with_the_batch(run):
    torch.manual_seed(0)
    module = SeenAfter(run).eval()
    cap = watch(module, torch.randn(B, T, E))
    np.testing.assert_allclose(whole(cap, 0), module.seen, atol=1e-6)
    assert UNTOLD.format(module="SeenAfter") not in cap.notes


class Fewer(nn.Module):
    """Linformer (Wang et al. 2020): keys and values are projected along tokens."""

    def __init__(self, equation):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(E, E, bias=False) for _ in "qkv")
        self.e, self.f = (nn.Parameter(torch.randn(T, 3)) for _ in "ef")
        self.equation = equation

    def forward(self, x):
        k, v = (torch.einsum(self.equation, part(x), by) for part, by in ((self.k, self.e), (self.v, self.f)))
        k, v = (part.mT if self.equation.endswith("bdk") else part for part in (k, v))
        q, k, v = (part.reshape(len(x), -1, H, D).transpose(1, 2) for part in (self.q(x), k, v))
        self.seen = torch.einsum("bhnd,bhkd->bhnk", q, k).softmax(-1)
        return torch.einsum("bhnk,bhkd->bhnd", self.seen, v)


@pytest.mark.parametrize("equation", ["bnd,nk->bkd", "bnd,nk->bdk"])
@pytest.mark.parametrize("batch", [1, B, H])
def test_keys_projected_along_tokens(equation, batch):
    torch.manual_seed(0)
    module = Fewer(equation).eval()
    cap = watch(module, torch.randn(batch, T, E))
    np.testing.assert_allclose(whole(cap, 0), module.seen.detach(), atol=1e-6)


class Edges(nn.Module):
    """A graph transformer: each query has keys and values of its own, to which its edges were added.

    Args:
        merged: heads are merged with the batch.
    """

    def __init__(self, *, merged):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(E, E) for _ in "qkv")
        self.e = nn.Linear(5, E)
        self.merged = merged

    def forward(self, x, edges):
        q, k, v, e = (part(given) for part, given in ((self.q, x), (self.k, x), (self.v, x), (self.e, edges)))
        q, k, v, e = (part.unflatten(-1, (H, D)).movedim(-2, 1) for part in (q, k, v, e))
        if self.merged:
            q, k, v, e = (part.flatten(0, 1) for part in (q, k, v, e))
        k, v = k.unsqueeze(-3) + e, v.unsqueeze(-3) + e
        weights = torch.einsum("...id,...ijd->...ij", q, k).softmax(-1)
        self.seen = weights.unflatten(0, (len(x), H)) if self.merged else weights
        return torch.einsum("...ij,...ijd->...id", weights, v)


@pytest.mark.parametrize("batch", [1, B])
@pytest.mark.parametrize("merged", [True, False])
def test_queries_with_keys_of_their_own(merged, batch):
    torch.manual_seed(0)
    module = Edges(merged=merged).eval()
    cap = watch(module, torch.randn(batch, T, E), torch.randn(batch, T, T, 5))
    np.testing.assert_allclose(whole(cap, 0), module.seen.detach(), atol=1e-6)


class AllPairs(nn.Module):
    """The decoder of MAnet (Fan et al. 2020): one softmax over all pairs of places."""

    def forward(self, x):
        x = x.flatten(2)
        weights = (x.mT @ x).flatten(1).softmax(1).view(len(x), x.shape[2], x.shape[2])
        return weights @ x.mT


class Beside(nn.Module):
    def __init__(self, other):
        super().__init__()
        self.attn = nn.MultiheadAttention(E, H, batch_first=True)
        self.other = other

    def forward(self, x, *more):
        return self.other(self.attn(x, x, x)[0].mT.unflatten(2, (2, -1)), *more)


def test_a_softmax_over_all_pairs_is_named():
    cap = watch(Beside(AllPairs()).eval(), torch.randn(B, T, E))
    text = "a product of two tensors in other (AllPairs) was turned into something else than a softmax"
    assert any(note.startswith(text) for note in cap.notes)
    with pytest.raises(aw.CaptureError, match="turned into something else"):
        watch(AllPairs(), torch.randn(B, E, 2, 3))


def picked(module, x):
    """ProbSparse attention of Informer (Zhou et al. 2021): each head picks its queries."""
    q, k, v = (heads(part(x)) for part in (module.q, module.k, module.v))
    scores = q @ k.mT
    top = (scores.amax(-1) - scores.mean(-1)).topk(3).indices
    q = q[torch.arange(len(x))[:, None, None], torch.arange(H)[:, None], top]
    return *softmax_of(q, k, v), as_it_is


class ProbAttention(SeenAfter):
    """Called as implementations of it are."""


def test_rows_that_are_other_tokens_in_each_head_are_noted():
    torch.manual_seed(0)
    module = ProbAttention(picked).eval()
    cap = watch(module, torch.randn(B, T, E))
    np.testing.assert_allclose(whole(cap, 0), module.seen, atol=1e-6)
    text = "rows of the weights of ProbAttention stand for something else in each head"
    assert any(note.startswith(text) for note in cap.notes)
    assert list(cap.stacks["self"].query_tokens[0].pieces) == ["0", "1", "2"]
