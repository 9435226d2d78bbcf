"""Everything is made on the model's device, and read from there: on a device that is not there, see `pretended`."""

from __future__ import annotations

import copy

import numpy as np
import pretended
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.attention import FactoredAttention

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 50}
MADE = {
    "gpt2": lambda: tf.GPT2Model(tf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50)),
    "llama": lambda: tf.LlamaModel(tf.LlamaConfig(**SMALL, num_key_value_heads=2)),
    "bert": lambda: tf.BertModel(tf.BertConfig(**SMALL)),
    "mistral": lambda: tf.MistralModel(tf.MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=4)),
    "gemma2": lambda: tf.Gemma2Model(tf.Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8, sliding_window=4)),
    "t5": lambda: tf.T5Model(tf.T5Config(**T5, decoder_start_token_id=0)),
    "deberta": lambda: tf.DebertaV2Model(
        tf.DebertaV2Config(**SMALL, relative_attention=True, position_buckets=4, pos_att_type=["p2c", "c2p"])
    ),
}
IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(0))
PADDING = (torch.arange(9) >= torch.tensor([[0], [3], [1]])).long()


class ByKernel(nn.Module):
    def forward(self, q, k, v, mask):
        return functional.scaled_dot_product_attention(q, k, v, mask)


class ByHand(nn.Module):
    def forward(self, q, k, v, mask):
        scores = (q @ k.mT).masked_fill(~mask, -torch.inf)
        return functional.softmax(scores, -1) @ v


class Bounded(nn.Module):
    """With numbers that lie on the device, as XGLM has them."""

    def forward(self, q, k, v, mask):
        lowest = torch.tensor(torch.finfo(q.dtype).min, device=q.device)
        scores = torch.where(mask, q @ k.mT / torch.tensor(8.0, device=q.device).sqrt(), lowest)
        return functional.softmax(torch.max(scores, lowest), -1) @ v


class Multihead(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(16, 2, batch_first=True, add_bias_kv=True)

    def forward(self, x, hidden):
        return self.inner(x, x, x, key_padding_mask=hidden)


def compare(monkeypatch, module, run):
    """Capture here and there: weights, scores, tiles and notes are the same."""
    with torch.no_grad(), aw.capture(module) as here:
        run(module)
    away = pretended.moved(copy.deepcopy(module))
    with pretended.gpu(monkeypatch), torch.no_grad():
        with aw.capture(away) as cap:
            run(away)
        assert "cuda:0" in repr(cap)
        assert here.stacks.keys() == cap.stacks.keys()
        kinds = [[type(layer) for stack in one.stacks.values() for layer in stack.layers] for one in (here, cap)]
        assert kinds[0] == kinds[1]
        for name, stack in here.stacks.items():
            for layer in range(stack.n_layers):
                where = {"layer": layer, "stack": name, "batch": stack.n_examples - 1}
                np.testing.assert_allclose(cap.weights(**where), here.weights(**where), atol=1e-5)
                if isinstance(stack.layers[layer], FactoredAttention):
                    np.testing.assert_allclose(cap.scores(**where), here.scores(**where), atol=1e-4)
                tiles = [one.tile(head=0, height=4, width=4, **where) for one in (cap, here)]
                np.testing.assert_allclose(*(tile.values for tile in tiles), atol=1e-5)
        assert cap.verify().ok
        cap.patterns()
    assert cap.notes == here.notes


ONLY_EAGER = {"gemma2", "deberta"}


@pytest.mark.parametrize(
    ("name", "implementation"),
    [(name, way) for name in MADE for way in ("sdpa", "eager") if way == "eager" or name not in ONLY_EAGER],
)
def test_models_of_transformers(name, implementation, monkeypatch):
    torch.manual_seed(0)
    model = MADE[name]().eval()
    model.set_attn_implementation(implementation)
    given = {"input_ids": IDS, "attention_mask": PADDING}
    if name == "t5":
        given["decoder_input_ids"] = IDS[:, :5]

    def run(module):
        module(**(given if module is model else pretended.there(given)))

    compare(monkeypatch, model, run)


@pytest.mark.parametrize("kind", [ByKernel, ByHand, Bounded])
def test_modules_of_ones_own(kind, monkeypatch):
    given = [torch.randn(2, 3, 6, 8) for _ in "qkv"]
    given.append(torch.rand(2, 1, 6, 6) > 0.3)
    given[-1][..., 0] = True
    module = kind()
    compare(monkeypatch, module, lambda one: one(*(given if one is module else pretended.there(given))))


def test_multihead(monkeypatch):
    given = torch.randn(3, 9, 16), PADDING == 0
    module = Multihead().eval()
    compare(monkeypatch, module, lambda one: one(*(given if one is module else pretended.there(given))))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "mistral"])
def test_layers_that_follow_read_nothing_from_the_device(name, monkeypatch):
    """Each read would wait for all that is queued there."""
    counts = []
    for n_layers in (2, 6):
        model = MADE[name]()
        config = copy.deepcopy(model.config)
        config.num_hidden_layers = n_layers
        away = pretended.moved(type(model)(config).eval())
        with pretended.gpu(monkeypatch), torch.no_grad():
            given = pretended.there({"input_ids": IDS, "attention_mask": PADDING})
            before = len(pretended.READS)
            with aw.capture(away) as cap:
                away(**given)
            counts.append(len(pretended.READS) - before)
        assert cap.stacks["self"].n_layers == n_layers
    assert counts[0] == counts[1]
    assert 0 < counts[0] < 12


def test_what_is_elsewhere_does_not_mix(monkeypatch):
    """Or the tests above could not fail."""
    away = pretended.Pretended(torch.ones(2))
    with pretended.gpu(monkeypatch):
        assert torch.zeros(2, device=away.device).device.type == "cuda"
        assert torch.tensor([1.0], device=away.device).is_cuda
        assert (away + 1).cpu().tolist() == [2, 2]
        with pytest.raises(RuntimeError, match="same device"):
            away + torch.ones(2)
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(away)
