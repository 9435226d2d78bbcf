"""Models whose parameters are in memory or on disk between runs, or on several devices: captured as the plain model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn

import attnwidget as aw

accelerate = pytest.importorskip("accelerate", reason="accelerate is what offloads parameters")

IDS = torch.randint(2, 50, (2, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[0, :3] = 0
SIZE = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
SPLIT = {
    "embed_tokens": "cpu",
    "rotary_emb": "cpu",
    "layers.0": "cpu",
    "layers.1": "disk",
    "layers.2": "disk",
    "layers.3": "cpu",
    "norm": "disk",
}


def llama(implementation="sdpa"):
    torch.manual_seed(0)
    config = tf.LlamaConfig(**SIZE, num_key_value_heads=2)
    return tf.LlamaModel._from_config(config, attn_implementation=implementation).eval()


def t5(implementation="sdpa"):
    torch.manual_seed(0)
    config = tf.T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
    return tf.T5Model._from_config(config, attn_implementation=implementation).eval()


def gpt():
    """Attention written by hand."""
    torch.manual_seed(0)
    return tf.OpenAIGPTModel(tf.OpenAIGPTConfig(vocab_size=50, n_embd=32, n_layer=2, n_head=4)).eval()


def to_cpu(model, tmp_path):
    return accelerate.cpu_offload(model, execution_device=torch.device("cpu"))


def to_disk(model, tmp_path):
    return accelerate.disk_offload(model, tmp_path / "offload", execution_device=torch.device("cpu"))


def dispatched(model, tmp_path):
    return accelerate.dispatch_model(model, dict(SPLIT), main_device="cpu", offload_dir=tmp_path / "offload")


def loaded(device_map):
    def load(model, tmp_path):
        model.save_pretrained(tmp_path / "saved")
        kind, implementation = type(model), model.config._attn_implementation
        return kind.from_pretrained(
            tmp_path / "saved",
            device_map=device_map,
            offload_folder=tmp_path / "offload",
            attn_implementation=implementation,
        ).eval()

    return load


WAYS = {
    "cpu": (to_cpu, "cpu, offloaded"),
    "disk": (to_disk, "cpu, offloaded"),
    "split": (dispatched, "cpu, partly offloaded"),
    "loaded split": (loaded(SPLIT), "cpu, partly offloaded"),
    "loaded on disk": (loaded({"": "disk"}), "cpu, offloaded"),
    "loaded auto": (loaded("auto"), "cpu"),
}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("way", WAYS)
def test_an_offloaded_model(way, implementation, tmp_path):
    if way == "loaded auto" and torch.cuda.is_available():
        pytest.skip("it is loaded to the GPU where there is one")
    offload, where = WAYS[way]
    plain, eager = llama(implementation), llama("eager")
    model = offload(copy.deepcopy(plain), tmp_path)
    places = [parameter.device for parameter in model.parameters()]
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    with torch.no_grad():
        output = plain(**inputs).last_hidden_state
        wanted = torch.stack(eager(**inputs, output_attentions=True).attentions).numpy()
        with aw.capture(model) as cap:
            seen = model(**inputs).last_hidden_state
    assert torch.equal(output, seen)
    np.testing.assert_allclose(cap.weights(batch=1), wanted[:, 1], atol=1e-6)
    assert [info.path for info in cap.stacks["self"].infos] == [f"layers.{number}.self_attn" for number in range(4)]
    assert {layer.q.device.type for layer in cap.stacks["self"].layers} == {"cpu"}
    assert len({id(layer.mask) for layer in cap.stacks["self"].layers}) == 1
    wrapped = aw.AttentionModel(model, name="tiny")
    assert repr(wrapped) == f"AttentionModel('tiny', LlamaModel on {where}, attention {implementation}, tokenizer none)"
    cap = wrapped.capture(inputs)
    np.testing.assert_allclose(cap.weights(batch=0), wanted[:, 0, :, 3:, 3:], atol=1e-6)
    np.testing.assert_array_equal(wrapped.capture(IDS, store="disk").weights(), wrapped.capture(IDS).weights())
    assert [parameter.device for parameter in model.parameters()] == places


@pytest.mark.parametrize("way", ["cpu", "disk", "loaded on disk"])
def test_an_offloaded_encoder_decoder(way, tmp_path):
    plain = t5()
    model = WAYS[way][0](copy.deepcopy(plain), tmp_path)
    inputs = {"input_ids": IDS, "decoder_input_ids": IDS[:, :4]}
    cap = aw.AttentionModel(model).capture(inputs)
    with torch.no_grad():
        found = t5("eager")(**inputs, output_attentions=True)
    wanted = {"encoder": found.encoder_attentions, "decoder": found.decoder_attentions, "cross": found.cross_attentions}
    assert set(cap.stacks) == set(wanted)
    for name, attentions in wanted.items():
        np.testing.assert_allclose(cap.weights(stack=name), torch.stack(attentions)[:, 0].numpy(), atol=1e-6)


@pytest.mark.parametrize("way", ["cpu", "disk", "loaded on disk"])
def test_an_offloaded_model_whose_softmax_is_by_hand(way, tmp_path):
    plain = gpt()
    model = WAYS[way][0](copy.deepcopy(plain), tmp_path)
    with torch.no_grad():
        wanted = torch.stack(plain(IDS, output_attentions=True).attentions)
    cap = aw.AttentionModel(model).capture(IDS)
    np.testing.assert_allclose(cap.weights(batch=1), wanted[:, 1].numpy(), atol=1e-6)


def test_a_model_without_values_is_refused():
    with torch.device("meta"):
        model = tf.LlamaModel(tf.LlamaConfig(**SIZE))
    wrapped = aw.AttentionModel(model)
    assert repr(wrapped) == "AttentionModel('LlamaModel', LlamaModel on meta, attention sdpa, tokenizer none)"
    with pytest.raises(
        ValueError, match="the parameters of LlamaModel are on the meta device, which holds no values: l"
    ):
        wrapped.capture(IDS)
    with pytest.raises(aw.CaptureError) as error, aw.capture(model):
        model(IDS.to("meta"))
    assert "attention of layers.0.self_attn (sdpa) could not be recorded: it ran on the meta device, which" in str(
        error.value
    )


def test_parts_without_hooks_take_inputs_where_the_first_parameter_is():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2, device="meta")

    assert repr(aw.AttentionModel(Half())) == "AttentionModel('Half', Half on cpu, partly offloaded, tokenizer none)"
    assert repr(aw.AttentionModel(nn.Identity())) == "AttentionModel('Identity', Identity on cpu, tokenizer none)"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="layers on several devices need two GPUs")
def test_layers_on_different_devices():
    plain = llama()
    spread = {name: 0 if name in ("embed_tokens", "rotary_emb", "layers.0", "layers.1") else 1 for name in SPLIT}
    model = accelerate.dispatch_model(copy.deepcopy(plain), spread)
    cap = aw.AttentionModel(model).capture({"input_ids": IDS, "attention_mask": MASK})
    layers = cap.stacks["self"].layers
    assert [str(layer.q.device) for layer in layers] == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    assert set(cap.held) == {"memory", "cuda:0", "cuda:1"}
    assert len({id(layer.mask) for layer in layers}) == 1
    wanted = aw.AttentionModel(plain).capture({"input_ids": IDS, "attention_mask": MASK})
    np.testing.assert_allclose(cap.weights(batch=1), wanted.weights(batch=1), atol=1e-5)
