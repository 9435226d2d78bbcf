"""No false peace: what ran and was not seen is said by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional

import attnwidget as aw


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return self.mix(q, k, v).transpose(1, 2).flatten(2)

    def mix(self, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v)


class HiddenAttention(SelfAttention):
    """As a kernel of somebody's own: nothing that torch could tell of."""

    def mix(self, q, k, v):
        weights = np.exp(np.einsum("bhqd,bhkd->bhqk", *(part.detach().numpy() for part in (q, k))))
        return torch.from_numpy(weights / weights.sum(-1, keepdims=True)) @ v


class MambaMixer(nn.Linear):
    pass


class Net(nn.Module):
    def __init__(self, *mixers, skipped=()):
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"mixer": mixer, "mlp": nn.Linear(8, 8)}) for mixer in mixers)
        self.skipped = skipped

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            if number not in self.skipped:
                x = x + layer["mlp"](layer["mixer"](x))
        return x


X = torch.randn(1, 5, 8)


def test_attention_that_runs_where_python_cannot_see_it_is_a_warning_that_names_it():
    net = Net(SelfAttention(), HiddenAttention(), SelfAttention(), HiddenAttention())
    text = "layers.*.mixer (HiddenAttention; * = 1, 3) ran, and no attention of theirs was seen"
    with pytest.warns(aw.AttentionWarning) as warned, aw.capture(net) as cap:
        net(X)
    assert text in str(warned[0].message)
    assert cap.notes == (text,)
    assert cap.stacks["self"].n_layers == 2


@pytest.mark.parametrize(
    "name",
    [
        "MHSA",
        "MSABlock",
        "WindowMSA",
        "SWMSA",
        "FlashMHA",
        "CrossMha",
        "mhsa_block",
        "MHA2d",
        "CrossMultiheadAttention",
        "TransformerConv",
        "GATv2Conv",
    ],
)
def test_short_names_of_attention_are_known(name):
    net = Net(SelfAttention(), type(name, (HiddenAttention,), {})())
    with pytest.warns(aw.AttentionWarning, match=f"layers.*.mixer .{name}; ") as warned, aw.capture(net):
        net(X)
    assert len(warned) == 1


@pytest.mark.parametrize("name", ["Mamsa", "MSATransition", "MSAEmbedder", "Samsara", "COMSAT", "Msaker", "AlphaMHC"])
def test_names_that_only_hold_those_letters_are_no_cause_for_alarm(name):
    net = Net(SelfAttention(), type(name, (HiddenAttention,), {})())
    with aw.capture(net) as cap:
        net(X)
    assert cap.notes == ("layers.* (ModuleDict; * = 1) hold no softmax attention and so no weights",)


def test_layers_of_another_kind_are_named_and_no_cause_for_alarm():
    net = Net(MambaMixer(8, 8), SelfAttention(), MambaMixer(8, 8))
    with aw.capture(net) as cap:
        net(X)
    assert cap.notes == ("layers.*.mixer (MambaMixer; * = 0, 2) hold no softmax attention and so no weights",)
    assert f"note: {cap.notes[0]}" in repr(cap)


def test_layers_that_did_not_run_are_no_concern():
    net = Net(SelfAttention(), HiddenAttention(), MambaMixer(8, 8), skipped=(1, 2))
    with aw.capture(net) as cap:
        net(X)
    assert cap.notes == ()


def test_a_hybrid_model():
    model = tf.JambaModel(
        tf.JambaConfig(
            vocab_size=60, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=32, num_experts=2, num_experts_per_tok=1, attn_layer_period=3, attn_layer_offset=1,
            use_mamba_kernels=False, mamba_d_state=4, mamba_dt_rank=4,
        )
    ).eval()  # fmt: skip
    cap = aw.AttentionModel(model).capture(torch.arange(5, 17)[None])
    assert [info.path for info in cap.stacks["self"].infos] == ["layers.1.self_attn"]
    assert cap.notes == ("layers.*.mamba (JambaMambaMixer; * = 0, 2-3) hold no softmax attention and so no weights",)


