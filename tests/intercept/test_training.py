"""Training under capture: outputs and gradients to the bit, whatever the precision, and repetitions not recorded."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn

import attnwidget as aw

IDS = torch.randint(2, 50, (2, 12), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[0, :3] = 0
SIZE = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}


class Encoder(nn.Module):
    """torch's own layers, whose attention is nn.MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 32, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3)

    def forward(self, ids, attention_mask):
        hidden = self.encoder(self.embed(ids), src_key_padding_mask=attention_mask == 0)
        return tf.modeling_outputs.BaseModelOutput(last_hidden_state=hidden)


def build(name, dtype=torch.float32):
    torch.manual_seed(0)
    family, _, implementation = name.partition(" ")
    if family == "torch":
        return Encoder().to(dtype).train()
    if family == "llama":
        config = tf.LlamaConfig(**SIZE, num_key_value_heads=2, attention_dropout=0.2)
        return tf.LlamaModel._from_config(config, attn_implementation=implementation).to(dtype).train()
    config = tf.BertConfig(**SIZE, attention_probs_dropout_prob=0.2)
    return tf.BertModel._from_config(config, attn_implementation=implementation).to(dtype).train()


def step(model, watch=None, *, inside=True, autocast=None):
    """One step of training: the output, the gradients, the state of the random generator, and the capture."""
    model.zero_grad()
    torch.manual_seed(3)
    with watch or nullcontext() as cap:
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            output = model(IDS, attention_mask=MASK).last_hidden_state
            loss = output.float().square().mean()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    gradients = {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}
    return output.detach(), gradients, torch.get_rng_state(), cap


def assert_same_step(plain, watched):
    assert torch.equal(plain[0], watched[0])
    assert plain[1].keys() == watched[1].keys()
    assert len(plain[1]) > 20
    for name, gradient in plain[1].items():
        assert torch.equal(gradient, watched[1][name]), name
    assert torch.equal(plain[2], watched[2])


FAMILIES = ["llama sdpa", "llama eager", "bert sdpa", "bert eager", "torch"]


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_dropout(name, inside, dropout):
    model = build(name)
    plain = step(model)
    watched = step(model, aw.capture(model, dropout=dropout), inside=inside)
    assert_same_step(plain, watched)
    assert watched[3].stacks["self"].n_layers == 3
    assert ("weights after dropout" in repr(watched[3])) is dropout


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["model", "autocast"])
@pytest.mark.parametrize("name", FAMILIES)
def test_low_precision(name, how, low, dropout):
    model = build(name, low if how == "model" else torch.float32)
    autocast = low if how == "autocast" else None
    plain = step(model, autocast=autocast)
    watched = step(model, aw.capture(model, dropout=dropout), autocast=autocast)
    assert_same_step(plain, watched)
    cap = watched[3]
    kept = str(low).removeprefix("torch.")
    assert kept in cap.stacks["self"].layers[0].detail or (how, name[-5:]) == ("autocast", "eager")
    real = MASK[1].bool().numpy()
    sums = cap.weights(batch=1)[:, :, real].sum(-1)
    if not dropout:
        np.testing.assert_allclose(sums, 1, atol=1e-5)
    else:
        assert sums.max() > 1.05


def checkpointed(model, *, reentrant):
    new = getattr(model, "activation_checkpointing_enable", None)  # its name from transformers 5.2x on
    (new or model.gradient_checkpointing_enable)({"use_reentrant": reentrant})
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_hook(lambda _, __, output: output.requires_grad_())


@pytest.mark.parametrize("name", ["llama sdpa", "llama eager", "bert sdpa", "bert eager"])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_gradient_checkpointing(name, reentrant, inside, autocast):
    model = build(name)
    checkpointed(model, reentrant=reentrant)
    options = {"inside": inside, "autocast": autocast}
    plain = step(model, **options)
    watched = step(model, aw.capture(model), **options)
    assert_same_step(plain, watched)
    assert watched[3].stacks["self"].n_layers == 3
    again = step(model, aw.capture(model, dropout=True), **options)
    assert_same_step(plain, again)
    left = again[3].weights(batch=1) != 0
    wanted = again[3].weights(batch=1)[left] * 0.8
    np.testing.assert_allclose(watched[3].weights(batch=1)[left], wanted, atol=0.02 if autocast else 1e-6)


@pytest.mark.parametrize("reentrant", [None, True, False])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("low", [None, torch.bfloat16])
def test_without_dropout_where_the_kernel_is_called_for_its_denominators(reentrant, inside, low):
    torch.manual_seed(0)
    model = tf.LlamaModel(tf.LlamaConfig(**SIZE, num_key_value_heads=2)).to(low).train()
    if reentrant is not None:
        checkpointed(model, reentrant=reentrant)
    plain = step(model, inside=inside)
    watched = step(model, aw.capture(model), inside=inside)
    assert_same_step(plain, watched)
    assert watched[3].stacks["self"].n_layers == 3
    assert watched[3].stacks["self"].layers[0].known_lse is not None


def test_what_is_kept_holds_no_graph():
    model = build("llama sdpa")
    for dropout in (False, True):
        cap = step(model, aw.capture(model, dropout=dropout), inside=False)[3]
        layer = cap.stacks["self"].layers[0]
        kept = [value for value in vars(layer).values() if isinstance(value, torch.Tensor)]
        assert kept or dropout
        assert not any(value.requires_grad or value.grad_fn for value in kept)
