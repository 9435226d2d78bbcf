"""Layouts of published packages: areas, padded windows, keys made fewer, queries with keys of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from seenafter import D, E, H, SeenAfter, T, as_it_is, heads
from torch import nn
from torch.nn import functional
from watched import watch, whole
from windowing import image_windows, put_back

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


def cut_off_between(module, x):
    """Queries, keys and values are cut off between heads and their size, as the consistency models do."""
    parts = torch.stack([part(x).unflatten(-1, (H, D)) for part in (module.q, module.k, module.v)], 3)
    q, k, v = (part.reshape(-1, D, x.shape[1]) for part in parts.permute(0, 2, 3, 4, 1).contiguous().split(1, 2))
    weights = (q.mT @ k * D**-0.5).softmax(-1)
    return v @ weights.mT, weights, unmerged


@pytest.mark.parametrize("run", [channels_first, padded, cut_off_between])
def test_heads_merged_with_the_batch(run):
    torch.manual_seed(0)
    module = SeenAfter(run).eval()
    cap = watch(module, torch.randn(B, T, E))
    np.testing.assert_allclose(whole(cap, 0), module.seen, atol=1e-6)
    assert (UNTOLD.format(module="SeenAfter") in cap.notes) is (run is cut_off_between)


class Fewer(nn.Module):
    """Linformer (Wang et al. 2020): keys and values are projected along tokens.

    Args:
        by: how, from (B, T, C) and (T, k) to (B, k, C).
        shared: heads have one key and value.
    """

    def __init__(self, by, *, shared):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(E, D if shared and part != "q" else E, bias=False) for part in "qkv")
        self.e, self.f = (nn.Parameter(torch.randn(T, 3)) for _ in "ef")
        self.by = by

    def forward(self, x):
        k, v = self.by(self.k(x), self.e), self.by(self.v(x), self.f)
        q, k, v = (part.reshape(len(x), part.shape[1], -1, D).transpose(1, 2) for part in (self.q(x), k, v))
        k, v = (part.expand(-1, H, -1, -1) for part in (k, v))
        self.seen = torch.einsum("bhnd,bhkd->bhnk", q, k).softmax(-1)
        return torch.einsum("bhnk,bhkd->bhnd", self.seen, v)


FEWER = {
    "einsum": lambda x, p: torch.einsum("bnd,nk->bkd", x, p),
    "einsum, transposed": lambda x, p: torch.einsum("bnd,nk->bdk", x, p).mT,
    "einsum, parameter first": lambda x, p: torch.einsum("nk,bnd->bkd", p, x),
    "product": lambda x, p: p.T @ x,
    "tensordot": lambda x, p: torch.tensordot(p, x, ([0], [1])).transpose(0, 1),
    "linear": lambda x, p: functional.linear(x.mT, p.T).mT,
}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("batch", [1, B, H])
@pytest.mark.parametrize("name", FEWER)
def test_keys_projected_along_tokens(name, batch, shared):
    torch.manual_seed(0)
    module = Fewer(FEWER[name], shared=shared).eval()
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


class Halo(nn.Module):
    """HaloNet (Vaswani et al. 2021): heads are split off from channels as blocks are cut."""

    def __init__(self, size=2):
        super().__init__()
        self.q, self.kv, self.size = nn.Conv2d(E, E, 1), nn.Conv2d(E, 2 * E, 1), size

    def forward(self, x):
        batch, _, height, width = x.shape
        size, window = self.size, self.size + 2
        q = self.q(x).reshape(-1, D, height // size, size, width // size, size).permute(0, 1, 3, 5, 2, 4)
        q = q.reshape(batch * H, D, size**2, -1).transpose(1, 3)  # (B * H, blocks, T, d)
        kv = functional.pad(self.kv(x), [1] * 4).unfold(2, window, size).unfold(3, window, size)
        k, v = kv.reshape(batch * H, 2 * D, -1, window**2).permute(0, 2, 3, 1).chunk(2, -1)
        output, weights = softmax_of(q, k, v)
        self.seen = unmerged(weights)
        return output


@pytest.mark.parametrize("size", [2, 4])
def test_heads_split_off_as_blocks_are_cut(size):
    torch.manual_seed(0)
    module = Halo(size).eval()
    cap = watch(module, torch.randn(B, E, 4, 4))
    ran = module.seen.detach().transpose(1, 2).flatten(0, 1)  # (B * blocks, H, Tq, Tk)
    if size == 4:  # one block, which is the whole image, and its keys have places beyond it
        np.testing.assert_allclose(whole(cap), ran, atol=1e-6)
        return
    padded = np.pad(np.arange(16).reshape(4, 4), 1, constant_values=-1)
    keys = np.array([padded[row : row + 4, column : column + 4].ravel() for row in (0, 2) for column in (0, 2)])
    wanted, held = put_back(ran, image_windows(4, 4, size), 16, keys)
    np.testing.assert_allclose(whole(cap), wanted, atol=1e-6)
    np.testing.assert_array_equal(cap.allowed(0, batch=1)[0], held)


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
    text = "rows of the weights of ProbAttention stand for other tokens in each head"
    assert any(note.startswith(text) for note in cap.notes)
    assert list(cap.stacks["self"].query_tokens[0].pieces) == ["0", "1", "2"]


class Neighbours(nn.Module):
    """Sparse attention of DALL-E: in one softmax, keys of a text and those of each query's neighbours."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(E, E) for _ in "qkv")

    def forward(self, x, text):
        q, k, v, kt, vt = (
            heads(part(given))
            for part, given in ((self.q, x), (self.k, x), (self.v, x), (self.k, text), (self.v, text))
        )
        own = (torch.arange(x.shape[1])[:, None] - torch.arange(2)).clamp(min=0)
        k, v = k[:, :, own], v[:, :, own]  # (B, H, T, 2, d)
        self.seen = torch.cat([q @ kt.mT, torch.einsum("bhid,bhijd->bhij", q, k)], -1).softmax(-1)
        shared, apart = self.seen.split([text.shape[1], 2], -1)
        return shared @ vt + torch.einsum("bhij,bhijd->bhid", apart, v)


