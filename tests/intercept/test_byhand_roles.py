"""Heads are what was split off from the features of a projection, wherever a model keeps them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from seenafter import D, E, H, SeenAfter, T, as_it_is, heads
from torch import nn
from torch.nn import functional
from watched import watch, whole

from attnwidget.intercept.byhand.handmade import UNTOLD
from attnwidget.intercept.byhand.weighing import PARTLY


class Attention(SeenAfter):
    def __init__(self, run):
        super().__init__(run)
        self.kv = nn.Linear(E, 2 * D)
        self.each = nn.Parameter(torch.randn(3, H, 1, E, D) * 0.2)
        self.absorbed = nn.Parameter(torch.randn(H, D, D) * 0.3)


def grouped_in_five_axes(net, x):
    b, t, _ = x.shape
    q = net.q(x).view(b, t, 2, 2, D)
    k, v = _grouped(net, x)
    w = torch.einsum("bqgrd,bkgd->bgrqk", q, k).softmax(-1)
    return torch.einsum("bgrqk,bkgd->bqgrd", w, v), w, lambda w: w.flatten(1, 2)


def _grouped(net, x):
    return [part[..., : 2 * D].unflatten(-1, (2, D)) for part in (net.k(x), net.v(x))]


def grouped_with_an_axis_more(net, x):
    q = net.q(x).unflatten(-1, (2, 2, D)).permute(0, 2, 3, 1, 4)
    k, v = (part.transpose(1, 2).unsqueeze(2) for part in _grouped(net, x))
    w = (q @ k.mT / math.sqrt(D)).softmax(-1)
    return w @ v, w, lambda w: w.flatten(1, 2)


def without_a_batch_and_grouped(net, x):
    """As the reference code of GPT-OSS has it: (tokens, key heads, heads of each, size), and a sink."""
    x = x[0]
    n = len(x)
    q = net.q(x).view(n, 2, 2, D)
    k, v = (part.view(n, 2, 1, D).expand(-1, -1, 2, -1) for part in _grouped(net, x))
    scores = torch.einsum("qhmd,khmd->hmqk", q, k) * 0.3 + torch.full((n, n), -math.inf).triu(1)
    w = torch.cat([scores, torch.zeros(2, 2, n, 1)], -1).softmax(-1)[..., :-1]
    return torch.einsum("hmqk,khmd->qhmd", w, v), w, lambda w: w.flatten(0, 1)[None]


def without_a_batch(net, x):
    q, k, v = (fit(x[0]).view(-1, H, D) for fit in (net.q, net.k, net.v))
    w = torch.einsum("qhd,khd->hqk", q, k).softmax(-1)
    return torch.einsum("hqk,khd->qhd", w, v), w, lambda w: w[None]


def flattened(net, x):
    q, k, v = (heads(fit(x)).flatten(0, 1) for fit in (net.q, net.k, net.v))
    w = torch.bmm(q, k.mT).softmax(-1)
    return torch.bmm(w, v), w, lambda w: w.unflatten(0, (-1, H))


def tokens_first(net, x):
    """As Megatron has it: (tokens, batch, heads, size), seen as (tokens, batch * heads, size)."""
    x = x.transpose(0, 1)
    t, b, _ = x.shape
    q, k, v = (fit(x).view(t, b, H, D).view(t, b * H, D).transpose(0, 1) for fit in (net.q, net.k, net.v))
    w = torch.bmm(q, k.mT).softmax(-1)
    return torch.bmm(w, v), w, lambda w: w.unflatten(0, (-1, H))


def of_each_head(net, x):
    """Projections of each head stacked in one parameter, (H, 1, E, D)."""
    q, k, v = (x @ own for own in net.each)
    w = (q @ k.mT).softmax(-1)
    return (w @ v).sum(0), w, lambda w: w.transpose(0, 1)


def normed_heads_first(net, x):
    q, k, v = (fit(x).unflatten(-1, (H, D)).permute(2, 0, 1, 3) for fit in (net.q, net.k, net.v))
    w = (functional.layer_norm(q, (D,)) @ functional.layer_norm(k, (D,)).mT).softmax(-1)
    return w @ v.contiguous(), w, lambda w: w.transpose(0, 1)


def positions_first(net, x):
    q, k, v = (heads(fit(x)) for fit in (net.q, net.k, net.v))
    places = torch.randn(x.shape[1], x.shape[1], D, generator=torch.Generator().manual_seed(0))
    w = (torch.einsum("bhqd,qkd->bhqk", q, places) + q @ k.mT).softmax(-1)
    return w @ v, w, as_it_is


def one_query_for_each_head(net, x):
    """As AlphaFold's global column attention: no axis for queries, and keys that all heads share."""
    x = x[:, None].expand(-1, 3, -1, -1)
    q = net.q(x.mean(-2)).unflatten(-1, (H, D))
    k, v = net.kv(x).chunk(2, -1)
    w = (q @ k.mT).softmax(-1)
    return w @ v, w, lambda w: w.flatten(0, 1)[:, :, None]


