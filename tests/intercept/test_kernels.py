"""Which kernel is called for its lse, and what is done around it. What needs a GPU runs where there is one."""

from __future__ import annotations

import itertools
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.intercept import kernels, sdpa
from attnwidget.intercept.kernels import CUDNN, EFFICIENT, FLASH, MATH, Facts, Probation, call_kernel, kernel_of

DECISIONS = [
    (Facts("cpu", FLASH), "cpu flash"),
    (Facts("cpu", FLASH, mask=torch.bool, needs_grad=True), "cpu flash"),
    (Facts("cpu", MATH), None),
    (Facts("cpu", None), None),
    (Facts("cuda", FLASH), "flash"),
    (Facts("cuda", FLASH, needs_grad=True), "flash"),
    (Facts("cuda", FLASH, mask=torch.float16), None),
    (Facts("cuda", EFFICIENT), "efficient"),
    (Facts("cuda", EFFICIENT, mask=torch.bool), "efficient"),
    (Facts("cuda", CUDNN), None),
    (Facts("cuda", CUDNN, needs_grad=True), "cudnn"),
    (Facts("cuda", CUDNN, needs_grad=True, mask=torch.bool), None),
    (Facts("cuda", CUDNN, needs_grad=True, mask=torch.bfloat16), "cudnn"),
    (Facts("cuda", MATH), None),
    (Facts("cuda", 4), None),  # a backend of somebody else's device
    (Facts("cuda", None), None),
    (Facts("mps", MATH), None),
    (Facts("xpu", FLASH), None),
    *((Facts("cuda", choice, hip=True, needs_grad=True), None) for choice in (FLASH, EFFICIENT, CUDNN)),
    *(
        (Facts(device, FLASH, **{odd: True}), None)
        for device, odd in itertools.product(("cpu", "cuda"), ("dropout", "autocast", "empty"))
    ),
]


@pytest.mark.parametrize(("facts", "kernel"), DECISIONS)
def test_which_kernel_is_called(facts, kernel):
    assert kernel_of(facts) == kernel


def attend(query, key, value, bias, *, is_causal, scale):
    """(output, lse), written out."""
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if bias is None else scores + bias
    if is_causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -torch.inf)
    return torch.softmax(scores, -1) @ value, torch.logsumexp(scores, -1)


class Ops(SimpleNamespace):
    """Stands in for the kernels of a GPU, with what is peculiar to each."""

    def _scaled_dot_product_flash_attention(self, query, key, value, dropout, is_causal, debug, *, scale):
        assert all(part.shape[-1] % 8 == 0 for part in (query, key, value))
        assert (dropout, debug) == (0.0, False)
        return (*attend(query, key, value, None, is_causal=is_causal, scale=scale), None, None, 1, 1, None, None, None)

    def _scaled_dot_product_efficient_attention(self, query, key, value, bias, with_lse, dropout, is_causal, *, scale):
        assert (dropout, with_lse) == (0.0, True)
        if bias is not None:
            assert bias.shape == (*query.shape[:3], key.shape[2])
            assert bias.stride(-1) == 1
            assert all(stride % 16 == 0 for stride in bias.stride()[:-1])
        output, lse = attend(query, key, value, bias, is_causal=is_causal, scale=scale)
        return output, functional.pad(lse, (0, -lse.shape[-1] % 32), value=torch.nan), None, None

    def _scaled_dot_product_cudnn_attention(
        self, query, key, value, bias, with_lse, dropout, is_causal, debug, *, scale
    ):
        assert (dropout, with_lse, debug) == (0.0, True, False)
        output, lse = attend(query, key, value, bias, is_causal=is_causal, scale=scale)
        return output, lse[..., None], None, None, 1, 1, None, None, None


AROUND = [
    *itertools.product(["flash"], ["no", "causal"]),
    *itertools.product(["efficient", "cudnn"], ["no", "causal", "bool", "float", "2-D"]),
]


