"""Modules of no library: everything that calls scaled_dot_product_attention."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from residual import Net
from torch import nn
from torch.nn import functional

import attnwidget as aw

HEADS, SIZE = 4, 8


class Block(nn.Module):
    def __init__(self, call=functional.scaled_dot_product_attention, **options):
        super().__init__()
        self.mix = nn.Linear(HEADS * SIZE, 3 * HEADS * SIZE)
        self.call, self.options = call, options

    def forward(self, x):
        q, k, v = self.mix(x).unflatten(-1, (3, HEADS, SIZE)).permute(2, 0, 3, 1, 4)
        self.seen = q, k
        return self.call(q, k, v, **self.options).transpose(1, 2).flatten(-2)


def expected(block, *, scale=SIZE**-0.5, allowed=None, bias=None):
    q, k = block.seen
    scores = q @ k.transpose(-1, -2) * scale
    scores = scores if bias is None else scores + bias
    scores = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, -1).nan_to_num(0).detach().numpy()


TRIL = torch.ones(9, 9, dtype=torch.bool).tril()
RANDOM = torch.rand(2, HEADS, 9, 9, generator=torch.Generator().manual_seed(0)) > 0.5
BIAS = torch.randn(1, HEADS, 9, 9, generator=torch.Generator().manual_seed(0))
OPTIONS = {
    "plain": ({}, {}),
    "causal": ({"is_causal": True}, {"allowed": TRIL}),
    "bool mask": ({"attn_mask": RANDOM}, {"allowed": RANDOM}),
    "2-D mask": ({"attn_mask": TRIL}, {"allowed": TRIL}),
    "bias": ({"attn_mask": BIAS}, {"bias": BIAS}),
    "scale": ({"scale": 0.7}, {"scale": 0.7}),
}


@pytest.mark.parametrize(("options", "grad"), list(itertools.product(OPTIONS, [False, True])))
@pytest.mark.parametrize("call", [functional.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention])
def test_outputs_to_the_bit_and_weights(options, grad, call):
    torch.manual_seed(0)
    passed, known = OPTIONS[options]
    net = Net(Block(call, **passed), Block(call, **passed))
    x = torch.randn(2, 9, HEADS * SIZE)
    with torch.set_grad_enabled(grad):
        plain = net(x)
        with aw.capture(net) as cap:
            seen = net(x)
    assert torch.equal(plain, seen)
    stack = cap.stacks["self"]
    assert [info.path for info in stack.infos] == ["blocks.0", "blocks.1"]
    assert all(layer.known_lse is not None for layer in stack.layers), "the kernel's own lse is kept"
    for layer, block in enumerate(net.blocks):
        for example in range(2):
            np.testing.assert_allclose(cap.weights(layer, batch=example), expected(block, **known)[example], atol=1e-5)


def test_grouped_queries_stay_grouped():
    if "enable_gqa" not in (functional.scaled_dot_product_attention.__doc__ or ""):
        pytest.skip(f"torch {torch.__version__} has no enable_gqa")

    class Grouped(nn.Module):
        def forward(self, q, k):
            return functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    q, k = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8)
    module = Grouped()
    plain = module(q, k)
    with aw.capture(module) as cap:
        assert torch.equal(module(q, k), plain)
    assert cap.stacks["self"].layers[0].k.shape[1] == 2
    wanted = torch.softmax(q @ k.repeat_interleave(2, 1).transpose(-1, -2) * 8**-0.5, -1)
    np.testing.assert_allclose(cap.weights(0), wanted[0].numpy(), atol=1e-6)


def test_what_is_kept_is_a_copy():
    class Careless(Block):
        def forward(self, x):
            result = super().forward(x)
            self.mixed = [part.clone() for part in self.seen]
            for part in self.seen:
                part.zero_()
            self.seen = self.mixed
            return result

    block = Careless()
    x = torch.randn(1, 9, HEADS * SIZE)
    with torch.no_grad(), aw.capture(block) as cap:
        block(x)
    np.testing.assert_allclose(cap.weights(0), expected(block)[0], atol=1e-6)
    layer = cap.stacks["self"].layers[0]
    assert layer.q.untyped_storage().nbytes() == layer.q.numel() * 4


def test_a_module_used_as_several_layers_and_parts_called_one_by_one():
    block = Block()
    net = Net(block, block, block)
    x = torch.randn(1, 9, HEADS * SIZE)
    with aw.capture(net) as cap:
        net(x)
    assert [(info.path, info.call) for info in cap.stacks["self"].infos] == [
        ("blocks.0", 0),
        ("blocks.0", 1),
        ("blocks.0", 2),
    ]
    other = Net(Block(), Block())
    with aw.capture(other) as cap:
        for part in other.blocks:
            x = part(x)
    assert cap.stacks["self"].n_layers == 2


def test_names_for_queries_and_keys():
    class Cross(nn.Module):
        def forward(self, q, k):
            return functional.scaled_dot_product_attention(q, k, k)

    module = Cross()
    with aw.capture(module, ["a", "b"], key_tokens=["x", "y", "z"], model="cross") as cap:
        module(torch.randn(1, 2, 2, 4), torch.randn(1, 2, 3, 4))
    stack = cap.stacks["self"]
    assert (list(stack.query_tokens[0]), list(stack.key_tokens[0]), cap.model) == (["a", "b"], ["x", "y", "z"], "cross")


def test_heads_of_other_sizes_are_stacks_of_their_own():
    class Narrow(nn.Module):
        def forward(self, x):
            q = x.unflatten(-1, (2, -1)).transpose(1, 2)
            return functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(-2)

    net = Net(Block(), Narrow(), Block())
    with aw.capture(net) as cap:
        net(torch.randn(1, 9, HEADS * SIZE))
    assert {name: (stack.n_layers, stack.n_heads) for name, stack in cap.stacks.items()} == {
        "self": (2, 4),
        "self-2": (1, 2),
    }
    (note,) = cap.notes
    assert note == (
        "blocks.1 attends with 2 heads over 9 x 9 tokens, blocks.0 attends with 4 heads over 9 x 9 tokens: stack "
        "'self-2' holds the layers like the former"
    )


@pytest.mark.filterwarnings(r"ignore:`torch.cpu.amp.autocast:FutureWarning")  # torch 2.4, of itself
def test_gradient_checkpointing_is_seen_once():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(Net):
        def forward(self, x):
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
            return x

    net = Checkpointed(Block(), Block())
    with aw.capture(net) as cap:
        net(torch.randn(1, 9, HEADS * SIZE, requires_grad=True)).sum().backward()
    assert cap.stacks["self"].n_layers == 2


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_function_transforms_run_as_before_and_are_refused():
    class Inner(nn.Module):
        def forward(self, x):
            return torch.func.vmap(lambda q: functional.scaled_dot_product_attention(q, q, q))(x)

    module, x = Inner(), torch.randn(3, 1, 2, 5, 4)
    plain = module(x)
    seen = []
    with pytest.raises(aw.CaptureError, match="it ran inside a function transform"), aw.capture(module):
        seen.append(module(x))
    assert torch.equal(seen[0], plain)


class Single(nn.Module):
    """One head, without an axis for it."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(16, 16) for _ in "qkv")

    def forward(self, x, y, **options):
        q, k, v = (fit(part) for fit, part in zip(self.maps, (x, y, y), strict=True))
        self.scores = q @ k.mT / 4
        return functional.scaled_dot_product_attention(q, k, v, **options)