def test_a_text_alone_leaves_the_vision_tower_unmentioned():
    side = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    config = tf.CLIPConfig(
        text_config={**side, "vocab_size": 60, "max_position_embeddings": 64, "eos_token_id": 2},
        vision_config={**side, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    model = tf.CLIPModel(config).eval()
    with torch.no_grad(), aw.capture(model) as cap:
        model.get_text_features(torch.arange(5, 17)[None])
    assert cap.notes == ()


class AttentionOutput(nn.Linear):
    """As BERT's kin call what comes after the weights."""


class AttentionLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = SelfAttention()
        self.output = AttentionOutput(8, 8)

    def forward(self, x):
        return self.output(self.inner(x))


def test_parts_of_an_attention_that_was_seen_are_no_attention_of_their_own():
    net = Net(AttentionLayer(), AttentionLayer())
    with aw.capture(net) as cap:
        net(X)
    assert cap.stacks["self"].n_layers == 2
    assert not cap.notes


def test_what_comes_after_an_attention_is_none_by_its_name():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.output = SelfAttention(), AttentionOutput(8, 8)

        def forward(self, x):
            return self.output(self.mix(x))

    with aw.capture(net := Net(Layer(), Layer())) as cap:
        net(X)
    assert not cap.notes


@torch.jit.script
def scripted_attention(q, k, v):
    return torch.matmul(torch.softmax(torch.matmul(q, k.transpose(-1, -2)) * 0.5, -1), v)


@torch.jit.script
def scripted_softmax(scores):
    return torch.softmax(scores * 0.5, -1)


@torch.jit.script
def scripted_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def helper(q, k, v):
    return scripted_attention(q, k, v)


class Mixer(SelfAttention):
    def mix(self, q, k, v):
        return scripted_attention(q, k, v)


class ByHelper(SelfAttention):
    def mix(self, q, k, v):
        return helper(q, k, v)


class Holding(SelfAttention):
    def __init__(self):
        super().__init__()
        self.run = scripted_attention

    def mix(self, q, k, v):
        return self.run(q, k, v)


@pytest.mark.parametrize("kind", [Mixer, ByHelper, Holding])
def test_attention_in_a_scripted_function_is_a_warning_that_names_it(kind):
    kind = type("Mixes", (kind,), {})  # by its name it could be anything
    net = Net(kind(), SelfAttention(), kind())
    text = (
        "scripted_attention, a TorchScript function called by layers.*.mixer (Mixes; * = 0, 2), takes a softmax that "
        "Python cannot see: if it is attention, it is not in this capture"
    )
    with pytest.warns(aw.AttentionWarning) as warned, aw.capture(net) as cap:
        net(X)
    assert text in str(warned[0].message)
    assert text in cap.notes


def test_a_scripted_softmax_alone_is_a_note():
    class Mixes(SelfAttention):
        def mix(self, q, k, v):
            return scripted_softmax(q @ k.mT) @ v

    net = Net(Mixes(), SelfAttention())
    with aw.capture(net) as cap:
        net(X)
    assert any(
        note.startswith("scripted_softmax, a TorchScript function called by layers.*.mixer") for note in cap.notes
    )


def test_scripted_functions_without_a_softmax_are_no_concern():
    class Mlp(nn.Linear):
        def forward(self, x):
            return scripted_gelu(super().forward(x))

    net = nn.Sequential(SelfAttention(), Mlp(8, 8))
    with aw.capture(net) as cap:
        net(X)
    assert not cap.notes


def test_alone_it_is_an_error_that_names_it():
    net = Mixer()
    with pytest.raises(aw.CaptureError) as error, aw.capture(net):
        net(X)
    assert (
        "scripted_attention, a TorchScript function called by Mixer (Mixer), takes a softmax that Python cannot see: "
        "call the function that it was made from." in str(error.value)
    )
