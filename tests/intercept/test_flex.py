"""flex_attention in modules of no library: its functions against a softmax written out, outputs to the bit."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import torch
from flexblocks import HEADS, SIZE, TOKENS, Block
from residual import Net
from torch import nn

import attnwidget as aw

flex = pytest.importorskip("torch.nn.attention.flex_attention", reason="torch 2.4 has no flex attention")

pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
    pytest.mark.filterwarnings("ignore:return_lse is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*_maybe_guard_rel.*was called on a non-relational expression:UserWarning"),
]
GENERATOR = torch.Generator().manual_seed(0)
SLOPES = torch.tensor([0.5, 0.25, 0.125, 0.0625])
TABLE = torch.randn(HEADS, 2 * TOKENS - 1, generator=GENERATOR)
BIAS = torch.randn(2, HEADS, TOKENS, TOKENS, generator=GENERATOR)
DOCUMENTS = torch.tensor([0] * 9 + [1] * 5 + [2] * 10)
LENGTHS = torch.tensor([TOKENS, 17])
Q, K = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)[None]
BACK = Q - K
CAUSAL = K <= Q


def expected(block, change=lambda scores: scores, allowed=None, scale=SIZE**-0.5):
    q, k = block.seen
    scores = change(q @ k.repeat_interleave(HEADS // k.shape[1], 1).transpose(-1, -2) * scale)
    scores = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, -1).nan_to_num(0).detach().numpy()


def alibi(score, b, h, q_idx, kv_idx):
    return score + SLOPES[h] * (kv_idx - q_idx)


def relative(score, b, h, q_idx, kv_idx):
    return score + TABLE[h, kv_idx - q_idx + TOKENS - 1]


def table(score, b, h, q_idx, kv_idx):
    return score + BIAS[b, h, q_idx, kv_idx]


def chained(score, b, h, q_idx, kv_idx):
    return score + BIAS[b][0][q_idx][kv_idx]


def capped(score, b, h, q_idx, kv_idx):
    return 2.0 * torch.tanh(score / 2.0)


def capped_alibi(score, b, h, q_idx, kv_idx):
    return alibi(capped(score, b, h, q_idx, kv_idx), b, h, q_idx, kv_idx)


def decaying(score, b, h, q_idx, kv_idx):
    return score * torch.exp(-(q_idx - kv_idx).abs() * 0.1)


def causal_by_score(score, b, h, q_idx, kv_idx):
    return torch.where(q_idx >= kv_idx, score, -float("inf"))


def unchanged(score, b, h, q_idx, kv_idx):
    return score


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("slopes", SLOPES)

    def mod(self, score, b, h, q_idx, kv_idx):
        return score + self.slopes[h] * (kv_idx - q_idx)


def sloped(score, b, h, q_idx, kv_idx, *, slopes):
    return score + slopes[h] * (kv_idx - q_idx)


ALIBI = SLOPES[:, None, None] * (K - Q)
SCORE_MODS = {
    "alibi": (alibi, lambda s: s + ALIBI, "score_mod alibi"),
    "relative": (relative, lambda s: s + TABLE[:, K - Q + TOKENS - 1], "score_mod relative"),
    "table": (table, lambda s: s + BIAS, "score_mod table"),
    "chained": (chained, lambda s: s + BIAS[:, :1], "score_mod chained"),
    "soft cap": (capped, lambda s: 2 * torch.tanh(s / 2), "soft cap 2"),
    "soft cap and more": (capped_alibi, lambda s: 2 * torch.tanh(s / 2) + ALIBI, "score_mod capped_alibi"),
    "decaying": (decaying, lambda s: s * torch.exp(-BACK.abs() * 0.1), "score_mod decaying"),
    "causal": (causal_by_score, lambda s: s.masked_fill(~CAUSAL, -torch.inf), "score_mod causal_by_score"),
    "unchanged": (unchanged, lambda s: s, "q k float32"),
    "a method": (Holder().mod, lambda s: s + ALIBI, "score_mod mod"),
    "a partial": (functools.partial(sloped, slopes=SLOPES), lambda s: s + ALIBI, "score_mod"),
    "a lambda": (lambda s, b, h, i, j: s + SLOPES[h] * (j - i), lambda s: s + ALIBI, "score_mod"),
}


def same_to_the_bit(net, x):
    with torch.no_grad():
        plain = net(x)
        with warnings.catch_warnings(record=True) as told, aw.capture(net) as cap:
            warnings.simplefilter("always")
            seen = net(x)
    assert not told
    assert torch.equal(plain, seen)
    return cap


@pytest.mark.parametrize("name", SCORE_MODS)
def test_score_mods(name):
    if isinstance(SCORE_MODS[name][0], functools.partial) and torch.__version__ < "2.7":
        pytest.skip("this torch takes no partial")
    torch.manual_seed(0)
    score_mod, change, words = SCORE_MODS[name]
    net = Net(Block(score_mod=score_mod), Block(score_mod=score_mod))
    cap = same_to_the_bit(net, torch.randn(2, TOKENS, HEADS * SIZE))
    assert words in repr(cap)
    layers = cap.stacks["self"].layers
    assert [info.implementation for info in cap.stacks["self"].infos] == ["flex_attention"] * 2
    assert layers[0].modifier is layers[1].modifier
    for layer, block in enumerate(net.blocks):
        for example in range(2):
            wanted = expected(block, change)[example]
            np.testing.assert_allclose(cap.weights(layer, batch=example), wanted, atol=1e-6)
        assert layers[layer].probe.errors(layers[layer]).max() < 1e-5
    allowed = CAUSAL.numpy() if name == "causal" else np.ones((TOKENS, TOKENS), dtype=bool)
    np.testing.assert_array_equal(cap.allowed(0, 1), allowed)
    picked = cap.weights(1, queries=[20, 3], keys=[2, 5, 1])
    np.testing.assert_allclose(picked, expected(net.blocks[1], change)[0][:, [20, 3]][:, :, [2, 5, 1]], atol=1e-6)


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def window(b, h, q_idx, kv_idx):
    return (q_idx >= kv_idx) & (q_idx - kv_idx < 6)


def documents(b, h, q_idx, kv_idx):
    return DOCUMENTS[q_idx] == DOCUMENTS[kv_idx]


def prefix(b, h, q_idx, kv_idx):
    return (q_idx >= kv_idx) | (kv_idx < 7)


def padding(b, h, q_idx, kv_idx):
    return kv_idx < LENGTHS[b]


def per_head(b, h, q_idx, kv_idx):
    return (q_idx >= kv_idx) & (q_idx - kv_idx < 2 * h + 2)


def odd(b, h, q_idx, kv_idx):
    return (q_idx * 7 + kv_idx * 13) % 5 != 0


DOCUMENT = DOCUMENTS[:, None] == DOCUMENTS[None]
PADDED = (LENGTHS[:, None] > torch.arange(TOKENS))[:, None, None].expand(2, 1, TOKENS, TOKENS)
PER_HEAD = CAUSAL & torch.stack([torch.ones_like(CAUSAL).triu(-2 * head - 1) for head in range(HEADS)])
MASK_MODS = {
    "causal": (causal, {}, CAUSAL, "causal"),
    "window": (window, {}, CAUSAL & (BACK < 6), "causal, window 6"),
    "documents": (documents, {}, DOCUMENT, "segments of 5 to 10"),
    "causal documents": (
        lambda b, h, i, j: causal(b, h, i, j) & documents(b, h, i, j),
        {},
        CAUSAL & DOCUMENT,
        "causal in segments of 5 to 10",
    ),
    "prefix": (prefix, {}, CAUSAL | (K < 7), "prefix, then causal (prefix of 7)"),
    "padding": (padding, {"batch": 2}, PADDED, "padding"),
    "per head": (per_head, {"heads": HEADS}, PER_HEAD, "causal, windows"),
    "odd": (odd, {}, (Q * 7 + K * 13) % 5 != 0, "mask"),
}


def make_mask(function, batch=None, heads=None):
    return flex.create_block_mask(function, batch, heads, TOKENS, TOKENS, device="cpu")


@pytest.mark.parametrize("name", MASK_MODS)
def test_mask_mods(name):
    torch.manual_seed(0)
    function, axes, allowed, words = MASK_MODS[name]
    net = Net(*(Block(block_mask=make_mask(function, **axes)) for _ in range(2)))
    cap = same_to_the_bit(net, torch.randn(2, TOKENS, HEADS * SIZE))
    layers = cap.stacks["self"].layers
    assert layers[0].mask.describe() == words
    assert layers[0].mask is layers[1].mask, "layers that build it anew share it"
    whole = np.broadcast_to(allowed.numpy(), (2, HEADS, TOKENS, TOKENS))
    for example in range(2):
        np.testing.assert_array_equal(cap.allowed(0, batch=example), whole[example])
        np.testing.assert_allclose(
            cap.weights(1, batch=example), expected(net.blocks[1], allowed=allowed)[example], atol=1e-6
        )


def test_a_score_mod_and_a_mask_mod_and_a_scale():
    net = Net(Block(score_mod=capped_alibi, block_mask=make_mask(causal), scale=0.7))
    cap = same_to_the_bit(net, torch.randn(1, TOKENS, HEADS * SIZE))
    wanted = expected(net.blocks[0], SCORE_MODS["soft cap and more"][1], CAUSAL, scale=0.7)
    np.testing.assert_allclose(cap.weights(0), wanted[0], atol=1e-6)


def test_grouped_queries_stay_grouped():
    net = Net(Block(kv_heads=2, enable_gqa=True, score_mod=alibi))
    cap = same_to_the_bit(net, torch.randn(1, TOKENS, HEADS * SIZE))
    assert cap.stacks["self"].layers[0].k.shape[1] == 2
    np.testing.assert_allclose(cap.weights(0), expected(net.blocks[0], lambda s: s + ALIBI)[0], atol=1e-6)


@pytest.mark.parametrize("new", [False, True])
def test_the_denominators_it_returns_are_kept(new):
    if new and not hasattr(flex, "AuxRequest"):
        pytest.skip("this torch returns them one way only")
    options = {"return_aux": flex.AuxRequest(lse=True)} if new else {"return_lse": True}
    net = Net(Block(score_mod=alibi, **options))
    cap = same_to_the_bit(net, torch.randn(1, TOKENS, HEADS * SIZE))
    assert cap.stacks["self"].layers[0].known_lse is not None
    np.testing.assert_allclose(cap.weights(0), expected(net.blocks[0], lambda s: s + ALIBI)[0], atol=1e-6)


def test_rows_that_see_nothing_are_zero():
    net = Net(Block(block_mask=make_mask(lambda b, h, i, j: (i >= 4) & (j <= i)), return_lse=True))
    cap = same_to_the_bit(net, torch.randn(1, TOKENS, HEADS * SIZE))
    assert not cap.weights(0)[:, :4].any()
    np.testing.assert_allclose(cap.weights(0)[:, 4:].sum(-1), 1, atol=1e-5)


def test_what_a_function_captured_is_kept_as_it_was():
    class Layered(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.randn(HEADS)
            self.reach = nn.Parameter(torch.ones(()))

        def forward(self, x):
            self.used = []
            for reach in (2, 5, 9):  # every function sees the variable of the loop, which goes on

                def score_mod(score, b, h, q_idx, kv_idx):
                    return torch.where(q_idx - kv_idx < reach, score + self.bias[h], -float("inf"))  # noqa: B023

                q = x.unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
                self.used.append((q, reach, self.bias.clone()))
                x = x + flex.flex_attention(q, q, q, score_mod=score_mod).transpose(1, 2).flatten(-2)
                self.bias.mul_(3).add_(torch.arange(HEADS))
            return x

    module = Layered()
    with torch.no_grad(), aw.capture(module) as cap:
        module(torch.randn(1, TOKENS, HEADS * SIZE))
    module.bias.fill_(torch.nan)
    for layer, (q, reach, bias) in enumerate(module.used):
        scores = q @ q.transpose(-1, -2) * SIZE**-0.5 + bias[:, None, None]
        wanted = torch.softmax(scores.masked_fill(~torch.ones_like(CAUSAL).triu(1 - reach), -torch.inf), -1)
        np.testing.assert_allclose(cap.weights(layer), wanted[0].numpy(), atol=1e-5)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="flex attention has gradients on a GPU only, and there is none"
)
def test_gradients_are_the_same():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.slopes = nn.Parameter(SLOPES.clone())
            self.block = Block(score_mod=lambda s, b, h, i, j: s + self.slopes[h] * (j - i))

        def forward(self, x):
            return self.block(x)

    torch.manual_seed(0)
    module, x = Learned().cuda(), torch.randn(1, TOKENS, HEADS * SIZE, device="cuda")
    grads = []
    for watch in (False, True):
        module.zero_grad()
        if watch:
            with aw.capture(module):
                module(x).square().sum().backward()
        else:
            module(x).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in module.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


def test_a_capture_makes_torch_compile_nothing():
    from torch._dynamo.utils import counters

    net, x = Net(Block(score_mod=alibi), Block(score_mod=decaying)), torch.randn(1, TOKENS, HEADS * SIZE)
    with torch.no_grad():
        net(x)
        net(x)
        before = counters["stats"]["calls_captured"]
        for _ in range(3):
            with aw.capture(net):
                net(x)
        net(x)
    assert counters["stats"]["calls_captured"] == before


@pytest.mark.parametrize("store", ["cpu", "disk"])
def test_factors_and_what_functions_captured_are_kept_where_asked(store):
    net = Net(*(Block(score_mod=table, block_mask=make_mask(causal)) for _ in range(2))).requires_grad_(
        requires_grad=False
    )
    with aw.capture(net, store=store) as cap:
        net(torch.randn(2, TOKENS, HEADS * SIZE))
    for layer, block in enumerate(net.blocks):
        wanted = expected(block, lambda s: s + BIAS, CAUSAL)
        np.testing.assert_allclose(cap.weights(layer, batch=1), wanted[1], atol=1e-6)
    held = cap.stacks["self"].held
    factors = 2 * 2 * 2 * HEADS * TOKENS * SIZE * 4
    assert (held["disk"] >= factors + BIAS.nbytes) if store == "disk" else ("disk" not in held)
    cap.close()


def test_memory_is_linear_and_what_layers_share_is_counted_once():
    size = 512
    mask = flex.create_block_mask(
        lambda b, h, i, j: (i >= j) & (i // 100 == j // 100), None, None, size, size, device="cpu"
    )
    net = Net(*(Block(score_mod=alibi, block_mask=mask) for _ in range(3)))
    with torch.no_grad(), aw.capture(net) as cap:
        net(torch.randn(1, size, HEADS * SIZE))
    factors = 2 * HEADS * size * SIZE * 4
    rest = cap.stacks["self"].layers[0].probe.nbytes + HEADS * size * 4  # the denominators
    assert cap.nbytes == 3 * (factors + rest) + size * 8 + HEADS * 4


def test_a_block_mask_without_a_function_counts_as_what_ran():
    """A compiled kernel leaves out blocks; the unfused one asks the function alone."""
    from attnwidget.intercept.flex import mask_of
    from attnwidget.intercept.keeping import Keeper

    rows = torch.tensor([[[1, 2, 2]]], dtype=torch.int32)
    columns = torch.tensor([[[[0, 1, 2], [0, 1, 2], [1, 2, 0]]]], dtype=torch.int32)
    made = flex.BlockMask.from_kv_blocks(rows, columns, BLOCK_SIZE=8, mask_mod=causal)
    full = flex.BlockMask.from_kv_blocks(torch.zeros_like(rows), columns, rows, columns, BLOCK_SIZE=8, mask_mod=causal)
    blocks = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    covered = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)
    for block_mask, fused, allowed in (
        (made, False, CAUSAL),
        (made, True, CAUSAL & covered),
        (full, True, covered),
    ):
        found = mask_of(block_mask, TOKENS, TOKENS, Keeper(), fused=fused)
        picks = slice(0, 1), slice(0, TOKENS), slice(0, TOKENS)
        np.testing.assert_array_equal(found.allowed(0, *picks)[0], allowed.numpy())
    assert mask_of(None, TOKENS, TOKENS, Keeper(), fused=False) is None