@pytest.mark.parametrize("n_examples", [None, 1, 3])
@pytest.mark.parametrize("options", ["plain", "causal", "2-D mask", "a bias for each"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_single_head_without_an_axis(n_examples, options, grad):
    lead = () if n_examples is None else (n_examples,)
    bias = torch.randn(*lead, 9, 9)
    passed, added = {
        "a bias for each": ({"attn_mask": bias}, bias),
        "plain": ({}, torch.zeros(9, 9)),
    }.get(options) or (OPTIONS[options][0], torch.zeros(9, 9).masked_fill(~TRIL, -torch.inf))
    net, x, y = Single(), torch.randn(*lead, 9, 16), torch.randn(*lead, 9, 16)
    with torch.set_grad_enabled(grad):
        plain = net(x, y, **passed)
        with aw.capture(net) as cap:
            assert torch.equal(net(x, y, **passed), plain)
    (info,) = cap.stacks["self"].infos
    expected = (net.scores + added).softmax(-1).detach().reshape(-1, 1, 9, 9).numpy()
    assert cap.stacks["self"].n_examples == len(expected)
    for example, weights in enumerate(expected):
        np.testing.assert_allclose(cap.weights(0, batch=example), weights, atol=1e-6)
    assert info.implementation == "sdpa"
    assert cap.verify().ok
    told = (
        "what the first axis of the queries of Single counts was not seen: it is taken for examples, each of which has "
        "one head"
    )
    assert (told in cap.notes) == (n_examples == len("qkv"))


def test_keys_for_all_examples_of_a_single_head():
    net, x, y = Single(), torch.randn(3, 5, 16), torch.randn(1, 7, 16)
    for first, second in ((x, y), (y, x)):
        with aw.capture(net) as cap:
            net(first, second)
        for example, weights in enumerate(net.scores.softmax(-1).detach().numpy()):
            np.testing.assert_allclose(cap.weights(0, 0, batch=example), weights, atol=1e-6)
