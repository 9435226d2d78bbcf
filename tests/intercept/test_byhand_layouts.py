"""Examples, heads, queries and keys are told apart by the data, whatever order the model keeps them in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from watched import allowed, is_factored, watch, whole

B, H, T, S, D = 2, 3, 5, 7, 4
"""Sizes that differ, so that no two axes are taken for each other by their length."""


class Layout(nn.Module):
    """Cross attention in one layout; `seen` is its softmax as (B, H, Tq, Tk)."""

    def __init__(self, run):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(H * D, H * D) for _ in "qkv")
        self.run = run
        self.seen = None

    def forward(self, x, y):
        q, k, v = self.q(x), self.k(y), self.v(y)  # (B, T, H * D)
        result, self.seen = self.run(q, k, v)
        return result


def heads_of(part):
    return part.view(B, -1, H, D)


def four(part):
    return heads_of(part).transpose(1, 2)


def plain(q, k, v):
    weights = torch.softmax(four(q) @ four(k).transpose(-1, -2) / math.sqrt(D), -1)
    return weights @ four(v), weights


def merged(q, k, v):
    q, k, v = (four(part).reshape(B * H, -1, D) for part in (q, k, v))
    weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1)
    return torch.bmm(weights, v), weights.reshape(B, H, T, S)


def merged_and_seen_apart(q, k, v):
    """Only the scores say what was merged: queries were copied into place."""
    parts = []
    for part in (q, k, v):
        whole_part = torch.empty(B * H, part.shape[1], D)
        whole_part.copy_(four(part).reshape(B * H, -1, D))
        parts.append(whole_part)
    q, k, v = parts
    scores = torch.bmm(q, k.transpose(1, 2)).view(B, H, T, S) + torch.zeros(B, 1, 1, S)
    weights = torch.softmax(scores.view(B * H, T, S), -1)
    return torch.bmm(weights, v), weights.reshape(B, H, T, S)


def fairseq(q, k, v):
    """(T, B, E) -> (T, B * H, D) -> (B * H, T, D)."""
    q, k, v = (part.transpose(0, 1).contiguous().view(-1, B * H, D).transpose(0, 1) for part in (q * D**-0.5, k, v))
    weights = torch.nn.functional.softmax(torch.bmm(q, k.transpose(1, 2)), dim=-1)
    result = torch.bmm(weights, v).transpose(0, 1).contiguous().view(T, B, H * D)
    return result, weights.reshape(B, H, T, S)


def channels_first(q, k, v):
    """(B, E, T) -> (B * H, D, T), values on the left."""
    q, k, v = (part.transpose(1, 2).contiguous().view(B * H, D, -1) for part in (q, k, v))
    weights = torch.softmax(q.transpose(1, 2) @ k, -1)
    return v @ weights.transpose(1, 2), weights.reshape(B, H, T, S)


def heads_first(q, k, v):
    """(H, B, T, D), merged into (H * B, T, D)."""
    q, k, v = (heads_of(part).permute(2, 0, 1, 3).reshape(H * B, -1, D) for part in (q, k, v))
    weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)), 2)
    return torch.bmm(weights, v), weights.reshape(H, B, T, S).transpose(0, 1)


def heads_first_apart(q, k, v):
    q, k, v = (heads_of(part).permute(2, 0, 1, 3) for part in (q, k, v))
    weights = torch.softmax(torch.matmul(q, k.mT), -1)
    return weights @ v, weights.transpose(0, 1)


def letters(scores, values):
    """Einsum, in any order of letters."""

    def run(q, k, v):
        rows = torch.einsum(f"bqhd,bkhd->{scores}", heads_of(q), heads_of(k))
        weights = torch.softmax(rows * 0.5, dim=scores.index("k"))
        result = torch.einsum(f"{scores},bkhd->{values}", weights, heads_of(v))
        return result, weights.permute(*(scores.index(letter) for letter in "bhqk"))

    return run


def implicit_letters(q, k, v):
    scores = torch.einsum("...id,...jd", [four(q), four(k)])
    weights = scores.softmax(-1)
    return torch.einsum("...ij,...jd->...id", weights, four(v)), weights


def keys_by_queries(q, k, v):
    """The transposed product, a softmax down its columns, values on the left."""
    scores = four(k) @ four(q).transpose(-1, -2)  # (B, H, Tk, Tq)
    weights = torch.softmax(scores, dim=-2)
    return four(v).transpose(-1, -2) @ weights, weights.transpose(-1, -2)


def xlnet(q, k, v):
    q, k, v = (heads_of(part).transpose(0, 1) for part in (q, k, v))  # (T, B, H, D)
    weights = torch.softmax(torch.einsum("ibnd,jbnd->ijbn", q, k), dim=1)
    return torch.einsum("ijbn,jbnd->ibnd", weights, v), weights.permute(2, 3, 0, 1)


def stacked(q, k, v):
    """Keys and values in one tensor, merged together, as SAM does with all three."""
    both = torch.stack([heads_of(k), heads_of(v)]).permute(0, 1, 3, 2, 4)  # (2, B, H, S, D)
    k, v = both.reshape(2, B * H, S, D).unbind(0)
    q = four(q).reshape(B * H, T, D)
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return weights @ v, weights.reshape(B, H, T, S)


def sliced(q, k, v):
    """One key more than there are values, cut off after the softmax: rows sum to less than 1."""
    k = torch.cat([four(k), torch.zeros(B, H, 1, D)], dim=2)
    weights = torch.softmax(four(q) @ k.mT, -1)[..., :-1]
    return weights @ four(v), weights


LAYOUTS = {
    "plain": plain,
    "merged": merged,
    "merged, told by the scores": merged_and_seen_apart,
    "fairseq": fairseq,
    "channels first": channels_first,
    "heads first": heads_first,
    "heads first, apart": heads_first_apart,
    "bhqk": letters("bhqk", "bqhd"),
    "bqhk": letters("bqhk", "bqhd"),
    "bqkh": letters("bqkh", "bhqd"),
    "qkbh": letters("qkbh", "qbhd"),
    "kbhq": letters("kbhq", "bdqh"),
    "implicit letters": implicit_letters,
    "keys by queries": keys_by_queries,
    "xlnet": xlnet,
    "stacked": stacked,
    "sliced": sliced,
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("grad", [False, True])
def test_every_layout(name, grad):
    torch.manual_seed(0)
    module = Layout(LAYOUTS[name])
    cap = watch(module, torch.randn(B, T, H * D), torch.randn(B, S, H * D), grad=grad)
    assert list(cap.stacks) == ["self"]
    np.testing.assert_allclose(whole(cap), module.seen.detach().numpy(), atol=1e-6)
    assert is_factored(cap) == (name != "sliced"), "the key that was cut off is in the denominators"
    assert allowed(cap).all()
    assert cap.verify().ok


def test_inference_mode():
    module = Layout(merged)
    with torch.inference_mode():
        cap = watch(module, torch.randn(B, T, H * D), torch.randn(B, S, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)
    assert is_factored(cap)


def test_one_head_without_an_axis_for_heads():
    class Single(nn.Module):
        def forward(self, x):
            self.seen = torch.softmax(x @ x.mT, -1)
            return self.seen @ x

    module = Single()
    cap = watch(module, torch.randn(B, T, D))
    np.testing.assert_allclose(whole(cap)[:, 0], module.seen.numpy(), atol=1e-6)


def test_no_batch_at_all():
    class Pair(nn.Module):
        def forward(self, x):
            self.seen = torch.softmax(torch.mm(x, x.t()), -1)
            return torch.mm(self.seen, x)

    module = Pair()
    cap = watch(module, torch.randn(T, D))
    np.testing.assert_allclose(whole(cap)[0, 0], module.seen.numpy(), atol=1e-6)


@pytest.mark.parametrize(("examples", "heads", "queries"), [(1, 4, 5), (2, 1, 5), (2, 4, 1), (1, 1, 1), (1, 1, 5)])
def test_axes_of_length_one(examples, heads, queries):
    class Small(nn.Module):
        def forward(self, x):
            q = x.view(examples, -1, heads, D).transpose(1, 2)
            self.seen = torch.softmax(q[:, :, :queries] @ q.mT, -1)
            return self.seen @ q

    module = Small()
    cap = watch(module, torch.randn(examples, T, heads * D))
    assert whole(cap).shape == (examples, heads, queries, T)
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)


@pytest.mark.parametrize("way", ["repeated", "expanded", "einsum", "five axes", "one head", "one head, letters"])
def test_groups_of_heads_that_share_keys_keep_them_once(way):
    heads, shared = 6, 1 if "one" in way else 2

    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = nn.Linear(heads * D, heads * D), nn.Linear(heads * D, shared * D)

        def forward(self, x):
            q = self.q(x).view(B, T, heads, D).transpose(1, 2)
            k = self.k(x).view(B, T, shared, D).transpose(1, 2)
            result, self.seen = self.attend(q, k)
            return result

        def attend(self, q, k):
            if way == "repeated":
                k = k.repeat_interleave(heads // shared, dim=1)
            elif way == "expanded":
                k = k[:, :, None].expand(B, shared, heads // shared, T, D).reshape(B, heads, T, D)
            elif way in {"einsum", "five axes"}:
                q = q.reshape(B, shared, heads // shared, T, D)
                if way == "einsum":
                    weights = torch.softmax(torch.einsum("bngid,bnjd->bngij", q, k), -1)
                    result = torch.einsum("bngij,bnjd->bngid", weights, k)
                else:
                    weights = torch.softmax(q @ k[:, :, None].mT, -1)
                    result = weights @ k[:, :, None]
                return result, weights.flatten(1, 2)
            elif way == "one head, letters":
                weights = torch.softmax(torch.einsum("bhid,bjd->bhij", q, k[:, 0]), -1)
                return torch.einsum("bhij,bjd->bhid", weights, k[:, 0]), weights
            weights = torch.softmax(q @ k.mT, -1)
            return weights @ k, weights

    module = Grouped()
    cap = watch(module, torch.randn(B, T, heads * D))
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-6)
    assert cap.stacks["self"].layers[0].k.shape == (B, shared, T, D)
    assert cap.verify().ok


def test_windows_are_recorded_as_they_ran():
    """(B * windows, H, N, N), scores seen once as (B, windows, H, N, N), where shifted windows get their mask."""

    class Windows(nn.Module):
        def forward(self, x):
            q = x.view(B * 4, T, H, D).transpose(1, 2)
            scores = q @ q.mT
            mask = torch.zeros(4, T, T).masked_fill(torch.ones(T, T).triu(1).bool(), -100.0)
            mask[0] = 0
            scores = (scores.view(B, 4, H, T, T) + mask[None, :, None]).view(-1, H, T, T)
            self.seen = torch.softmax(scores, -1)
            return self.seen @ q

    module = Windows()
    cap = watch(module, torch.randn(B * 4, T, H * D))
    np.testing.assert_allclose(whole(cap), module.seen.numpy(), atol=1e-5)
    assert is_factored(cap)
