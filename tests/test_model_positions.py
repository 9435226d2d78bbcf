"""Models that run more, or fewer, positions than there are tokens: names are never put to other tokens."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

import attnwidget as aw
from attnwidget.intercept.forecast import estimate
from attnwidget.intercept.terms import Terms

N_SOFT, N = 4, 7
IDS = torch.randint(5, 60, (2, N), generator=torch.Generator().manual_seed(0))
PADDED = torch.ones_like(IDS)
PADDED[1, 5:] = 0
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}


class SoftPrompt(nn.Module):
    """Prompt tuning (Lester et al. 2021): learned vectors in front of the text's, of which no mask tells."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lm = tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=60, **SIZE))
        self.config = self.lm.config
        self.prompt = nn.Parameter(torch.randn(N_SOFT, 32))

    def forward(self, input_ids, attention_mask=None):
        count = len(input_ids)
        text = self.lm.get_input_embeddings()(input_ids)
        both = torch.cat([self.prompt[None].expand(count, -1, -1), text], 1)
        if attention_mask is not None:
            attention_mask = torch.cat([torch.ones(count, N_SOFT, dtype=torch.long), attention_mask], 1)
        return self.lm(inputs_embeds=both, attention_mask=attention_mask, use_cache=False).logits


WORDS = [f"{one}{other}" for one in "abcdef" for other in "ghijklmnop"]


def words():
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=WORDS[1]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tf.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=WORDS[0], unk_token=WORDS[1])


@pytest.fixture(scope="module")
def soft():
    return SoftPrompt().eval()


@pytest.mark.parametrize(
    "given",
    [
        " ".join(WORDS[10:17]),
        [" ".join(WORDS[10:17]), " ".join(WORDS[20:22])],
        {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)},
        {"input_ids": IDS, "attention_mask": PADDED},
    ],
    ids=["a text", "texts", "a mask", "a mask with padding"],
)
def test_positions_before_the_tokens_are_shown_with_all_others(soft, given):
    cap = aw.AttentionModel(soft, words()).capture(given)
    assert cap.tokens == [str(number) for number in range(N + N_SOFT)]
    with torch.no_grad(), aw.capture(soft) as whole:
        if isinstance(given, dict):
            soft(**given)
        else:
            soft(**words()(given, return_tensors="pt", padding=True, return_token_type_ids=False))
    np.testing.assert_array_equal(cap.weights(), whole.weights())
    (note,) = cap.notes
    assert note == (
        "stack 'self' has 11 queries, and the tokens or the mask that were given are 7: its queries are numbered, and "
        "no padding is cut off (tokens= and key_tokens= name them)"
    )


def test_names_of_a_person_must_fit(soft):
    given = {"input_ids": IDS[:1], "attention_mask": torch.ones_like(IDS[:1])}
    named = [f"soft {number}" for number in range(N_SOFT)] + list("abcdefg")
    assert aw.AttentionModel(soft).capture(given, tokens=named).tokens == named
    with pytest.raises(
        aw.CaptureError, match="tokens of example 0 hold 7 tokens and the attention of stack 'self' has"
    ):
        aw.AttentionModel(soft).capture(given, tokens=list("abcdefg"))


