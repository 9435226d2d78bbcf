"""nn.MultiheadAttention by itself: every option, against the weights torch itself returns in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import attnwidget as aw

BATCH, HEADS, SIZE, QUERIES, KEYS = 2, 4, 32, 5, 7


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(seed=0, **options):
    torch.manual_seed(seed)
    attn = nn.MultiheadAttention(SIZE, HEADS, **options).eval()
    for parameter in attn.parameters():
        nn.init.normal_(parameter, std=0.4)
    return attn


def reference(attn, *inputs, **masks):
    """(B, H, Tq, Tk) as torch computes it, with gradients on, so by no fused path."""
    attn = copy.deepcopy(attn).double().eval()
    masks = {name: mask.double() if mask.is_floating_point() else mask for name, mask in masks.items()}
    with torch.enable_grad():
        weights = attn(*[x.double() for x in inputs], need_weights=True, average_attn_weights=False, **masks)[1]
    return weights.detach().numpy().reshape(-1, HEADS, *weights.shape[-2:])


def captured(attn, *inputs, **options):
    """What a run gives with a capture and without, which is the same to the bit, and the capture."""
    with torch.random.fork_rng():
        plain = attn(*inputs, **options)
    with torch.random.fork_rng(), aw.capture(attn) as cap:
        seen = attn(*inputs, **options)
    assert torch.equal(plain[0], seen[0])
    assert (plain[1] is None) == (seen[1] is None)
    assert plain[1] is None or torch.equal(plain[1], seen[1])
    return cap


def assert_weights(cap, wanted, atol=1e-5):
    stack = cap.stacks["self"]
    assert (stack.n_examples, stack.n_layers, stack.n_heads) == (len(wanted), 1, HEADS)
    assert type(stack.layers[0]).__name__ == "FactoredAttention"
    for example, weights in enumerate(wanted):
        np.testing.assert_allclose(cap.weights(0, batch=example), weights, atol=atol)


def pair_mask(kind, batch=BATCH):
    """Every row keeps its first key: a row that sees nothing is NaN in torch."""
    if kind == "none":
        return None
    shape = (QUERIES, KEYS) if "2-D" in kind else (batch * HEADS, QUERIES, KEYS)
    if "bool" in kind:
        mask = torch.rand(shape, generator=seeded(1)) > 0.6
        mask[..., 0] = False
        return mask
    mask = torch.randn(shape, generator=seeded(1))
    return mask.masked_fill(pair_mask(kind.replace("float", "bool"), batch), -torch.inf) if "inf" in kind else mask


def padding_mask(kind):
    if kind == "none":
        return None
    mask = torch.zeros(BATCH, KEYS, dtype=torch.bool)
    mask[0, 5:] = True
    if kind == "bool":
        return mask
    return torch.zeros(BATCH, KEYS).masked_fill(mask, -torch.inf) + (0 if kind == "inf" else torch.arange(KEYS) / 7)


def masks_of(pairs, padding, batch=BATCH):
    found = {"attn_mask": pair_mask(pairs, batch), "key_padding_mask": padding_mask(padding)}
    return {name: mask for name, mask in found.items() if mask is not None}


PAIRS = st.sampled_from(["none", "2-D bool", "2-D float", "2-D float inf", "3-D bool", "3-D float", "3-D float inf"])
PADDING = st.sampled_from(["none", "bool", "inf", "float"])


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask is deprecated")
@settings(max_examples=150, deadline=None)
@given(
    module=st.fixed_dictionaries(
        {
            "bias": st.booleans(),
            "add_bias_kv": st.booleans(),
            "add_zero_attn": st.booleans(),
            "kdim": st.sampled_from([None, 24]),
            "vdim": st.sampled_from([None, 12]),
            "batch_first": st.booleans(),
        }
    ),
    call=st.fixed_dictionaries({"need_weights": st.booleans(), "average_attn_weights": st.booleans()}),
    pairs=PAIRS,
    padding=PADDING,
    grad=st.booleans(),
    unbatched=st.booleans(),
)
def test_every_option(module, call, pairs, padding, grad, unbatched):
    attn = make(**module)
    lengths = ((QUERIES, SIZE), (KEYS, module["kdim"] or SIZE), (KEYS, module["vdim"] or SIZE))
    masks = masks_of(pairs, padding, 1 if unbatched else BATCH)
    if unbatched:
        inputs = [torch.randn(shape, generator=seeded(2)) for shape in lengths]
        masks = {name: mask[0] if name == "key_padding_mask" else mask for name, mask in masks.items()}
    else:
        inputs = [torch.randn(BATCH, *shape, generator=seeded(2)) for shape in lengths]
        inputs = inputs if module["batch_first"] else [x.transpose(0, 1) for x in inputs]
    with torch.set_grad_enabled(grad):
        cap = captured(attn, *inputs, **call, **masks)
    assert_weights(cap, reference(attn, *inputs, **masks))
    keys = cap.stacks["self"].key_tokens[0]
    extra = ["[bias]"] * module["add_bias_kv"] + ["[zero]"] * module["add_zero_attn"]
    assert list(keys) == [str(number) for number in range(KEYS)] + extra
    assert list(keys.special) == [False] * KEYS + [True] * len(extra)
    assert cap.notes == ()


@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_stay_rules(need_weights):
    attn = make(batch_first=True)
    x = torch.randn(BATCH, KEYS, SIZE)
    causal = torch.ones(KEYS, KEYS, dtype=torch.bool).triu(1)
    options = {"need_weights": need_weights}
    cap = captured(attn, x, x, x, attn_mask=causal, key_padding_mask=padding_mask("bool"), **options)
    mask = cap.stacks["self"].layers[0].mask
    assert (mask.describe(), mask.nbytes) == ("causal, padding", BATCH * KEYS)
    np.testing.assert_array_equal(cap.allowed(0, 0, batch=1), ~causal.numpy())
    hinted = captured(attn, x, x, x, attn_mask=causal, is_causal=True, **options)
    assert hinted.stacks["self"].layers[0].mask.nbytes == 0
    assert_weights(hinted, reference(attn, x, x, x, attn_mask=causal))


def test_with_a_causal_hint_torch_hides_the_keys_it_adds_and_so_does_the_capture():
    attn = make(batch_first=True, add_zero_attn=True)
    x = torch.randn(1, QUERIES, SIZE)
    causal = torch.ones(QUERIES, QUERIES, dtype=torch.bool).triu(1)
    cap = captured(attn, x, x, x, attn_mask=causal, is_causal=True, need_weights=False)
    plain = make(batch_first=True)
    assert list(cap.stacks["self"].key_tokens[0])[-1] == "[zero]"
    assert not cap.weights(0)[:, :, -1].any()
    np.testing.assert_allclose(cap.weights(0)[:, :, :-1], reference(plain, x, x, x, attn_mask=causal)[0], atol=1e-5)


@pytest.mark.parametrize("need_weights", [False, True])
def test_dropout_weights_are_those_before_it(need_weights):
    attn = make(batch_first=True, dropout=0.5).train()
    x = torch.randn(BATCH, KEYS, SIZE)
    assert_weights(captured(attn, x, x, x, need_weights=need_weights), reference(attn, x, x, x))


@pytest.mark.parametrize("need_weights", [False, True])
def test_gradients_flow_as_without(need_weights):
    attn = make(batch_first=True)
    found = []
    for watched in (False, True):
        x = torch.randn(BATCH, KEYS, SIZE, generator=seeded(3)).requires_grad_()
        if watched:
            with aw.capture(attn):
                attn(x, x, x, need_weights=need_weights)[0].square().sum().backward()
        else:
            attn(x, x, x, need_weights=need_weights)[0].square().sum().backward()
        found.append((x.grad, attn.in_proj_weight.grad))
        attn.zero_grad()
    assert all(torch.equal(plain, seen) for plain, seen in zip(*found, strict=True))


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("how", ["bfloat16", "autocast", "inference_mode", "default device"])
def test_other_circumstances(how, need_weights):
    attn = make(batch_first=True)
    x, memory = torch.randn(BATCH, QUERIES, SIZE), torch.randn(BATCH, KEYS, SIZE)
    wanted, options = reference(attn, x, memory, memory), {"need_weights": need_weights}
    if how == "bfloat16":
        low, inputs = attn.bfloat16(), [part.bfloat16() for part in (x, memory, memory)]
        assert_weights(captured(low, *inputs, **options), wanted, atol=0.05)
    elif how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            cap = captured(attn, x, memory, memory, **options)
        assert "bfloat16" in cap.stacks["self"].layers[0].detail
        assert_weights(cap, wanted, atol=0.05)
    elif how == "inference_mode":
        with torch.inference_mode():
            cap = captured(attn, x, memory, memory, **options)
        assert_weights(cap, wanted)
    else:
        with torch.device("cpu"):  # what set_default_device does, and older torch takes back whole
            cap = captured(attn, x, memory, memory, **options)
        assert_weights(cap, wanted)


def test_the_function_called_without_the_module():
    class Pool(nn.Module):
        """As CLIP pools: one query, the mean, and projections of its own."""

        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(SIZE, SIZE) for _ in range(4))

        def forward(self, x):
            x = x.transpose(0, 1)
            return functional.multi_head_attention_forward(
                x.mean(0, keepdim=True),
                x,
                x,
                SIZE,
                HEADS,
                None,
                torch.cat([self.q.bias, self.k.bias, self.v.bias]),
                None,
                None,
                False,
                0,
                self.out.weight,
                self.out.bias,
                use_separate_proj_weight=True,
                q_proj_weight=self.q.weight,
                k_proj_weight=self.k.weight,
                v_proj_weight=self.v.weight,
                need_weights=need_weights,
                average_attn_weights=False,
            )

    module, x = Pool(), torch.randn(BATCH, KEYS, SIZE)
    need_weights = True
    wanted = module(x)[1].detach().numpy()
    for need_weights in (False, True):  # noqa: B007 - the module reads it
        assert_weights(captured(module, x), wanted)


def test_nested_captures_see_each_layer_once():
    attn, x = make(dropout=0.1).train(), torch.randn(KEYS, BATCH, SIZE)
    with aw.capture(attn) as outer, aw.capture(attn) as inner:
        attn(x, x, x, need_weights=False)
    assert [cap.stacks["self"].n_layers for cap in (outer, inner)] == [1, 1]
    assert outer.stacks["self"].layers[0] is inner.stacks["self"].layers[0]


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_row_that_sees_nothing_is_zero(need_weights):
    attn, x = make(batch_first=True), torch.randn(1, QUERIES, SIZE)
    mask = torch.ones(QUERIES, QUERIES, dtype=torch.bool).triu(1)
    mask[3] = True
    with aw.capture(attn) as cap:
        attn(x, x, x, attn_mask=mask, need_weights=need_weights)
    np.testing.assert_array_equal(cap.weights(0)[:, 3], 0)
    assert not cap.allowed(0, 0)[3].any()
    rest = [0, 1, 2, 4]
    wanted = reference(attn, x, x, x, attn_mask=mask)[0, :, rest]
    np.testing.assert_allclose(cap.weights(0)[:, rest].swapaxes(0, 1), wanted, atol=1e-5)


def test_nothing_is_patched():
    attn, x = make(), torch.randn(KEYS, BATCH, SIZE)
    before, inside = dict(vars(functional)), []
    attn.register_forward_hook(lambda *_: inside.append(dict(vars(functional))))
    for need_weights in (False, True):
        with aw.capture(attn):
            attn(x, x, x, need_weights=need_weights)
    for after in (*inside, vars(functional)):
        assert after.keys() == before.keys()
        assert all(after[name] is before[name] for name in before)


def test_padding_is_trimmed_where_extra_keys_allow_it_and_masked_elsewhere():
    from attnwidget.attention import Tokens
    from attnwidget.intercept.assemble import assemble
    from attnwidget.intercept.naming import Axis, Naming
    from attnwidget.intercept.session import watching

    attn, x = make(batch_first=True, add_bias_kv=True), torch.randn(2, 4, SIZE)
    padding = torch.tensor([[True, False, False, False], [False, False, False, True]])
    names = tuple(Tokens.from_pieces(pieces) for pieces in (["[PAD]", *"abc"], [*"abc", "[PAD]"]))
    with watching(attn) as (cap, recorder):
        attn(x, x, x, key_padding_mask=padding)
    cap.fill(assemble(recorder, Naming(Axis(names, ((1, 4), (0, 3))))))
    stack = cap.stacks["self"]
    assert [list(tokens) for tokens in stack.query_tokens] == [list("abc")] * 2
    assert [list(tokens) for tokens in stack.key_tokens] == [[*"abc", "[bias]"], [*"abc", "[PAD]", "[bias]"]]
    assert cap.allowed(0, 0, batch=0).all()
    assert cap.allowed(0, 0, batch=1)[0].tolist() == [True, True, True, False, True]
    wanted = reference(attn, x, x, x, key_padding_mask=padding)
    np.testing.assert_allclose(cap.weights(0, batch=0), wanted[0, :, 1:, 1:], atol=1e-5)
    np.testing.assert_allclose(cap.weights(0, batch=1), wanted[1, :, :3], atol=1e-5)
