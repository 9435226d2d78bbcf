"""A capture comes back from its file as it was: what is kept to the bit, tokens, layers, notes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers as tf
from captures import make_capture
from safetensors import safe_open
from tiny import bart, gpt2, llama

import attnwidget as aw
from attnwidget.attention import FramedAttention, Mask
from attnwidget.attention.segmented import SegmentedAttention

SIZE = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 60, "num_attention_heads": 4}
IDS = torch.randint(3, 50, (2, 11), generator=torch.Generator().manual_seed(0))
PADDED = {"input_ids": IDS, "attention_mask": torch.tensor([[1] * 11, [1] * 8 + [0] * 3])}


def captured(model, *args, **kwargs):
    with torch.no_grad(), aw.capture(model) as cap:
        model(*args, **kwargs)
    return cap


def assert_same(found, wanted):
    """Numbers computed from the same factors, which some processors round by where in memory these lie."""
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def assert_kept(found, wanted):
    """What a layer holds came back to the bit."""
    back, held = kept(found), kept(wanted)
    assert back.keys() == held.keys()
    assert held
    for name, tensor in held.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name


def kept(layer):
    """The numbers of each part of a layer, by name."""
    inner = getattr(layer, "windows", layer)
    return {
        f"{number} {name}": torch.as_tensor(getattr(part, name))
        for number, part in enumerate(getattr(inner, "parts", (inner,)))
        for name in ("q", "k", "known_lse", "sinks", "_weights")
        if getattr(part, name, None) is not None
    }


def swin():
    config = tf.SwinConfig(image_size=16, patch_size=2, embed_dim=8, depths=[2], num_heads=[2], window_size=4)
    torch.manual_seed(0)
    return captured(tf.SwinModel(config).eval(), torch.rand(2, 3, 16, 16))


def of_config(kind, config, inputs, kept=None):
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad(), aw.capture(model, dtype=kept) as cap:
        model(**inputs)
    return cap


def segmented():
    torch.manual_seed(0)
    q, first, second = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    mask = Mask.causal(6, 6)
    parts = [
        aw.FactoredAttention(q[:, :, :4].clone(), first, mask=Mask(4, 6, highest=0)),
        aw.FactoredAttention(q[:, :, 4:].clone(), second, mask=Mask(2, 6, highest=4)),
    ]
    return aw.AttentionCapture([aw.AttentionStack("self", [SegmentedAttention(parts, mask)])], model="steps")


CAPTURES = {
    "dense, numpy": lambda: make_capture(layers=2, examples=2, causal=True),
    "dense, float16": lambda: aw.AttentionCapture.from_weights(make_capture().weights().astype(np.float16)),
    "dense, bfloat16": lambda: aw.AttentionCapture.from_weights(torch.full((2, 3, 4, 4), 0.25, dtype=torch.bfloat16)),
    "deberta, dense in bfloat16": lambda: of_config(
        tf.DebertaV2Model,
        tf.DebertaV2Config(**SIZE, relative_attention=True, position_buckets=4, pos_att_type=["p2c", "c2p"]),
        PADDED,
        kept="bfloat16",
    ),
    "cross, dense": lambda: make_capture(queries=4, keys=9),
    "gpt2, padded": lambda: captured(gpt2(), **PADDED),
    "llama, grouped": lambda: captured(llama(), IDS),
    "llama, bfloat16": lambda: captured(llama(dtype=torch.bfloat16), IDS),
    "bart, three stacks": lambda: captured(bart(), input_ids=IDS, decoder_input_ids=IDS[:, :5]),
    "bert, eager": lambda: of_config(tf.BertModel, tf.BertConfig(**SIZE, attn_implementation="eager"), PADDED),
    "t5, relative bias": lambda: of_config(
        tf.T5Model,
        tf.T5Config(d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4, vocab_size=60),
        {"input_ids": IDS, "decoder_input_ids": IDS[:, :4]},
    ),
    "gemma2, soft cap and window": lambda: of_config(
        tf.Gemma2Model,
        tf.Gemma2Config(**SIZE, num_key_value_heads=2, head_dim=8, sliding_window=4, attn_logit_softcapping=5.0),
        PADDED,
    ),
    "gpt-oss, sinks": lambda: of_config(
        tf.GptOssModel,
        tf.GptOssConfig(
            **SIZE, num_key_value_heads=2, head_dim=8, sliding_window=4, num_local_experts=2, num_experts_per_tok=1
        ),
        {"input_ids": IDS},
    ),
    "swin, windows": swin,
    "segments": segmented,
    "generated": lambda: aw.AttentionModel(gpt2()).generate(IDS[:1], max_new_tokens=4, do_sample=False),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_comes_back_as_it_was(name, tmp_path):
    cap = CAPTURES[name]()
    path = cap.save(tmp_path / "run.safetensors")
    assert path == tmp_path / "run.safetensors"
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"], "nothing else is left behind"
    back = aw.load(path)
    assert repr(back) == repr(cap)
    assert (back.model, back.notes, back.generation, back.tokens) == (cap.model, cap.notes, cap.generation, cap.tokens)
    assert list(back.stacks) == list(cap.stacks)
    for key, stack in cap.stacks.items():
        other = back.stacks[key]
        assert (other.query_tokens, other.key_tokens) == (stack.query_tokens, stack.key_tokens)
        assert (other.query_spans, other.key_spans, other.infos) == (stack.query_spans, stack.key_spans, stack.infos)
        for layer, saved in zip(other.layers, stack.layers, strict=True):
            assert_kept(layer, saved)
        for example in range(stack.n_examples):
            where = {"batch": example, "stack": key}
            assert_same(back.weights(**where), cap.weights(**where))
            np.testing.assert_array_equal(back.allowed(**where), cap.allowed(**where))
            if "dense" not in name and name != "bert, eager":
                assert_same(back.scores(**where), cap.scores(**where))
                assert_same(back.sink_share(**where), cap.sink_share(**where))
    checks = zip(back.verify().layers, cap.verify().layers, strict=True)
    assert all((check.error is None, check.ok) == (other.error is None, other.ok) for check, other in checks)


def test_layers_of_every_kind_were_among_them():
    names = ("swin, windows", "segments", "gpt2, padded", "dense, numpy")
    kinds = {type(stack.layers[0]) for name in names for stack in CAPTURES[name]().stacks.values()}
    assert kinds == {FramedAttention, SegmentedAttention, aw.FactoredAttention, aw.DenseAttention}


def test_a_mask_that_layers_share_is_written_once_and_shared_again(tmp_path):
    cap = captured(gpt2(), **PADDED)
    back = aw.load(cap.save(tmp_path / "run"))
    masks = {id(layer.mask) for layer in back.stacks["self"].layers}
    assert len(masks) == len({id(layer.mask) for layer in cap.stacks["self"].layers}) == 1
    assert (tmp_path / "run").stat().st_size < 1.3 * cap.nbytes + 20_000


def test_a_file_is_as_large_as_what_was_kept(tmp_path):
    ids = torch.randint(3, 50, (1, 1500))
    cap = captured(gpt2(), ids)
    assert cap.save(tmp_path / "run").stat().st_size < 1.2 * cap.nbytes


def test_what_is_looked_at_is_read_from_the_file(tmp_path):
    cap = captured(llama(), IDS)
    back = aw.load(cap.save(tmp_path / "run"))
    (tmp_path / "run").unlink()  # the mapping stays while somebody holds it
    assert_kept(back.stacks["self"].layers[1], cap.stacks["self"].layers[1])
    assert_same(back.weights(layer=1), cap.weights(layer=1))
    back.close()


def test_a_capture_in_files_of_its_own_is_saved_too(tmp_path):
    model = llama()
    with torch.no_grad(), aw.capture(model, store="disk") as cap:
        model(IDS)
    assert_same(aw.load(cap.save(tmp_path / "run")).weights(), cap.weights())


def test_the_file_is_plain_safetensors_with_a_readable_header(tmp_path):
    path = captured(gpt2(), IDS).save(tmp_path / "run")
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["attnwidget"])
        assert header["version"] == 1
        names = header["stacks"][0]["layers"][0]["arrays"]
        assert file.get_slice(names["q"]).get_shape() == [2, 4, 11, 8]


def test_weights_alone_load_without_torch(tmp_path):
    cap = make_capture(causal=True)
    path = cap.save(tmp_path / "run")
    code = f"""
