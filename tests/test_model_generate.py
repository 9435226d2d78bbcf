"""AttentionModel.generate: every form of prompt, names for what was given and what was generated, and a loud no."""

from __future__ import annotations

import generation as small
import numpy as np
import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn

import attnwidget as aw

GREEDY = {"do_sample": False, "max_new_tokens": 6}


def byte_level(**options):
    """A byte-level vocabulary of single bytes."""
    alphabet = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab={**alphabet, "<|end|>": 256}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", **options)  # noqa: S106
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = tf.GPT2Config(
        vocab_size=257, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=256, eos_token_id=256
    )
    found = tf.GPT2LMHeadModel(config).eval()
    for parameter in found.parameters():
        parameter.data.mul_(3) if parameter.ndim > 1 else None
    return aw.AttentionModel(found, byte_level(padding_side="right"))


def reference(model, ids):
    return small.eager_weights(model.model, ids)["self"]


def test_a_text(model):
    cap = model.generate("Once  upön", **GREEDY)
    encoded = model.tokenizer("Once  upön")["input_ids"]
    (ids,) = cap.generation.ids
    assert list(ids[: len(encoded)]) == encoded
    assert len(ids) == len(encoded) + 6
    assert cap.generation.prompt_lengths == (len(encoded),)
    assert cap.generation.texts == (model.tokenizer.decode(ids[len(encoded) :]),)
    tokens = cap.stacks["self"].query_tokens[0]
    assert len(tokens) == len(ids) - 1, "the last one was not run"
    assert list(tokens.pieces) == model.tokenizer.convert_ids_to_tokens(list(ids[:-1]))
    assert tokens[: len(encoded)].running_text == "Once  upön", "the prompt is the source, to the character"
    np.testing.assert_allclose(cap.weights(), reference(model, ids[:-1]), atol=1e-5)
    assert "the last token that was generated was not run by the model: it has no row and no column" in cap.notes
    assert not model.model._backward_hooks


def test_prompts_of_unequal_lengths_are_padded_on_the_left_whatever_the_tokenizer_does(model):
    texts = ["abcdefgh", "xyz", "hello"]
    cap = model.generate(texts, **GREEDY)
    assert model.tokenizer.padding_side == "right"
    assert model.tokenizer.pad_token is None
    assert cap.generation.prompt_lengths == (8, 3, 5)
    for example, text in enumerate(texts):
        alone = model.generate(text, **GREEDY)
        assert cap.generation.ids[example] == alone.generation.ids[0]
        assert cap.generation.texts[example] == alone.generation.texts[0]
        np.testing.assert_allclose(cap.weights(batch=example), alone.weights(), atol=1e-5)
        assert cap.stacks["self"].query_tokens[example] == alone.stacks["self"].query_tokens[0]


IDS = [10, 20, 30, 40]


@pytest.mark.parametrize(
    "prompt",
    [
        IDS,
        [IDS],
        torch.tensor(IDS),
        torch.tensor([IDS], dtype=torch.int32),
        np.array([IDS]),
        {"input_ids": [IDS]},
        {"input_ids": torch.tensor([IDS]), "attention_mask": torch.ones(1, 4, dtype=torch.long)},
        tf.BatchEncoding({"input_ids": np.array([IDS]), "token_type_ids": np.zeros((1, 4), int)}),
    ],
)
def test_ids_and_dicts(model, prompt):
    cap = model.generate(prompt, **GREEDY)
    assert cap.generation.ids[0][:4] == tuple(IDS)
    assert cap.tokens == model.tokenizer.convert_ids_to_tokens(list(cap.generation.ids[0][:-1]))
    assert cap.generation.prompt_lengths == (4,)


def test_without_a_tokenizer_tokens_are_numbered(model):
    cap = aw.AttentionModel(model.model).generate([IDS, IDS[:2]], **GREEDY)
    assert [list(tokens) for tokens in cap.stacks["self"].query_tokens] == [
        [str(number) for number in range(9)],
        [str(number) for number in range(7)],
    ]
    assert cap.generation.texts is None


def test_several_sequences_for_a_prompt_and_beams(model):
    torch.manual_seed(0)
    cap = model.generate(["abcdef", "xy"], do_sample=True, num_return_sequences=2, max_new_tokens=5)
    assert cap.generation.prompt_lengths == (6, 6, 2, 2)
    assert [tokens.running_text[:2] for tokens in cap.stacks["self"].query_tokens] == ["ab", "ab", "xy", "xy"]
    for example, ids in enumerate(cap.generation.ids):
        np.testing.assert_allclose(cap.weights(batch=example), reference(model, ids[:-1]), atol=1e-5)
    cap = model.generate(["abcdef", "xy"], do_sample=False, num_beams=4, num_return_sequences=2, max_new_tokens=5)
    assert "of the 8 beams that ran, those that became the returned sequences are shown" in cap.notes
    for example, ids in enumerate(cap.generation.ids):
        np.testing.assert_allclose(cap.weights(batch=example), reference(model, ids[:-1]), atol=1e-5)


