"""Blocks as people write them: after minGPT, after the Annotated Transformer, with einops, with heads in the batch."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from einops import einsum, rearrange, repeat
from torch import nn
from torch.nn import functional
from watched import watch, whole

import attnwidget as aw

D, H, T = 32, 4, 9


class CausalSelfAttention(nn.Module):
    """As minGPT and nanoGPT have it, without its fused path."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.attn_dropout = nn.Dropout(dropout)
        self.register_buffer("bias", torch.tril(torch.ones(64, 64)).view(1, 1, 64, 64))

    def forward(self, x):
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(D, dim=2)
        k = k.view(b, t, H, c // H).transpose(1, 2)
        q = q.view(b, t, H, c // H).transpose(1, 2)
        v = v.view(b, t, H, c // H).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :t, :t] == 0, float("-inf"))
        self.seen = att = functional.softmax(att, dim=-1)
        y = self.attn_dropout(att) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(50, D), nn.Embedding(64, D)
        self.h = nn.ModuleList(
            nn.ModuleDict({"ln": nn.LayerNorm(D), "attn": CausalSelfAttention(0.2)}) for _ in range(3)
        )
        self.head = nn.Linear(D, 50, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = x + block["attn"](block["ln"](x))
        return self.head(x)


@pytest.mark.parametrize("training", [False, True])
def test_gpt(training):
    torch.manual_seed(0)
    model = GPT().train(training)
    cap = watch(model, torch.randint(0, 50, (2, T)), grad=training)
    assert [info.path for info in cap.stacks["self"].infos] == ["h.0.attn", "h.1.attn", "h.2.attn"]
    for layer, block in enumerate(model.h):
        np.testing.assert_allclose(whole(cap, layer), block["attn"].seen.detach().numpy(), atol=1e-6)
    assert {layer.detail for layer in cap.stacks["self"].layers} == {"q k float32, causal"}
    assert len({id(layer.mask) for layer in cap.stacks["self"].layers}) == 1


def attention(query, key, value, mask=None, dropout=None):
    """Scaled dot product attention as the Annotated Transformer (Rush 2018) writes it."""
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn


class MultiHeadedAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.linears = nn.ModuleList(copy.deepcopy(nn.Linear(D, D)) for _ in range(4))
        self.dropout = nn.Dropout(p=0.0)

    def forward(self, query, key, value, mask=None):
        mask = None if mask is None else mask.unsqueeze(1)
        n = query.size(0)
        query, key, value = (
            linear(x).view(n, -1, H, D // H).transpose(1, 2)
            for linear, x in zip(self.linears, (query, key, value), strict=False)
        )
        x, self.attn = attention(query, key, value, mask=mask, dropout=self.dropout)
        return self.linears[-1](x.transpose(1, 2).contiguous().view(n, -1, D))


class EncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"self_attn": MultiHeadedAttention()})
        self.decoder = nn.ModuleDict({"self_attn": MultiHeadedAttention(), "cross_attn": MultiHeadedAttention()})

    def forward(self, source, target, source_mask, target_mask):
        memory = self.encoder["self_attn"](source, source, source, source_mask)
        target = self.decoder["self_attn"](target, target, target, target_mask)
        return self.decoder["cross_attn"](target, memory, memory, source_mask)


def test_annotated_transformer():
    torch.manual_seed(0)
    model = EncoderDecoder()
    source_mask = (torch.arange(T) < torch.tensor([[T], [5]]))[:, None]
    target_mask = torch.ones(1, 6, 6).tril().bool()
    cap = watch(model, torch.randn(2, T, D), torch.randn(2, 6, D), source_mask, target_mask)
    for stack, module, words in (
        ("encoder", model.encoder["self_attn"], "padding"),
        ("decoder", model.decoder["self_attn"], "causal"),
        ("cross", model.decoder["cross_attn"], "padding"),
    ):
        np.testing.assert_allclose(whole(cap, 0, stack), module.attn.detach().numpy(), atol=1e-6)
        assert cap.stacks[stack].layers[0].detail == f"q k float32, {words}"


class Einops(nn.Module):
    def __init__(self, shared=H):
        super().__init__()
        self.to_q = nn.Linear(D, D, bias=False)
        self.to_kv = nn.Linear(D, 2 * shared * (D // H), bias=False)
        self.shared = shared

    def forward(self, x):
        q = rearrange(self.to_q(x), "b n (h d) -> b h n d", h=H)
        k, v = rearrange(self.to_kv(x), "b n (two h d) -> two b h n d", two=2, h=self.shared)
        if self.shared < H:
            k, v = (repeat(part, "b h n d -> b (h r) n d", r=H // self.shared) for part in (k, v))
        scores = einsum(q, k, "b h i d, b h j d -> b h i j") * (D // H) ** -0.5
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(mask, -torch.finfo(scores.dtype).max)
        scores = scores - scores.amax(dim=-1, keepdim=True).detach()
        self.seen = scores.softmax(dim=-1)
        return rearrange(einsum(self.seen, v, "b h i j, b h j d -> b h i d"), "b h n d -> b n (h d)")


@pytest.mark.parametrize("shared", [H, 2])
def test_einops(shared):
    torch.manual_seed(0)
    model = Einops(shared)
    cap = watch(model, torch.randn(2, T, D))
    np.testing.assert_allclose(whole(cap), model.seen.numpy(), atol=1e-6)
    assert cap.stacks["self"].layers[0].detail == "q k float32, causal"
    assert cap.stacks["self"].layers[0].k.shape[1] == shared


class HeadsInTheBatch(nn.Module):
    """(heads * batch, tokens, size), as early implementations had it."""

    def __init__(self, way):
        super().__init__()
        self.mix = nn.Linear(D, 3 * D)
        self.way = way

    def split(self, part):
        if self.way == "einops":
            return rearrange(part, "b n (h d) -> (b h) n d", h=H)
        if self.way == "views":
            return (
                part.view(*part.shape[:2], H, D // H).permute(2, 0, 1, 3).contiguous().view(-1, part.shape[1], D // H)
            )
        return torch.cat(part.chunk(H, dim=2), dim=0)

    def forward(self, x):
        q, k, v = (self.split(part) for part in self.mix(x).chunk(3, dim=-1))
        self.seen = torch.softmax(torch.bmm(q, k.transpose(1, 2)) / (D // H) ** 0.5, dim=2)
        return torch.bmm(self.seen, v)


@pytest.mark.parametrize("way", ["einops", "views", "pieces"])
def test_heads_in_the_batch(way):
    torch.manual_seed(0)
    model = HeadsInTheBatch(way)
    cap = watch(model, torch.randn(2, T, D))
    wanted = model.seen.numpy()
    # The pieces too stand heads first: they lay side by side among the features.
    wanted = wanted.reshape(2, H, T, T) if way == "einops" else wanted.reshape(H, 2, T, T).swapaxes(0, 1)
    np.testing.assert_allclose(whole(cap), wanted, atol=1e-6)


def test_a_softmax_by_hand_and_its_names():
    model = CausalSelfAttention()
    with torch.no_grad(), aw.capture(model, list("abc")) as cap:
        model(torch.randn(1, 3, D))
    assert cap.tokens == ["a", "b", "c"]