def test_columns_that_are_other_tokens_in_each_row_are_noted():
    torch.manual_seed(0)
    module = Neighbours().eval()
    cap = watch(module, torch.randn(B, T, E), torch.randn(B, 3, E))
    np.testing.assert_allclose(whole(cap), module.seen, atol=1e-6)
    assert any(note.startswith("some keys of Neighbours are others for each query") for note in cap.notes)


class LearnedTokens(nn.Module):
    """GLOM (Hinton 2021): what attends at first is a parameter, the same for each example."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(T, E))

    def forward(self, x):
        start = self.tokens.expand(len(x), -1, -1)
        _, self.first = softmax_of(start, functional.normalize(start, dim=-1), start)
        _, self.seen = softmax_of(start + x, x, x)
        return (self.first + self.seen) @ x


def test_parameters_repeated_for_each_example_are_tokens():
    torch.manual_seed(0)
    module = LearnedTokens().eval()
    cap = watch(module, torch.randn(B, T, E))
    assert cap.stacks["self"].n_layers == 2
    for layer, ran in enumerate((module.first, module.seen)):
        np.testing.assert_allclose(whole(cap, layer)[:, 0], ran.detach(), atol=1e-6)


class Lost(nn.Module):
    """Longformer's global keys and a window of others in one softmax, whose weights are written elsewhere."""

    def forward(self, x):
        x = x.flatten(2).mT
        own = (torch.arange(x.shape[1])[:, None] - torch.arange(2)).clamp(min=0)
        local = torch.einsum("bid,bijd->bij", x, x[:, own])
        weights = torch.cat([x @ x[:, :1].mT, local], -1).softmax(-1)
        spread = x.new_zeros(len(x), x.shape[1], x.shape[1])
        for row, columns in enumerate(own):
            spread[:, row].index_add_(-1, columns, weights[:, row, 1:])
        return weights[..., :1] @ x[:, :1] + spread @ x


def test_a_softmax_of_which_one_key_alone_is_followed_is_named():
    cap = watch(Beside(Lost()).eval(), torch.randn(B, T, E))
    assert cap.stacks["self"].n_layers == 1
    text = "a softmax in other (Lost) was multiplied with values, and not seen to be taken of a product"
    assert any(note.startswith(text) for note in cap.notes)
    assert not any("other tokens from row to row" in note for note in cap.notes)
