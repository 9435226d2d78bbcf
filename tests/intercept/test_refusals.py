"""A loud no, with words that say what was seen and what to do."""

from __future__ import annotations

import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional

import attnwidget as aw
from attnwidget.intercept import session

PLAIN = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
IDS = torch.tensor([[3, 4, 5, 6]])


def refused(module, run):
    with pytest.raises(aw.CaptureError) as error, torch.no_grad(), aw.capture(module):
        run()
    return str(error.value)


class Sorted(nn.Module):
    """Weights that no rule follows on their way to the values."""

    def forward(self, x):
        return torch.softmax(x @ x.transpose(-1, -2), -1).sort(-1).values @ x


class Distances(nn.Module):
    """Scores that no product made."""

    def forward(self, x):
        return torch.softmax(-torch.cdist(x, x), -1) @ x


def test_a_softmax_whose_weights_are_lost():
    module = Sorted()
    text = refused(module, lambda: module(torch.randn(1, 4, 8)))
    assert text.startswith(
        "no attention call of Sorted was seen. A softmax in Sorted (Sorted) was taken of a product of two tensors and "
        "not followed to a product with values."
    )
    assert "Anything else is not: return its weights and pass them to AttentionCapture.from_weights." in text


def test_a_softmax_of_no_product():
    module = nn.ModuleDict({"one": Distances(), "other": Distances()})
    text = refused(module, lambda: [part(torch.randn(1, 4, 8)) for part in module.values()])
    assert text.startswith(
        "no attention call of ModuleDict was seen. 2 softmaxes, the first in one (Distances), were multiplied with "
        "values, and not seen to be taken of a product of queries and keys."
    )


def test_beside_other_layers_what_was_not_followed_is_noted():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd = Sorted()

        def forward(self, x):
            return functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0] + self.odd(x)

    module = Both()
    with aw.capture(module) as cap:
        module(torch.randn(1, 4, 8))
    assert list(cap.notes) == [
        (
            "a softmax in odd (Sorted) was taken of a product of two tensors and not followed to a product with "
            "values: if it is attention, it is not in this capture"
        )
    ]


def test_a_model_of_transformers_whose_weights_are_cut_into_windows():
    config = tf.LongformerConfig(**PLAIN, attention_window=[4, 4], max_position_embeddings=20)
    model = tf.LongformerModel(config).eval()
    text = refused(model, lambda: model(IDS))
    assert "2 softmaxes, the first in encoder.layer.0.attention.self (LongformerSelfAttention), were taken" in text
    assert "Its attention implementation is 'eager'." in text
    assert "run it with output_attentions=True and pass its attentions to AttentionCapture.from_weights." in text
    assert "encoder.layer.0.attention (LongformerAttention) looks like attention." in text


def test_multihead_attention_that_is_not_called():
    module = nn.TransformerEncoderLayer(16, 2, batch_first=True).eval()
    text = refused(module, lambda: module.linear1(torch.randn(1, 4, 16)))
    assert "self_attn (MultiheadAttention) looks like attention." in text
    assert "flex_attention, torch.nn.MultiheadAttention, or a softmax between a product of queries and keys" in text


def test_a_block_that_does_not_call_the_module():
    model = tf.BertModel(tf.BertConfig(**PLAIN)).eval()
    text = refused(model, lambda: None)
    assert "Its attention implementation is 'sdpa'." in text
    assert "Did the block call this module, in this thread, and not a copy of it?" in text


def test_two_runs_in_one_block():
    model = tf.BertModel(tf.BertConfig(**PLAIN)).eval()
    text = refused(model, lambda: [model(IDS) for _ in range(3)])
    assert text.startswith("BertModel ran more than once in one capture: expected one forward pass per `with` block")


def test_a_capture_that_is_entered_twice():
    model, words = tf.BertModel(tf.BertConfig(**PLAIN)).eval(), "entered before, and each is of one `with` block"
    block = aw.capture(model)
    with block as cap:
        model(IDS)
        with pytest.raises(aw.CaptureError, match=words), block:
            pass
    with pytest.raises(aw.CaptureError, match=words), block:
        pass
    assert cap.stacks["self"].n_layers == 2, "what it captured stays"


def test_a_capture_of_every_call_of_a_function():
    """As contextlib has it: each call is a block of its own."""
    model = tf.BertModel(tf.BertConfig(**PLAIN)).eval()

    @aw.capture(model)
    def run():
        return model(IDS)

    assert torch.equal(run()[0], run()[0])


def test_compiled_modules_where_torch_cannot_be_asked_to_run_them_uncompiled(monkeypatch):
    monkeypatch.setattr(session, "can_run_eagerly", lambda: False)
    model = torch.compile(Sorted())
    text = refused(model, lambda: None)
    assert text.startswith(
        "OptimizedModule is compiled by torch.compile, whose attention Python cannot see, and this tor"
    )
    assert "capture the module it was made from (`compiled._orig_mod`, or the model before `.compile()`)" in text
    inner = nn.Sequential(Sorted())
    inner[0].compile()
    assert refused(inner, lambda: None).startswith("0 is compiled by torch.compile")


def test_something_that_is_no_module():
    with pytest.raises(TypeError, match=r"module is function; expected a torch\.nn\.Module"), aw.capture(refused):
        pass


def test_names_that_do_not_fit():
    model = tf.BertModel(tf.BertConfig(**PLAIN)).eval()
    with pytest.raises(aw.CaptureError) as error, aw.capture(model, ["a", "b"]):
        model(IDS)
    assert str(error.value) == (
        "tokens of example 0 hold 2 tokens and the attention of stack 'self' has 4; expected one name per "
        "position, special tokens and padding included. The first layer of this stack is "
        "encoder.layer.0.attention.self, with 1 examples, 4 queries and 4 keys"
    )


def odd_attention(module, query, key, value, attention_mask, **_):
    """Attention that looks at the square of the scores, which no factors explain, and takes no softmax of them."""
    weights = (query @ key.transpose(-1, -2)).square()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return (weights @ value).transpose(1, 2).contiguous(), weights if module.config.tells else None


@pytest.fixture
def odd():
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS["odd"] = odd_attention
    yield
    del ALL_ATTENTION_FUNCTIONS["odd"]


@pytest.mark.usefixtures("odd")
def test_an_unknown_implementation_is_believed_only_if_it_explains_the_output():
    torch.manual_seed(0)
    model = tf.LlamaModel(tf.LlamaConfig(**PLAIN)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(20)
    model.config._attn_implementation = "odd"
    model.config.tells = True
    with torch.no_grad(), aw.capture(model) as cap:
        model(IDS)
    assert "weights, float32" in repr(cap)
    model.config.tells = False
    text = refused(model, lambda: model(IDS))
    assert text.startswith("attention of layers.0.self_attn (odd) could not be recorded: its queries, keys and mask")
