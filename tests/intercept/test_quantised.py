"""Models with 8-bit weights: the attention they computed, and outputs as without capture."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn

import attnwidget as aw

IDS = torch.randint(2, 50, (1, 12), generator=torch.Generator().manual_seed(0))
SIZE = {"vocab_size": 50, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("llama")
    tf.LlamaModel(tf.LlamaConfig(**SIZE, num_key_value_heads=2)).save_pretrained(path)
    return path


def int8(folder, implementation):
    """LLM.int8() of bitsandbytes, which also runs on the CPU."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is what loads a model in 8 bits")
    pytest.importorskip("accelerate", reason="transformers loads a model in 8 bits with it")
    config = tf.BitsAndBytesConfig(load_in_8bit=True)
    model = tf.LlamaModel.from_pretrained(
        folder, quantization_config=config, device_map="cpu", attn_implementation=implementation
    )
    assert model.layers[0].self_attn.q_proj.weight.dtype == torch.int8
    return model.eval()


def dynamic(folder, implementation):
    """torch's own dynamic quantisation of every linear layer."""
    model = tf.LlamaModel.from_pretrained(folder, attn_implementation=implementation).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao moves to a package of its own
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert quantised.layers[0].self_attn.q_proj.weight().dtype == torch.qint8
    return quantised


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*inputs will be cast:UserWarning")
@pytest.mark.parametrize("load", [int8, dynamic])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_weights_of_an_8_bit_model(folder, load, implementation):
    model, eager = load(folder, implementation), load(folder, "eager")
    with torch.no_grad():
        plain = model(IDS).last_hidden_state
        with aw.capture(model) as cap:
            seen = model(IDS).last_hidden_state
        wanted = torch.cat(eager(IDS, output_attentions=True).attentions).float().numpy()
        exact = tf.LlamaModel.from_pretrained(folder, attn_implementation="eager")
        unquantised = torch.cat(exact.eval()(IDS, output_attentions=True).attentions).numpy()
    assert torch.equal(plain, seen)
    np.testing.assert_allclose(cap.weights(), wanted, atol=1e-5)
    assert np.abs(cap.weights() - unquantised).max() > 1e-5, "the weights are those of the quantised model"
    assert all(check.ok for check in cap.verify().layers)
    wrapped = aw.AttentionModel(model).capture(IDS)
    np.testing.assert_array_equal(wrapped.weights(), cap.weights())
