"""Ablation and knockout where attention is computed in other ways: by hand, by torch, with position biases."""

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from handmade import IDS, expect, first, results_changed
from torch import nn
from torch.nn import functional

import attnwidget as aw

T = IDS.shape[1]


def t5():
    torch.manual_seed(0)
    config = tf.T5Config(
        d_model=32, d_kv=8, d_ff=16, num_layers=2, num_heads=4, vocab_size=50, initializer_factor=3.0, dropout_rate=0
    )
    return tf.T5EncoderModel._from_config(config, attn_implementation="eager").eval()


def gptj():
    torch.manual_seed(0)
    config = tf.GPTJConfig(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=50,
        rotary_dim=4,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    return tf.GPTJForCausalLM(config).eval()


def t5_parts(model):
    attention = model.encoder.block[1].layer[0].SelfAttention
    return attention.v, attention.o


def gptj_parts(model):
    attention = model.transformer.h[1].attn
    return attention.v_proj, attention.out_proj


def deberta_parts(model):
    attention = model.encoder.layer[1].attention
    return attention.self.value_proj, attention.output.dense


@pytest.mark.parametrize("change", ["cut", "uniform", "zero", "mean"])
@pytest.mark.parametrize(
    ("make", "parts"),
    [(t5, t5_parts), (gptj, gptj_parts), (tiny.deberta, deberta_parts)],
    ids=["t5", "gptj", "deberta"],
)
def test_position_biases_and_a_softmax_by_hand(make, parts, change):
    model = make()
    asked = aw.AttentionModel(model)
    cap = asked.capture(IDS)
    weights = torch.from_numpy(cap.weights(layer=1))  # (H, T, T)
    value, projection = parts(model)
    values = []
    handle = value.register_forward_hook(lambda _, __, out: values.append(out[0].reshape(T, 4, 8).transpose(0, 1)))
    with torch.no_grad():
        model(IDS)
    handle.remove()
    z = weights @ values[0]
    if change == "cut":
        weights[:, 4, 2:4] = 0
        z[:, 4] = ((weights[:, 4] / weights[:, 4].sum(-1, keepdim=True))[:, None] @ values[0])[:, 0]
    elif change == "uniform":
        allowed = torch.from_numpy(np.broadcast_to(cap.allowed(layer=1), weights.shape).astype(np.float32))
        z[2] = (allowed / allowed.sum(-1, keepdim=True))[2] @ values[0][2]
    else:
        z[2] = 0 if change == "zero" else z[2].mean(0)
    rows = []

    def keep(out):
        rows.append(first(out))
        return 0.0

    if change == "cut":
        found = asked.knockout(IDS, query=4, key=slice(2, 4), layers=1, metric=keep)
        assert repr(found).startswith(
            "query 4 cut off from key slice 2:4 in 4 heads of 1 layer of stack 'self': keep 0"
        )
    else:
        asked.ablate(IDS, [(1, 2)], mode=change, metric=keep)

    def put(states):
        states[:] = z.transpose(0, 1).reshape(T, -1)

    with results_changed(projection, put), torch.no_grad():
        expect(rows[-1], first(model(IDS)))
    assert float((rows[-1] - rows[0]).abs().max()) > 1e-3


@pytest.mark.parametrize("weights", [False, True])
def test_torchs_own_attention(weights):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=weights)[0]

    torch.manual_seed(0)
    model, x = Block().eval(), torch.randn(1, 6, 16)
    made = model.attention
    q, k, v = functional.linear(x[0], made.in_proj_weight, made.in_proj_bias).reshape(6, 3, 2, 8).permute(1, 2, 0, 3)
    scores = q @ k.mT / 8**0.5
    scores[1, 3, :2] = -torch.inf
    for cut, zero in ((True, False), (False, True)):
        z = (scores if cut else q @ k.mT / 8**0.5).softmax(-1) @ v
        if zero:
            z[1] = 0
        expected = made.out_proj(z.transpose(0, 1).reshape(6, 16))
        rows = []
        asked = aw.AttentionModel(model)

        def keep(out, rows=rows):
            rows.append(out[0])
            return 0.0

        if cut:
            asked.knockout(x, query=3, key=[0, 1], heads=[(0, 1)], metric=keep)
        else:
            asked.ablate(x, [(0, 1)], metric=keep)
        expect(rows[-1].detach(), expected.detach())


def test_a_kernel_called_by_the_model_itself_and_a_single_head():
    class Block(nn.Module):
        def forward(self, x):
            return functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0]

    x = torch.randn(1, 5, 4)
    found = aw.AttentionModel(Block().eval()).ablate(x, mode="uniform", metric=lambda out: out[0, 3, 0])
    assert found.values.shape == (1, 1)
    expect(found.baseline + found.values[0, 0], float(x[0, :4, 0].mean()))