def test_a_mask_over_samples_of_sound():
    config = tf.Wav2Vec2Config(
        **SIZE, conv_dim=(16, 16), conv_stride=(4, 4), conv_kernel=(8, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model, sound = aw.AttentionModel(tf.Wav2Vec2Model(config).eval()), torch.randn(2, 400)
    whole = torch.ones(2, 400, dtype=torch.long)
    cap = model.capture({"input_values": sound, "attention_mask": whole})
    assert cap.stacks["self"].size_text() == "2 examples of 23 tokens"
    assert not cap.notes
    whole[1, 200:] = 0
    cap = model.capture({"input_values": sound, "attention_mask": whole})
    assert not cap.allowed(0, 0, batch=1)[:, -1].any()
    assert "the mask that were given are 400" in cap.notes[0]


def test_padding_is_cut_off_as_before_where_positions_are_tokens():
    model = aw.AttentionModel(tiny.llama(2), words())
    cap = model.capture({"input_ids": IDS % 50, "attention_mask": PADDED})
    assert [len(names) for names in cap.stacks["self"].query_tokens] == [7, 5]
    assert not cap.notes


@pytest.mark.skipif(not hasattr(tf, "Gemma4TextConfig"), reason="older transformers has no such model")
def test_a_config_that_has_no_one_size_of_heads():
    config = tf.Gemma4TextConfig(
        **SIZE, vocab_size=60, vocab_size_per_layer_input=60, hidden_size_per_layer_input=8, num_key_value_heads=2
    )
    torch.manual_seed(0)
    model = tf.Gemma4ForCausalLM(config).eval()
    cap = aw.AttentionModel(model).capture(IDS)
    assert sum(stack.n_layers for stack in cap.stacks.values()) == 2
    cap = aw.AttentionModel(model).generate(IDS[:1], max_new_tokens=3, do_sample=False)
    assert cap.stacks["self"].size_text() == f"{N + 2} tokens"
    assert estimate(model, {"input_ids": IDS}, Terms()) is None


SIGLIP = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}


@pytest.fixture(scope="module")
def siglip():
    """As many patches as tokens."""
    torch.manual_seed(0)
    vision = tf.SiglipVisionConfig(**SIGLIP, image_size=12, patch_size=4)  # 9 patches
    text = tf.SiglipTextConfig(**SIGLIP, vocab_size=60, max_position_embeddings=9, projection_size=32)
    return tf.SiglipModel(tf.SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())).eval()


def pictures_and_text(n_pictures=2):
    ids = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": torch.randn(n_pictures, 3, 12, 12)}


@pytest.mark.parametrize("n_pictures", [2, 3])
def test_patches_that_are_as_many_as_tokens_have_no_names_of_text(siglip, n_pictures):
    cap = aw.AttentionModel(siglip, words()).capture(pictures_and_text(n_pictures))
    text, vision = cap.stacks["text"], cap.stacks["vision"]
    assert [len(names) for names in text.query_tokens] == [9, 5]
    assert text.query_tokens[0].text[0] in WORDS
    assert vision.n_examples == n_pictures
    assert all(list(names) == [str(number) for number in range(9)] for names in vision.query_tokens)


def test_names_of_a_person_may_be_those_of_patches_and_must_be_of_something(siglip):
    names = [f"patch {number}" for number in range(9)]
    cap = aw.AttentionModel(siglip).capture(pictures_and_text(), tokens=names)
    assert list(cap.stacks["vision"].query_tokens[0]) == names
    with pytest.raises(aw.CaptureError, match="tokens hold 4 names, and no stack has as many tokens: 'vision' has"):
        aw.AttentionModel(siglip).capture(pictures_and_text(), tokens=list("abcd"))


def test_memory_that_is_as_long_as_the_target_is_numbered():
    torch.manual_seed(0)
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 2, 16, batch_first=True), 1).eval()
    x = torch.randn(1, 4, 16)
    with torch.no_grad(), aw.capture(model, tokens=list("abcd")) as cap:
        model(x, torch.randn(1, 4, 16))
    assert cap.stacks["cross"].query_tokens[0].text == tuple("abcd")
    assert list(cap.stacks["cross"].key_tokens[0]) == ["0", "1", "2", "3"]


def two_sided():
    torch.manual_seed(0)
    return tf.BartModel(
        tf.BartConfig(
            vocab_size=60, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize("part", ["get_encoder", "get_decoder"])
def test_either_side_alone_names_its_tokens(part):
    model = getattr(two_sided(), part)() if hasattr(tf.BartModel, part) else getattr(two_sided(), part[4:])
    cap = aw.AttentionModel(model, words()).capture({"input_ids": IDS, "attention_mask": PADDED})
    assert [len(names) for names in cap.stacks["self"].query_tokens] == [7, 5]
    assert cap.tokens[0] in WORDS


def test_an_encoder_without_ids_does_not_get_the_decoders_names():
    given = {"inputs_embeds": torch.randn(1, 5, 32), "decoder_input_ids": IDS[:1, :5]}
    cap = aw.AttentionModel(two_sided(), words()).capture(given)
    numbers = ["0", "1", "2", "3", "4"]
    assert list(cap.stacks["encoder"].query_tokens[0]) == numbers
    assert list(cap.stacks["cross"].key_tokens[0]) == numbers
    assert cap.stacks["decoder"].query_tokens[0].text[0] in WORDS
    assert cap.notes == ()
