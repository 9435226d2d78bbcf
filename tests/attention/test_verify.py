"""Captures checked against the output of the run, and found out when they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import attnwidget as aw
from attnwidget.attention import Probe
from attnwidget.attention.denominators import Denominators
from attnwidget.intercept.keeping import Keeper

PLAIN = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32}


def bert(**options):
    torch.manual_seed(0)
    model = tf.BertModel(tf.BertConfig(**PLAIN, **options)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return model


class Attends(torch.nn.Module):
    """Products of matrices in float32, whose scores are summed in another order than ours."""

    def __init__(self, q, k, v):
        super().__init__()
        self.given = q, k, v

    def forward(self):
        q, k, v = self.given
        return torch.softmax(q @ k.transpose(-1, -2), -1) @ v


IDS = torch.arange(5, 25).reshape(2, 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_right_capture_is_right(dtype, implementation):
    cap = aw.AttentionModel(bert(attn_implementation=implementation).to(dtype)).capture(IDS)
    found = cap.verify()
    assert found.ok
    assert not found.unchecked
    assert 0 <= found.largest < {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 5e-3}[dtype]
    assert repr(found).startswith("Verification: 3 of 3 layers checked against the output of the run, largest error ")


def test_scores_of_ten_thousands_are_rounded_and_not_wrong():
    torch.manual_seed(0)
    q, k, v = 80 * torch.randn(1, 4, 64, 16), 80 * torch.randn(1, 4, 64, 16), torch.randn(1, 4, 64, 16)
    k[:, :, 1::2] = k[:, :, ::2] + 1e-4 * torch.randn(1, 4, 32, 16)  # pairs that only the last digits tell apart
    layer = Attends(q, k, v)
    with aw.capture(layer) as cap:
        layer()
    (check,) = cap.verify().layers
    assert check.ok
    assert check.error > 1e-4
    assert check.tolerance < 0.1
    with aw.capture(layer) as cap:
        layer()
    cap.stacks["self"].layers[0].k[0, 2].mul_(-1)
    assert cap.verify().wrong


def test_a_wrong_one_is_found_out():
    cap = aw.AttentionModel(bert()).capture(IDS)
    layer = cap.stacks["self"].layers[1]
    layer.k[0, 2].mul_(1.5)  # one head of one example
    layer.denominators = Denominators(layer.denominators.shape, layer.q.device)
    found = cap.verify()
    assert not found.ok
    assert [(check.layer, check.path) for check in found.wrong] == [(1, "encoder.layer.1.attention.self")]
    assert "wrong: layer 1 of stack 'self' (encoder.layer.1.attention.self), error " in repr(found)


def test_a_forgotten_mask_is_found_out():
    mask = torch.ones_like(IDS)
    mask[:, 6:] = 0
    cap = aw.AttentionModel(bert()).capture({"input_ids": IDS, "attention_mask": mask})
    assert cap.verify().ok
    for layer in cap.stacks["self"].layers:
        layer.mask = None
    assert len(cap.verify().wrong) == 3


def test_dropout_and_arrays_from_elsewhere_leave_nothing_to_check_by():
    model = bert().train()
    with aw.capture(model) as cap:
        model(IDS)
    found = cap.verify()
    assert not found.ok
    assert np.isnan(found.largest)
    assert "not checked: layers 0-2 of stack 'self', which left nothing to check by" in repr(found)
    arrays = aw.AttentionCapture.from_weights(np.full((2, 4, 3, 3), 1 / 3))
    assert len(arrays.verify().unchecked) == 2


def test_the_random_generator_of_the_run_is_left_alone():
    state = torch.get_rng_state()
    Keeper().probe(torch.randn(1, 2, 5, 12, generator=torch.Generator()), torch.ones(1, 2, 5, 12))
    assert torch.equal(torch.get_rng_state(), state)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.sampled_from([1, 2, 4]), st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
def test_grouped_heads_and_any_lengths(batch, group, n_queries, n_keys, seed):
    torch.manual_seed(seed)
    q, k, v = torch.randn(batch, 4, n_queries, 6), torch.randn(batch, 4 // group, n_keys, 6), None
    v = torch.randn(batch, 4 // group, n_keys, 5)
    weights = torch.softmax(q @ k.repeat_interleave(group, 1).transpose(-1, -2) * 6**-0.5, -1)
    probe = Keeper().probe(v, weights @ v.repeat_interleave(group, 1))
    assert isinstance(probe, Probe)
    assert probe.errors(aw.FactoredAttention(q, k)).max() < 1e-5
    assert probe.errors(aw.DenseAttention(weights)).max() < 1e-5
    if n_keys > 1:
        assert probe.errors(aw.FactoredAttention(q * 3 + 1, k)).max() > 1e-4