def test_an_encoder_decoder_names_both_sides():
    tokenizer = byte_level(padding_side="left")
    torch.manual_seed(0)
    sides = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = tf.BartConfig(
        vocab_size=257, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32, **sides,
        pad_token_id=256, bos_token_id=256, eos_token_id=256, decoder_start_token_id=256, forced_eos_token_id=None,
    )  # fmt: skip
    model = aw.AttentionModel(tf.BartForConditionalGeneration(config).eval(), tokenizer)
    cap = model.generate(["abcd", "xy"], max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert list(cap.stacks) == ["encoder", "decoder", "cross"]
    for example, text in enumerate(["abcd", "xy"]):
        target = model.tokenizer.convert_ids_to_tokens(list(cap.generation.ids[example][:-1]))
        names = [(list(stack.query_tokens[example]), list(stack.key_tokens[example])) for stack in cap.stacks.values()]
        assert names == [(list(text), list(text)), (target, target), (target, list(text))]
    assert cap.generation.prompt_lengths == (1, 1)
    assert cap.stacks["decoder"].query_tokens[0].special[0]
    cap = model.generate(["abcd", "xy"], max_new_tokens=4, do_sample=True, num_return_sequences=3)
    assert {stack.n_examples for stack in cap.stacks.values()} == {6}
    assert [list(tokens) for tokens in cap.stacks["encoder"].query_tokens] == [list("abcd")] * 3 + [list("xy")] * 3


def test_a_cache_from_before_is_named_to_its_beginning(model):
    if not getattr(model.model, "_supports_cache_class", True):
        pytest.skip(f"GPT-2 of transformers {tf.__version__} takes no cache object")
    cache = small.dynamic_cache(model.model)
    first = model.model.generate(torch.tensor([IDS]), past_key_values=cache, **GREEDY)
    more = [*first[0].tolist(), 50, 60]
    cap = model.generate(more, past_key_values=cache, **GREEDY)
    ids = list(cap.generation.ids[0])
    stack = cap.stacks["self"]
    assert list(stack.key_tokens[0]) == model.tokenizer.convert_ids_to_tokens(ids[:-1])
    assert list(stack.query_tokens[0]) == model.tokenizer.convert_ids_to_tokens(ids[9:-1])
    assert cap.generation.prompt_lengths == (3,)
    np.testing.assert_allclose(cap.weights(), reference(model, ids[:-1])[:, :, 9:], atol=1e-5)


def test_a_model_without_a_head():
    with pytest.raises(aw.CaptureError) as error:
        aw.AttentionModel(tf.GPT2Model(tf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50))).generate([1])
    assert str(error.value) == (
        "GPT2Model (GPT2Model) cannot generate text: it has no language modelling head. Load it with one: "
        "AttentionModel.from_pretrained(..., auto_class=transformers.AutoModelForCausalLM)"
    )
    with pytest.raises(aw.CaptureError, match=r"auto_class=transformers\.AutoModelForSeq2SeqLM"):
        aw.AttentionModel(tf.T5Model(small.CONFIGS["t5"]())).generate([1])
    with pytest.raises(aw.CaptureError, match="cannot generate text: expected a model of transformers with a generate"):
        aw.AttentionModel(nn.Linear(2, 2)).generate([1])


@pytest.mark.parametrize(
    ("prompt", "options", "text"),
    [
        ("", GREEDY, "the text is empty; expected at least one token to look at"),
        ([5, 300], GREEDY, "token id 300 does not exist: GPT2LMHeadModel has ids 0 to 256"),
        ("a" * 40, GREEDY, "the input has 40 tokens and GPT2LMHeadModel has positions for 32"),
        (
            "a" * 30,
            GREEDY,
            "the prompt has 30 tokens and 6 more are to be generated, and GPT2LMHeadModel has",
        ),
        ("a" * 30, GREEDY, "positions for 32; expected max_new_tokens of 3 at most"),
    ],
)
def test_prompts_that_are_refused(model, prompt, options, text):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the text is looked at below
        model.generate(prompt, **options)
    assert text in str(error.value)


def test_as_many_tokens_as_there_are_positions_for(model):
    cap = model.generate("a" * 30, do_sample=False, max_new_tokens=3, min_new_tokens=3)
    assert cap.weights().shape[-1] == 32