def values_of_positions_first(net, x):
    q, k, v = (heads(fit(x)) for fit in (net.q, net.k, net.v))
    b, _, t, _ = q.shape
    places = torch.randn(t, t, D, generator=torch.Generator().manual_seed(0))
    w = (q @ k.mT).softmax(-1)
    near = (w.permute(2, 0, 1, 3).reshape(t, b * H, t) @ places).transpose(0, 1).reshape(b, H, t, D)
    return near + w @ v, w, as_it_is


def copied(net, x):
    q, k, v = (heads(fit(x)).contiguous() * 1.0 for fit in (net.q, net.k, net.v))
    w = (q @ k.mT).softmax(-1)
    return w @ v, w, as_it_is


def positions_in_memory(net, x, order=1):
    """As Transformer-XL has it: content, and positions that examples share."""
    q, k, v = (fit(x).unflatten(-1, (H, D)) for fit in (net.q, net.k, net.v))
    places = net.q(torch.randn(x.shape[1], E, generator=torch.Generator().manual_seed(0))).unflatten(-1, (H, D))
    parts = torch.einsum("bind,bjnd->bnij", q, k), torch.einsum("bind,jnd->bnij", q, places)
    w = (parts[1 - order] + parts[order]).mul(0.3).softmax(-1)
    return torch.einsum("bnij,bjnd->bind", w, v), w, as_it_is


def positions_in_memory_first(net, x):
    return positions_in_memory(net, x, order=0)


def one_key_apart(net, x):
    q, k, v = (heads(fit(x)) for fit in (net.q, net.k, net.v))
    w = (q @ k.mT).softmax(-1)
    return w[..., :1] @ v[:, :, :1] + w[..., 1:] @ v[:, :, 1:], w, as_it_is


def best_keys_put_back(net, x):
    q, k, v = (heads(fit(x)) for fit in (net.q, net.k, net.v))
    scores = q @ k.mT
    best, places = scores.topk(3, -1)
    w = torch.zeros_like(scores).scatter(-1, places, best.softmax(-1))
    return w @ v, w, as_it_is


@pytest.mark.parametrize("n_examples", [2, 1])
@pytest.mark.parametrize(
    "run",
    [
        grouped_in_five_axes,
        grouped_with_an_axis_more,
        without_a_batch_and_grouped,
        without_a_batch,
        flattened,
        tokens_first,
        of_each_head,
        normed_heads_first,
        positions_first,
        one_query_for_each_head,
        values_of_positions_first,
        copied,
        positions_in_memory,
        positions_in_memory_first,
        one_key_apart,
        best_keys_put_back,
    ],
)
def test_every_axis_is_what_it_is(run, n_examples):
    net = Attention(run)
    cap = watch(net, torch.randn(n_examples, T, E))
    np.testing.assert_allclose(whole(cap), net.seen, atol=1e-6)
    # Queries that have nothing alone but heads may as well be as many queries of one head.
    assert (UNTOLD.format(module="Attention") in cap.notes) == (run is one_query_for_each_head)


def behind_queries(net, x, cached):
    """Heads between queries and keys, of keys that all heads share: the absorbed form of DeepSeek's attention."""
    q = net.q(x).unflatten(-1, (H, D))
    shared = torch.cat([cached, net.kv(x)[..., :D]], 1)
    w = torch.einsum("bshc,btc->bsht", q, shared).softmax(-1)
    return torch.einsum("bsht,btc->bshc", w, shared), w, lambda w: w.transpose(1, 2)


def behind_queries_absorbed(net, x, cached):
    q = torch.einsum("bshd,hdc->bshc", net.q(x).unflatten(-1, (H, D)) * 2.0, net.absorbed)
    shared = torch.cat([cached, net.kv(x)[..., :D]], 1)
    w = torch.einsum("bshc,btc->bsht", q, shared).softmax(-1)
    return torch.einsum("bsht,btc->bshc", w, shared), w, lambda w: w.transpose(1, 2)


@pytest.mark.parametrize(("new", "cached"), [(6, 0), (4, 0), (1, 5), (3, 5), (4, 5)])
@pytest.mark.parametrize("run", [behind_queries, behind_queries_absorbed])
def test_heads_behind_queries(run, new, cached):
    net = Attention(run)
    cap = watch(net, torch.randn(2, new, E), torch.randn(2, cached, D))
    np.testing.assert_allclose(whole(cap), net.seen, atol=1e-6)
    assert not cap.notes


