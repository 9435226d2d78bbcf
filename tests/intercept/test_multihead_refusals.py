"""Attention of torch.nn that cannot be seen: refused in words, and the run itself is not disturbed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

BATCH, HEADS, SIZE, KEYS = 2, 4, 32, 7


def make(**options):
    torch.manual_seed(0)
    return nn.MultiheadAttention(SIZE, HEADS, **options).eval()


def refused(module, run):
    seen = []
    with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(module):
        seen.append(run())
    return str(error.value), seen


def test_tensors_with_rules_of_their_own_run_as_before_and_are_refused():
    class Own(torch.Tensor):
        pass

    attn, x = make(), torch.randn(KEYS, BATCH, SIZE)
    plain = attn(x, x, x)[0]
    text, seen = refused(attn, lambda: attn(*[x.as_subclass(Own)] * 3)[0])
    assert "MultiheadAttention (multihead) could not be recorded: Own handles nn.MultiheadAttention by a rule" in text
    assert torch.equal(seen[0].as_subclass(torch.Tensor), plain)


def test_a_fused_kernel_called_by_name_is_refused():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = make(batch_first=True)

        def forward(self, x):
            a = self.attn
            weights = a.in_proj_weight, a.in_proj_bias, a.out_proj.weight, a.out_proj.bias
            return torch._native_multi_head_attention(x, x, x, SIZE, HEADS, *weights)[0]

    module, x = Fused(), torch.randn(BATCH, KEYS, SIZE)
    with torch.no_grad():
        plain = module(x)
    text, seen = refused(module, lambda: module(x))
    assert "(fused) could not be recorded: it calls torch._native_multi_head_attention, a fused kernel" in text
    assert torch.equal(seen[0], plain)


def test_a_way_of_computing_that_is_not_known_is_refused(monkeypatch):
    monkeypatch.setattr(functional, "scaled_dot_product_attention", lambda *args: args[2])
    attn, x = make(), torch.randn(KEYS, BATCH, SIZE)
    text, _ = refused(attn, lambda: attn(x, x, x, need_weights=False))
    assert "computed its weights in a way that is not known; expected scaled_dot_product_attention" in text


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_inside_a_function_transform_it_is_refused():
    attn, x = make(batch_first=True), torch.randn(3, BATCH, KEYS, SIZE)
    for need_weights in (False, True):
        run = torch.func.vmap(lambda one: attn(one, one, one, need_weights=need_weights)[0])  # noqa: B023
        text, seen = refused(attn, lambda: run(x))  # noqa: B023
        assert "it ran inside a function transform" in text
        assert len(seen) == 1


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_nested_tensors_are_refused_in_words():
    layer = nn.TransformerEncoderLayer(SIZE, HEADS, 32, batch_first=True)
    module = nn.TransformerEncoder(layer, 2).eval()
    nested = torch.nested.nested_tensor([torch.randn(3, SIZE), torch.randn(5, SIZE)])
    with torch.no_grad():
        module(nested)
    with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(module):
        module(nested)
    assert "pass a padded tensor and a key_padding_mask (nested.to_padded_tensor(0.0))" in str(error.value)


def test_an_exception_inside_comes_out_unchanged():
    attn, x = make(), torch.randn(4, 1, SIZE)
    with pytest.raises(RuntimeError, match="The shape of the 2D attn_mask is"), aw.capture(attn):
        attn(x, x, x, attn_mask=torch.zeros(3, 3))
    with aw.capture(attn) as cap:
        attn(x, x, x)
    assert cap.stacks["self"].n_layers == 1
