"""Candidates, and logits taken apart: sums, the same by hand, and models that cannot be."""

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from handmade import bert, results_changed

import attnwidget as aw

IDS = tiny.ids(1, 9)


def neox():
    """Attention and MLP side by side, from the same states."""
    torch.manual_seed(0)
    config = tf.GPTNeoXConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.3,
    )
    return tf.GPTNeoXForCausalLM._from_config(config).eval()


def opt():
    """Its MLP is two maps of the layer itself, over tokens laid end to end."""
    torch.manual_seed(0)
    config = tf.OPTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=32,
        word_embed_proj_dim=32,
        vocab_size=50,
        init_std=0.3,
        bos_token_id=0,
        eos_token_id=2,
    )
    return tf.OPTForCausalLM._from_config(config).eval()


def gemma():
    """An RMSNorm that keeps its weight less 1, scaled embeddings, a head size that is not size / heads."""
    torch.manual_seed(0)
    config = tf.GemmaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.3,
    )
    return tf.GemmaForCausalLM._from_config(config).eval()


def shaken(model):
    """The same model with norms and biases that do something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize(
    "make", [tiny.gpt2, tiny.llama, neox, opt, gemma], ids=["gpt2", "llama", "neox", "opt", "gemma"]
)
def test_parts_add_up_to_the_logit(make):
    model = shaken(make())
    with torch.no_grad():
        logits = model(IDS).logits[0].double()
    asked = aw.AttentionModel(model)
    for position, versus in ((-1, None), (4, 11)):
        found = asked.logit_attribution(IDS, token=7, versus=versus, position=position)
        expected = float(logits[position, 7] - (0 if versus is None else logits[position, versus]))
        np.testing.assert_allclose([found.logit, found.total], expected, rtol=1e-4, atol=1e-4)
        assert found.position == position % 9
        assert np.abs(found.heads).min() > 0
    assert not any(part._forward_hooks for part in model.modules())


def test_a_head_adds_what_its_projected_result_is_worth_to_the_output_layer():
    model = shaken(tiny.gpt2())
    states, results = [], []
    block = model.transformer.h[1]
    handle = model.transformer.ln_f.register_forward_pre_hook(lambda _, args: states.append(args[0][0, 5]))
    with results_changed(block.attn.c_proj, lambda rows: results.append(rows[5, 16:24].clone())), torch.no_grad():
        model(IDS)
    handle.remove()
    added = results[0] @ block.attn.c_proj.weight[16:24]  # head 2
    norm = model.transformer.ln_f
    scale = torch.sqrt(states[0].var(unbiased=False) + norm.eps)
    expected = ((added - added.mean()) / scale * norm.weight) @ model.lm_head.weight[7]
    found = aw.AttentionModel(model).logit_attribution(IDS, token=7, position=5)
    np.testing.assert_allclose(found.heads[1, 2], expected.item(), rtol=1e-4)


def test_the_last_layer_of_a_model_without_mlps_is_its_ablation_with_the_scale_frozen():
    model = tiny.llama(1)
    torch.nn.init.zeros_(model.model.layers[0].mlp.down_proj.weight)
    states = []
    handle = model.model.norm.register_forward_pre_hook(lambda _, args: states.append(args[0][0, -1].double()))
    asked = aw.AttentionModel(model)
    found = asked.logit_attribution(IDS, token=7)
    zeroed = asked.ablate(IDS, metric="logits", token=7, at_once=1)
    handle.remove()
    whole, *without = (float(state.square().mean().sqrt()) for state in states[2:])
    after = (zeroed.baseline + zeroed.values[0]) * np.array(without) / whole
    np.testing.assert_allclose(zeroed.baseline - after, found.heads[0], rtol=1e-3, atol=1e-5)


def test_candidates_are_the_likeliest_tokens():
    model = tiny.llama()
    found = aw.AttentionModel(model).candidates(IDS, position=3, k=4)
    with torch.no_grad():
        probabilities = model(IDS).logits[0, 3].softmax(-1)
    best = probabilities.topk(4)
    assert [row.id for row in found] == best.indices.tolist()
    np.testing.assert_allclose([row.probability for row in found], best.values, rtol=1e-5)
    assert list(found.to_pandas().columns) == ["token", "id", "probability", "logit"]
    assert repr(found).startswith(f"at position 3, '{int(IDS[0, 3])}':\nprobability")
    assert len(found[1:]) == 3
    with pytest.raises(ValueError, match="k is 0; expected 1 candidate or more"):
        aw.AttentionModel(model).candidates(IDS, k=0)
    with pytest.raises(ValueError, match="hold 2 examples; expected one text"):
        aw.AttentionModel(model).candidates(tiny.ids(2, 4))


def gemma2():
    config = tf.Gemma2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=1.0,
    )
    return tf.Gemma2ForCausalLM._from_config(config).eval()


def granite():
    config = tf.GraniteConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        vocab_size=50,
        residual_multiplier=0.5,
    )
    return tf.GraniteForCausalLM._from_config(config).eval()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bert, r"what bert\.encoder\.layer\.0 adds to its states is not .* \(post-norm, as BERT does\)"),
        (gemma2, r"its logits are not what lm_head gives: something bounds or scales them"),
        (granite, r"what model\.layers\.0 adds to its states is not the output of model\.layers\.0\.self_attn\.o_proj"),
        (tiny.bart, r"it has 3 stacks of attention .* expected is one that adds to one residual stream"),
    ],
)
def test_models_that_cannot_be_taken_apart_say_why(make, words):
    torch.manual_seed(0)
    inputs = {"input_ids": IDS, "decoder_input_ids": tiny.ids(1, 5)} if make is tiny.bart else IDS
    with pytest.raises(aw.CaptureError, match=f"cannot be attributed to heads: {words}"):
        aw.AttentionModel(make()).logit_attribution(inputs, token=7)


def test_tables():
    found = aw.AttentionModel(tiny.gpt2()).logit_attribution(IDS, token=7, versus=9)
    table = found.to_pandas()
    np.testing.assert_allclose(table["contribution"].sum(), found.total)
    assert table[(table["part"] == "head") & (table["layer"] == 2)]["contribution"].tolist() == found.heads[2].tolist()
    assert repr(found).startswith("logit of '7' less that of '9' at position 8: ")
    assert found.sorted()[0][2] == found.heads.flat[np.abs(found.heads).argmax()]
