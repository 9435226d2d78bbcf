"""nn.Transformer and its parts, and blocks written by hand around nn.MultiheadAttention."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

SIZE, HEADS = 16, 2
ROUNDING = "outputs equal those without capture to rounding, not to the bit"
PADDING = "outputs at padded positions differ: torch's fused inference path leaves zeros there"
pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True, but self.use_nested_tensor is False"),
]


def encoder(**options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(SIZE, HEADS, 32, **{"batch_first": True, **options})
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=options.get("batch_first", True)).eval()


class Weights:
    """Per-head weights of every nn.MultiheadAttention, as torch returns them: an independent second run."""

    def __init__(self, module):
        self.module, self.found = module, {}

    def __enter__(self):
        self.hooks = [
            part.register_forward_pre_hook(
                lambda part, args, kwargs, path=path: self._look(path, part, args, kwargs), with_kwargs=True
            )
            for path, part in self.module.named_modules()
            if isinstance(part, nn.MultiheadAttention)
        ]
        return self.found

    def _look(self, path, part, args, kwargs):
        if path in self.found:
            return
        self.found[path] = None
        kwargs = {**kwargs, "need_weights": True, "average_attn_weights": False}
        with torch.enable_grad():
            self.found[path] = part(*args, **kwargs)[1].detach().numpy()

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def assert_matches(cap, found):
    compared = 0
    for name, stack in cap.stacks.items():
        for number, info in enumerate(stack.infos):
            for example in range(stack.n_examples):
                np.testing.assert_allclose(
                    cap.weights(number, batch=example, stack=name), found[info.path][example], atol=1e-5
                )
            compared += 1
    assert compared == len(found)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_encoder(norm_first, padded, grad):
    if norm_first:
        layer = nn.TransformerEncoderLayer(SIZE, HEADS, 32, batch_first=True, norm_first=True)
        module = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    else:
        module = encoder()
    x = torch.randn(2, 6, SIZE)
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[1, 4:] = True
    options = {"src_key_padding_mask": mask} if padded else {}
    with torch.set_grad_enabled(grad):
        plain = module(x, **options)
        with aw.capture(module) as cap:
            seen = module(x, **options)
    with Weights(module) as found:
        module(x, **options)
    assert_matches(cap, found)
    assert [info.path for info in cap.stacks["self"].infos] == [f"layers.{number}.self_attn" for number in range(3)]
    real = ~mask if padded else torch.ones(2, 6, dtype=torch.bool)
    torch.testing.assert_close(plain[real], seen[real], atol=1e-5, rtol=1e-5)
    if grad:
        assert torch.equal(plain, seen)
        assert cap.notes == ()
    else:
        assert cap.notes[0].startswith(ROUNDING)
        assert f"  note: {ROUNDING}" in repr(cap)
        zeros = padded and not norm_first
        assert (PADDING in cap.notes) is zeros
        assert torch.equal(plain[~real], torch.zeros_like(plain[~real])) or not zeros


@pytest.mark.parametrize(
    ("options", "mode"),
    [({"batch_first": False}, "eval"), ({"dropout": 0.0}, "train"), ({}, "off"), ({}, "device")],
)
def test_where_the_fused_path_would_not_be_taken_outputs_are_the_same_to_the_bit(options, mode):
    module = encoder(**options).train(mode == "train")
    x = torch.randn(2, 6, SIZE)
    enabled = torch.backends.mha.get_fastpath_enabled()
    try:
        if mode == "off":
            torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), torch.device("cpu") if mode == "device" else nullcontext():
            plain = module(x)
            with aw.capture(module) as cap:
                seen = module(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    assert torch.equal(plain, seen)
    assert cap.notes == ()
    assert "note" not in repr(cap)


def test_autocast_on_the_cpu_which_the_fused_path_does_not_heed():
    module, x = encoder(), torch.randn(2, 6, SIZE)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        with aw.capture(module) as cap:
            seen = module(x)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            plain = module(x)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert torch.equal(plain, seen)
    assert len(cap.notes) == 1


def test_the_fused_path_is_left_on_for_everybody_else():
    module, x = encoder(), torch.randn(2, 6, SIZE)
    with torch.no_grad():
        plain = module(x)
    others = []

    def run():
        with torch.no_grad():
            others.append((module(x), torch.backends.mha.get_fastpath_enabled()))

    with torch.no_grad(), aw.capture(module):
        module(x)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert torch.backends.mha.get_fastpath_enabled()
    assert others[0][1]
    assert torch.equal(others[0][0], plain)
    with torch.no_grad():
        assert torch.equal(module(x), plain)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_transformer(batch_first, grad):
    torch.manual_seed(0)
    module = nn.Transformer(SIZE, HEADS, 3, 2, 32, batch_first=batch_first).eval()
    source, target = torch.randn(2, 7, SIZE), torch.randn(2, 4, SIZE)
    if not batch_first:
        source, target = source.transpose(0, 1), target.transpose(0, 1)
    options = {"tgt_mask": nn.Transformer.generate_square_subsequent_mask(4), "tgt_is_causal": True}
    with torch.set_grad_enabled(grad):
        plain = module(source, target, **options)
        with aw.capture(module, list("wxyz"), key_tokens=list("abcdefg")) as cap:
            seen = module(source, target, **options)
    with Weights(module) as found:
        module(source, target, **options)
    assert_matches(cap, found)
    assert {
        name: (stack.n_layers, list(stack.query_tokens[0]), list(stack.key_tokens[0]))
        for name, stack in cap.stacks.items()
    } == {
        "encoder": (3, list("abcdefg"), list("abcdefg")),
        "decoder": (2, list("wxyz"), list("wxyz")),
        "cross": (2, list("wxyz"), list("abcdefg")),
    }
    assert all(layer.mask.is_causal for layer in cap.stacks["decoder"].layers)
    if cap.notes:
        torch.testing.assert_close(plain, seen, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(plain, seen)
    assert bool(cap.notes) is (batch_first and not grad)


def test_decoder_and_its_layer():
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(SIZE, HEADS, 32, batch_first=True).eval()
    memory, x = torch.randn(1, 7, SIZE), torch.randn(1, 4, SIZE)
    for module, depth in ((layer, 1), (nn.TransformerDecoder(layer, 2).eval(), 2)):
        with aw.capture(module, list("wxyz"), key_tokens=list("abcdefg")) as cap:
            seen = module(x, memory)
        assert torch.equal(module(x, memory), seen)
        assert {name: stack.n_layers for name, stack in cap.stacks.items()} == {"self": depth, "cross": depth}
        assert list(cap.stacks["cross"].key_tokens[0]) == list("abcdefg")
        with Weights(module) as found:
            module(x, memory)
        assert_matches(cap, found)


def test_a_cross_stack_of_equal_lengths_is_told_by_its_name():
    module = nn.TransformerDecoderLayer(SIZE, HEADS, 32, batch_first=True).eval()
    with aw.capture(module) as cap:
        module(torch.randn(1, 5, SIZE), torch.randn(1, 5, SIZE))
    assert list(cap.stacks) == ["self", "cross"]


class Block(nn.Module):
    """As many vision transformers write theirs."""

    def __init__(self, name, **options):
        super().__init__()
        self.norm, self.name = nn.LayerNorm(SIZE), name
        setattr(self, name, nn.MultiheadAttention(SIZE, HEADS, batch_first=True))
        self.options = options

    def forward(self, x):
        y = self.norm(x)
        return x + getattr(self, self.name)(y, y, y, **self.options)[0]


class Probe(nn.Module):
    """A learned query that sums the sequence up."""

    def __init__(self):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, SIZE))
        self.attention = nn.MultiheadAttention(SIZE, HEADS, batch_first=True)

    def forward(self, x):
        return self.attention(self.query.expand(len(x), -1, -1), x, x)[0]


@pytest.mark.parametrize("name", ["multihead_attn", "src_attn", "context_attn"])
def test_cross_attention_is_told_by_the_self_attention_beside_it(name):
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.att = nn.MultiheadAttention(SIZE, HEADS, batch_first=True)

        def forward(self, x, y):
            return self.att(x, y, y)[0]

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn = Around()
            setattr(self, name, Around())

        def forward(self, x, y):
            x = self.self_attn(x, x)
            return getattr(self, name)(x, y)

    with aw.capture(module := nn.ModuleDict({"decoder": Layer()})) as cap:
        module["decoder"](torch.randn(1, 4, SIZE), torch.randn(1, 6, SIZE))
    assert {role: stack.size_text() for role, stack in cap.stacks.items()} == {
        "decoder": "4 tokens",
        "cross": "4 x 6 tokens",
    }


@pytest.mark.parametrize("options", [{}, {"need_weights": False}])
@pytest.mark.parametrize("name", ["attn", "multihead_attn"])
def test_blocks_written_by_hand(options, name):
    torch.manual_seed(0)
    module = nn.Sequential(*(Block(name, **options) for _ in range(3)), Probe()).eval()
    x = torch.randn(2, 5, SIZE)
    plain = module(x)
    with aw.capture(module, ["cls", *"abcd"]) as cap:
        assert torch.equal(module(x), plain)
    with Weights(module) as found:
        module(x)
    assert_matches(cap, found)
    assert {name: stack.n_layers for name, stack in cap.stacks.items()} == {"self": 3, "self-2": 1}
    assert list(cap.stacks["self-2"].key_tokens[0]) == ["cls", *"abcd"]
    assert list(cap.stacks["self-2"].query_tokens[0]) == ["0"]
    with torch.no_grad(), aw.capture(module) as quick:
        module(x)
    assert ROUNDING in quick.notes[0]
    assert len(quick.notes) == 2, "that, and that one layer is a stack of its own"


def test_beside_attention_of_other_kinds():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Block("attn")

        def forward(self, x):
            heads = self.first(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            return functional.scaled_dot_product_attention(heads, heads, heads)

    module, x = Mixed(), torch.randn(2, 5, SIZE)
    with aw.capture(module) as cap:
        module(x)
    assert [(info.path, info.implementation) for info in cap.stacks["self"].infos] == [
        ("first.attn", "eager"),
        ("", "sdpa"),
    ]