@pytest.mark.parametrize(("kernel", "masked"), AROUND)
@pytest.mark.parametrize("size", [16, 20])
def test_what_is_done_around_a_kernel(kernel, size, masked):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, rows, size) for heads, rows in ((4, 11), (2, 13), (2, 13)))
    allowed = torch.rand(2, 1, 11, 13) > 0.3
    allowed[..., 0] = True
    mask = {"bool": allowed, "float": torch.randn(1, 4, 11, 13), "2-D": torch.randn(11, 13)}.get(masked)
    if kernel == "efficient":
        key, value = (part.repeat_interleave(2, 1) for part in (key, value))
    for scale in (None, 0.3):
        options = {"is_causal": masked == "causal", "scale": scale}
        output, lse = call_kernel(kernel, query, key, value, mask, ops=Ops(), **options)
        bias = torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf) if masked == "bool" else mask
        wanted, wanted_lse = attend(query, key, value, bias, **options)
        assert lse.shape == (2, 4, 11)
        torch.testing.assert_close(output, wanted)
        torch.testing.assert_close(lse, wanted_lse)
        plain = functional.scaled_dot_product_attention(
            query, *(part.repeat_interleave(4 // part.shape[1], 1) for part in (key, value)), mask, **options
        )
        torch.testing.assert_close(output, plain)


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_the_kernels_of_this_torch_take_these_arguments(kernel):
    query, key, value = (torch.empty(2, 4, rows, 20, device="meta") for rows in (11, 13, 13))
    bias = None if kernel == "flash" else torch.empty(2, 1, 11, 13, device="meta")
    output, lse = call_kernel(kernel, query, key, value, bias, is_causal=False, scale=None)
    assert (output.shape, lse.shape, lse.dtype) == ((2, 4, 11, 20), (2, 4, 11), torch.float32)


def test_an_lse_of_another_shape():
    query = torch.empty(2, 4, 11, 8)
    assert kernels.plain_lse(torch.empty(2, 4, 32), query).shape == (2, 4, 11)
    assert kernels.plain_lse(torch.empty(2, 4, 11, 1), query).shape == (2, 4, 11)
    for shape in ((2, 4, 10), (4, 22), (2, 11, 4), (2, 4, 11, 2)):
        with pytest.raises(ValueError, match=r"expected \(2, 4, at least 11\)"):
            kernels.plain_lse(torch.empty(shape), query)


class TestProbation:
    X = torch.arange(3.0)

    def run(self, probation, direct, kind="kind"):
        calls = []

        def plain():
            calls.append("plain")
            return self.X

        def counted():
            calls.append("direct")
            return direct()

        return (*probation.run(kind, plain, counted), calls)

    def test_a_kernel_that_gives_the_same_is_called_alone_from_then_on(self):
        probation = Probation()
        output, lse, calls = self.run(probation, lambda: (self.X.clone(), "lse"))
        assert (output is self.X, lse, calls) == (True, "lse", ["plain", "direct"])
        output, lse, calls = self.run(probation, lambda: (self.X.clone(), "lse"))
        assert (output is self.X, lse, calls) == (False, "lse", ["direct"])
        assert self.run(probation, lambda: (self.X.clone(), "lse"), "another")[2] == ["plain", "direct"]

    def test_a_kernel_that_differs_in_a_bit_is_not_called_again(self):
        probation = Probation()
        for wanted in (["plain", "direct"], ["plain"], ["plain"]):
            output, lse, calls = self.run(probation, lambda: (torch.nextafter(self.X, self.X + 1), "lse"))
            assert (output is self.X, lse, calls) == (True, None, wanted)

    @pytest.mark.parametrize("error", [RuntimeError("no such kernel"), TypeError("other arguments"), ValueError("lse")])
    def test_a_kernel_that_fails_is_not_called_again(self, error):
        def fail():
            raise error

        probation = Probation()
        for wanted in (["plain", "direct"], ["plain"]):
            output, lse, calls = self.run(probation, fail)
            assert (output is self.X, lse, calls) == (True, None, wanted)

    def test_the_trial_is_no_part_of_what_is_trained(self):
        x = torch.ones(3, requires_grad=True)
        output, lse = Probation().run("kind", lambda: x * 2, lambda: (x * 2, x.sum()))
        assert output.requires_grad
        assert not lse.requires_grad


@pytest.mark.parametrize("same", [True, False])
def test_a_call_on_probation_within_a_capture(monkeypatch, same):
    """A CPU that says it would take the efficient kernel."""

    class Block(nn.Module):
        def forward(self, x):
            return functional.scaled_dot_product_attention(x, x, x, is_causal=True)

    def direct(kernel, query, key, value, mask, **options):
        assert kernel == "efficient"
        output = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        _, lse = attend(query, key, value, mask, **options)
        return (output if same else output + 1), lse

    monkeypatch.setattr(sdpa, "_backend", lambda *_, **__: EFFICIENT)
    monkeypatch.setattr(sdpa, "kernel_of", lambda facts: kernel_of(Facts("cuda", facts.choice)))
    monkeypatch.setattr(sdpa, "call_kernel", direct)
    monkeypatch.setattr(sdpa, "PROBATION", Probation())
    block, x = Block(), torch.randn(1, 2, 5, 8)
    plain = block(x)
    for _ in range(2):
        with torch.no_grad(), aw.capture(block) as cap:
            assert torch.equal(block(x), plain)
        assert (cap.stacks["self"].layers[0].known_lse is not None) == same
        _, lse = attend(x, x, x, None, is_causal=True, scale=None)
        np.testing.assert_allclose(cap.stacks["self"].layers[0].lse(0, slice(0, 2)), lse[0], atol=1e-6)


class Marked(torch.Tensor):
    """A tensor with a type of its own."""


class Plain(nn.Module):
    def forward(self, q, k):
        return functional.scaled_dot_product_attention(q, k, k)


def test_tensors_of_other_types_take_the_plain_call(monkeypatch):
    monkeypatch.setattr(sdpa, "call_kernel", lambda *_, **__: pytest.fail("a kernel was called directly"))
    module, q, k = Plain(), torch.randn(1, 2, 5, 8).as_subclass(Marked), torch.randn(1, 2, 7, 8)
    plain = module(q, k)
    with aw.capture(module) as cap:
        seen = module(q, k)
    assert (type(seen), torch.equal(seen, plain)) == (type(plain), True)
    wanted = torch.softmax(q.as_subclass(torch.Tensor) @ k.transpose(-1, -2) * 8**-0.5, -1)
    np.testing.assert_allclose(cap.weights(0), wanted[0], atol=1e-6)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_nested_tensors_take_the_plain_call_and_are_refused_by_name():
    module = Plain()
    q = torch.nested.nested_tensor([torch.randn(2, length, 8) for length in (5, 3)])
    plain, seen = module(q, q), []
    with pytest.raises(aw.CaptureError, match=r"its queries or keys are nested tensors"), aw.capture(module):
        seen.append(module(q, q))
    assert torch.equal(plain.to_padded_tensor(0.0), seen[0].to_padded_tensor(0.0))


def test_tensors_without_elements_take_the_plain_call():
    module, q, k = Plain(), torch.randn(1, 2, 0, 8), torch.randn(1, 2, 7, 8)
    with aw.capture(module) as cap:
        assert module(q, k).shape == (1, 2, 0, 8)
    assert cap.weights(0).shape == (2, 0, 7)


def layer_on_gpu(dtype, size, masked, grouped, grad):
    """A captured layer, checked; None where this GPU or torch has no such kernel for it."""
    torch.manual_seed(0)
    heads = 2 if grouped else 4
    q, k, v = (
        torch.randn(2, count, 67, size, device="cuda", dtype=dtype, requires_grad=grad) for count in (4, heads, heads)
    )
    allowed = torch.ones(67, 67, dtype=torch.bool, device="cuda").tril(3 if masked == "bool" else 0)
    options = {"attn_mask": allowed if masked == "bool" else None, "is_causal": masked == "causal"}

    class Block(nn.Module):
        def forward(self, q, k, v):
            return functional.scaled_dot_product_attention(
                q, k, v, **options, **({"enable_gqa": True} if grouped else {})
            )

    block = Block()
    with torch.set_grad_enabled(grad):
        try:
            plain = block(q, k, v)
        except RuntimeError:
            return None
        for _ in range(2):  # on probation, and believed
            with aw.capture(block) as cap:
                assert torch.equal(block(q, k, v), plain)
    layer = cap.stacks["self"].layers[0]
    scores = q.detach().float() @ k.detach().float().repeat_interleave(4 // heads, 1).mT / math.sqrt(size)
    scores = scores if masked == "no" else scores.masked_fill(~allowed, -torch.inf)
    torch.testing.assert_close(layer.lse(1, slice(0, 4)), torch.logsumexp(scores, -1)[1], atol=1e-3, rtol=1e-3)
    return layer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", ["FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"])
def test_outputs_to_the_bit_and_lse_on_cuda(name, grad):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kinds = itertools.product(
        (torch.bfloat16, torch.float16, torch.float32), (64, 40, 20), ("no", "causal", "bool"), (False, True)
    )
    with sdpa_kernel([getattr(SDPBackend, name)]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says at length why it does not take a kernel
        layers = [layer for kind in kinds if (layer := layer_on_gpu(*kind, grad)) is not None]
    if not layers:
        pytest.skip(f"this GPU has no {name}")
    if name in {"FLASH_ATTENTION", "EFFICIENT_ATTENTION"} and torch.version.hip is None:
        assert all(layer.known_lse is not None for layer in layers)


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="there is no Apple GPU")
def test_outputs_to_the_bit_on_mps():
    block, q, k = Plain(), torch.randn(1, 2, 9, 8, device="mps"), torch.randn(1, 2, 9, 8, device="mps")
    plain = block(q, k)
    with torch.no_grad(), aw.capture(block) as cap:
        assert torch.equal(block(q, k), plain)
    wanted = torch.softmax(q @ k.transpose(-1, -2) * 8**-0.5, -1)
    np.testing.assert_allclose(cap.weights(0), wanted[0].cpu(), atol=1e-5)