def test_as_many_keys_as_heads():
    def across(net, x, y):
        q, (k, v) = net.q(x).unflatten(-1, (H, D)), net.kv(y).chunk(2, -1)
        w = torch.einsum("bqhd,bkd->bhqk", q, k).softmax(-1)
        return torch.einsum("bhqk,bkd->bqhd", w, v), w, as_it_is

    net = Attention(across)
    cap = watch(net, torch.randn(2, T, E), torch.randn(2, H, E))
    np.testing.assert_allclose(whole(cap), net.seen, atol=1e-6)


def test_a_mask_that_is_the_same_for_all_heads_tells_queries():
    """Copies, of which nothing else tells; and neither queries nor heads are as many as keys."""

    def masked(net, x, cached):
        q = (net.q(x) * 1.0).unflatten(-1, (H, D)) * 1.0
        shared = torch.cat([cached, net.kv(x)[..., :D]], 1)
        hidden = torch.ones(x.shape[1], shared.shape[1], dtype=torch.bool).triu(1 + cached.shape[1])
        w = torch.einsum("bshc,btc->bsht", q, shared).masked_fill(hidden[:, None], -math.inf).softmax(-1)
        return torch.einsum("bsht,btc->bshc", w, shared), w, lambda w: w.transpose(1, 2)

    net = Attention(masked)
    cap = watch(net, torch.randn(2, 3, E), torch.randn(2, 5, D))
    np.testing.assert_allclose(whole(cap), net.seen, atol=1e-6)
    assert not cap.notes


def test_copies_of_which_nothing_tells_are_told_of():
    def copies(net, x):
        q, k, v = (functional.layer_norm(heads(fit(x)), (D,)) for fit in (net.q, net.k, net.v))
        w = (q @ k.mT).softmax(-1)
        return w @ v, w, as_it_is

    net = Attention(copies)
    cap = watch(net, torch.randn(2, T, E))
    np.testing.assert_allclose(whole(cap), net.seen, atol=1e-6)
    assert cap.notes == (UNTOLD.format(module="Attention"),)


def test_a_key_that_is_met_after_the_others_is_told_of():
    def after(net, x):
        q, k, v = (heads(fit(x)) for fit in (net.q, net.k, net.v))
        w = (q @ k.mT).softmax(-1)
        return w[..., 1:] @ v[:, :, 1:] + w[..., :1] * v[:, :, :1], w, as_it_is

    cap = watch(Attention(after), torch.randn(2, T, E))
    assert cap.notes == (PARTLY.format(module="Attention"),)


def in_chunks(net, x, y):
    q, k, v = heads(net.q(x)), heads(net.k(y)), heads(net.v(y))
    return torch.cat([(part @ k.mT).softmax(-1) @ v for part in q.split(4, 2)], 2), None, as_it_is


def head_by_head(net, x, y):
    q, k, v = heads(net.q(x)), heads(net.k(y)), heads(net.v(y))
    return torch.cat([(q[:, h] @ k[:, h].mT).softmax(-1) @ v[:, h] for h in range(H)], -1), None, as_it_is


@pytest.mark.parametrize(("run", "count"), [(in_chunks, 2), (head_by_head, 4)])
def test_a_module_that_attends_piece_by_piece_is_told_of(run, count):
    cap = watch(Attention(run), torch.randn(2, 8, E), torch.randn(2, 7, E))
    (note,) = cap.notes
    assert note == (
        f"the module attends {count} times in one run: each time is a layer of its own, in the order they ran "
        f"(0-{count - 1} of stack 'self')"
    )


def test_parts_of_a_sequence_that_are_examples_are_told_of():
    def blocks(net, x):
        q, k, v = (heads(fit(x.reshape(-1, 4, E))) for fit in (net.q, net.k, net.v))
        w = (q @ k.mT).softmax(-1)
        return w @ v, w, as_it_is

    net = Attention(blocks)
    cap = watch(net, torch.randn(2, 12, E))
    np.testing.assert_allclose(whole(cap), net.seen, atol=1e-6)
    (note,) = cap.notes
    assert note.startswith("stack 'self' has 6 examples, and no tensor that the module was given has as many")


def single_head_first(net, x):
    q, k, v = (fit(x).unflatten(-1, (1, E)).permute(2, 0, 1, 3).flatten(0, 1) for fit in (net.q, net.k, net.v))
    w = torch.bmm(q, k.mT).unflatten(0, (1, -1)).softmax(-1)
    return w @ v.unflatten(0, (1, -1)), w, as_it_is


def single_head_behind(net, x):
    q, (k, v) = net.q(x)[..., :D].unsqueeze(2), net.kv(x).chunk(2, -1)
    w = torch.einsum("bqhd,bkd->bqhk", q, k).softmax(-1)
    return torch.einsum("bqhk,bkd->bqhd", w, v), w, as_it_is


@pytest.mark.parametrize("run", [single_head_first, single_head_behind])
def test_a_single_head_in_an_unusual_place_is_told_of(run):
    cap = watch(Attention(run), torch.randn(3, T, E))
    assert cap.notes == (UNTOLD.format(module="Attention"),)
