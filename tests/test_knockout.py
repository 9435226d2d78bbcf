"""Edges cut before the softmax, against attention written by hand."""

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from handmade import EACH_KIND, IDS, Written, expect, first, made

import attnwidget as aw


@pytest.mark.parametrize("where", [{}, {"layers": slice(1, None)}, {"heads": [(0, 2), (2, 0), (0, 3)]}])
@EACH_KIND
def test_edges_are_cut_as_by_hand(case, where):
    model, _, causal = made(case)
    written = Written(causal=causal)
    asked = aw.AttentionModel(model)
    shape = asked.capture(IDS).stacks["self"]
    pairs = where.get("heads") or list(np.ndindex(shape.n_layers, shape.n_heads))
    pairs = [(layer, head) for layer, head in pairs if "layers" not in where or layer >= 1]
    written.cut = [(layer, head, i, j) for layer, head in pairs for i in (4, 7, 8) for j in (0, 3)]
    rows = []
    found = asked.knockout(
        IDS, query=[4, 7, -1], key=[0, 3], metric=lambda out: rows.append(first(out)) or 0.0, **where
    )
    assert found.change == 0
    expect(rows[-1], written.run(model, IDS))
    assert float((rows[-1] - rows[0]).abs().max()) > 1e-2


def gemma2():
    torch.manual_seed(0)
    config = tf.Gemma2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.5,
        attn_logit_softcapping=2.0,
        sliding_window=64,
    )
    return tf.Gemma2ForCausalLM._from_config(config, attn_implementation="eager").eval()


def gpt_oss():
    torch.manual_seed(0)
    config = tf.GptOssConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=32,
        num_local_experts=2,
        num_experts_per_tok=1,
        vocab_size=50,
        initializer_range=0.3,
        sliding_window=64,
    )
    return tf.GptOssForCausalLM._from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize("make", [gemma2, gpt_oss])
def test_edges_are_cut_under_a_soft_cap_and_beside_a_learned_sink(make):
    model = make()
    written = Written(causal=True)
    written.cut = [(layer, 1, i, j) for layer in range(2) for i in (5, 6) for j in (0, 2)]
    rows = []
    aw.AttentionModel(model).knockout(
        IDS,
        query=slice(5, 7),
        key=[0, 2],
        heads=[(0, 1), (1, 1)],
        metric=lambda out: rows.append(first(out)) or 0.0,
    )
    expect(rows[-1], written.run(model, IDS))
    assert float((rows[-1] - rows[0]).abs().max()) > 1e-3


def test_a_row_with_nothing_left_gives_zero():
    model = tiny.gpt2()
    written = Written(causal=True)
    written.cut = [(0, head, 0, 0) for head in range(4)]
    rows = []
    aw.AttentionModel(model).knockout(IDS, query=0, key=0, layers=0, metric=lambda out: rows.append(first(out)) or 0)
    expect(rows[-1], written.run(model, IDS))