import sys
class No:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'transformers'): raise ImportError(f'{{name}} is not to be imported')
sys.meta_path.insert(0, No())
import attnwidget as aw
cap = aw.load({str(path)!r})
print(float(cap.weights(layer=1, head=2)[3, 1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == float(cap.weights(layer=1, head=2)[3, 1])


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path, monkeypatch):
    path = make_capture().save(tmp_path / "run")
    before = path.read_bytes()
    import safetensors.numpy

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        make_capture(layers=1).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_what_cannot_be_saved_says_why(tmp_path):
    from torch.nn.attention.flex_attention import flex_attention

    class Block(torch.nn.Module):
        def forward(self, q):
            return flex_attention(q, q, q, score_mod=lambda score, b, h, i, j: score + torch.sin(1.0 * (i * j)))

    cap = captured(Block(), torch.randn(1, 2, 8, 16))
    with pytest.raises(ValueError, match=r"self\.0 passes its scores through a function .* no code goes into a file"):
        cap.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())
    closed = make_capture()
    closed.close()
    with pytest.raises(aw.CaptureError, match="closed"):
        closed.save(tmp_path / "run")
    with pytest.raises(TypeError, match="path is int 3; expected the name of a file"):
        make_capture().save(3)
    with pytest.raises(OSError, match="nowhere"):
        make_capture().save(tmp_path / "nowhere" / "run")
