"""generate() of models that run something else than one sequence of ids: codebooks of a sound, streams, windows."""

from __future__ import annotations

import copy

import generation as small
import numpy as np
import pytest
import torch
import transformers as tf

import attnwidget as aw

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32, "head_dim": 8}


def eager_of(model):
    eager = type(model)._from_config(copy.deepcopy(model.config), attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    return eager


@pytest.mark.skipif(not hasattr(tf, "DiaConfig"), reason="older transformers has no Dia")
@pytest.mark.parametrize("options", [{}, {"guidance_scale": 3.0}], ids=["plain", "guided"])
def test_several_ids_at_each_position(options):
    """Dia's decoder reads nine codebooks at once; with guidance, an example with the text and one without."""
    torch.manual_seed(0)
    encoder = {**SMALL, "num_key_value_heads": 4, "vocab_size": 64, "max_position_embeddings": 64}
    decoder = {**encoder, "vocab_size": 1030, "num_key_value_heads": 2, "cross_num_attention_heads": 4}
    decoder |= {"cross_head_dim": 8, "cross_num_key_value_heads": 4, "cross_hidden_size": 32}
    model = tf.DiaForConditionalGeneration(tf.DiaConfig(encoder_config=encoder, decoder_config=decoder)).eval()
    text, steps, texts = torch.randint(3, 60, (1, 9)), [], []
    decoding = model.model.decoder.register_forward_pre_hook(
        lambda _module, _args, given: steps.append(given["input_ids"]), with_kwargs=True
    )
    encoding = model.model.encoder.register_forward_pre_hook(
        lambda _module, _args, given: texts.append(given["input_ids"]), with_kwargs=True
    )
    with aw.capture(model) as cap:
        model.generate(text, max_new_tokens=12, **options)
    decoding.remove()
    encoding.remove()
    codes = torch.cat(steps, dim=1)
    assert codes.shape == (1 + len(options), 12, 9)
    with torch.no_grad():
        wanted = eager_of(model)(texts[0], decoder_input_ids=codes, output_attentions=True)
    assert "the ids that ran are not those that generate() returned: every position that ran is shown" in cap.notes
    for stack, weights in (("decoder", wanted.decoder_attentions), ("cross", wanted.cross_attentions)):
        for example in range(len(codes)):
            found = cap.weights(batch=example, stack=stack)
            np.testing.assert_allclose(found, torch.stack(weights)[:, example], atol=1e-5)
    assert cap.verify().ok


@pytest.mark.parametrize("seed", range(6))
def test_a_key_that_stands_for_no_token_is_not_taken_for_one_that_a_cache_has_rounded(seed):
    """The streams of ProphetNet look at a key of their own behind those of tokens, another in each pass."""
    torch.manual_seed(seed)
    sides = {f"num_{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    feed_forward = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    config = tf.ProphetNetConfig(vocab_size=99, hidden_size=16, max_position_embeddings=64, **sides, **feed_forward)
    model, ids = tf.ProphetNetForConditionalGeneration(config).eval(), torch.randint(5, 90, (1, 9))
    text = "which do not continue the .* keys of the call before.* where keys stand for no tokens"
    with pytest.raises(aw.CaptureError, match=text), aw.capture(model):
        model.generate(ids, max_new_tokens=6)


def test_windows_of_a_long_sound_are_sequences_of_their_own():
    torch.manual_seed(0)
    model = small.whisper()
    model.generation_config.no_timestamps_token_id = 40
    text = "model.encoder ran again after generate.. had ended its first sequence .* give each call one window"
    with pytest.raises(aw.CaptureError, match=text), aw.capture(model):
        model.generate(
            torch.randn(1, 8, 100), attention_mask=torch.ones(1, 100).long(), return_timestamps=True, max_new_tokens=6
        )
