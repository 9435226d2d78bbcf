"""The head grid's questions: what heads do, and what they make of one pair."""

import numpy as np
import pytest
import torch
import traitlets
import transformers
from captures import make_capture, softmax
from heads import captures
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ids, llama
from watched import watch

import attnwidget as aw
from attnwidget.analysis import MEASURES
from attnwidget.widget import finder
from attnwidget.widget.requests import Answerer

NAMES = [measure.name for measure in MEASURES]


def ask(answerer, method, **params):
    return answerer.answer({"id": 1, "method": method, "params": {"stack": "self", "batch": 0, **params}})


def finished(answerer, **params):
    """The table, asked for until it is there, and how far it was before."""
    done = []
    while True:
        reply = ask(answerer, "patterns", **params)
        ok = reply.content["ok"]
        if ok["done"] == 1:
            return ok, reply.buffers, done
        assert reply.buffers == []
        done.append(ok["done"])


def test_the_table_is_that_of_the_capture(causal_capture):
    ok, (buffer,), _ = finished(Answerer(causal_capture))
    expected = causal_capture.patterns()
    assert (ok["layers"], ok["heads"], ok["queries"], ok["rows"]) == (3, 4, 7, None)
    assert ok["measures"] == NAMES
    table = np.frombuffer(buffer, "<f4").reshape(len(NAMES), 3, 4)
    for name, found in zip(NAMES, table, strict=True):
        np.testing.assert_array_equal(found, expected[name].astype(np.float32), err_msg=name)
    assert ok["labels"] == expected.labels
    assert len(ok["labels"]) == 12


def test_it_is_made_in_slices_between_which_others_are_answered(monkeypatch):
    capture = make_capture(layers=2, heads=4, queries=700)
    monkeypatch.setattr("attnwidget.widget.requests.SLICE", 0)
    answerer = Answerer(capture)
    first = ask(answerer, "patterns").content["ok"]
    assert 0 < first["done"] < 1
    assert ask(answerer, "pair", query=1, key=2).content["ok"] == {"layers": 2, "heads": 4}
    ok, (buffer,), done = finished(answerer)
    assert len(done) > 1
    assert done == sorted(done)
    assert done[0] > first["done"]
    table = np.frombuffer(buffer, "<f4").reshape(len(NAMES), 2, 4)
    np.testing.assert_array_equal(table[0], capture.patterns()["entropy"].astype(np.float32))
    assert ask(answerer, "patterns").content["ok"] == ok  # kept


def test_in_cross_attention_what_compares_tokens_is_not_a_number():
    _, (buffer,), _ = finished(Answerer(make_capture(layers=1, heads=2, queries=4, keys=5)))
    table = dict(zip(NAMES, np.frombuffer(buffer, "<f4").reshape(len(NAMES), 2), strict=True))
    assert np.isnan(table["previous"]).all()
    assert np.isfinite(table["entropy"]).all()


def test_long_heads_are_sampled_as_the_budget_says(monkeypatch):
    capture = make_capture(layers=1, heads=2, queries=600)
    monkeypatch.setattr(finder, "MOST_WEIGHTS", 100 * 600 * 2)
    ok, (buffer,), _ = finished(Answerer(capture))
    assert (ok["rows"], ok["queries"]) == (100, 600)
    expected = capture.patterns(rows=100)["max"].astype(np.float32)
    np.testing.assert_array_equal(np.frombuffer(buffer, "<f4").reshape(len(NAMES), 1, 2)[NAMES.index("max")], expected)


@pytest.mark.parametrize(
    ("queries", "most", "rows"),
    [(500, 1 << 28, None), (500, 0, 64), (50, 0, None), (5000, 1 << 28, 1024), (5000, 200 * 5000 * 2, 200)],
)
def test_how_many_rows_a_view_looks_at(monkeypatch, queries, most, rows):
    monkeypatch.setattr(finder, "MOST_WEIGHTS", most)
    q, k = torch.zeros(2, 1, 2, queries, 2).unbind(0)
    stack = aw.AttentionStack("self", [aw.FactoredAttention(q, k)])
    assert finder.pattern_rows(stack, 0) == rows


@settings(deadline=None, max_examples=40)
@given(captures(), st.data())
def test_a_pair_is_its_weight_in_every_head_to_the_bit(capture, data):
    stack = next(iter(capture.stacks.values()))
    query = data.draw(st.integers(0, len(stack.query_tokens[0]) - 1))
    key = data.draw(st.integers(0, len(stack.key_tokens[0]) - 1))
    reply = ask(Answerer(capture), "pair", stack=stack.name, query=query, key=key)
    received = np.frombuffer(reply.buffers[0], "<f4").reshape(stack.n_layers, stack.n_heads)
    expected = capture.pair(query=query, key=key)
    allowed = capture.allowed(queries=[query], keys=[key])[:, :, 0, 0]
    np.testing.assert_array_equal(received, np.where(allowed, expected, np.nan))


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("pair", {"query": 7, "key": 0}, "query 7 does not exist: there are 0 to 6"),
        ("pair", {"query": 0, "key": -1}, "key -1 does not exist: there are 0 to 6"),
        ("pair", {"query": 0}, "'key' must be a whole number, got None"),
        ("pair", {"query": 0, "key": 0, "batch": 1}, "example 1 does not exist: the batch has examples 0 to 0"),
        ("patterns", {"stack": "cross"}, "unknown stack 'cross': this capture has 'self'"),
    ],
)
def test_what_does_not_exist_is_refused(capture, method, params, text):
    assert ask(Answerer(capture), method, **params).content["error"] == {"code": "invalid", "message": text}


def test_query_heads_that_share_key_heads_are_told():
    (stack,) = watch(llama(n_layers=2), ids(1, 9)).show().meta["stacks"]
    assert (stack["heads"], stack["key_heads"]) == (8, [2, 2])
    assert "windows" not in stack


def test_heads_with_keys_of_their_own_are_not_marked(capture):
    (stack,) = capture.show().meta["stacks"]
    assert "key_heads" not in stack
    assert "windows" not in stack


def test_of_picked_heads_no_key_heads_are_told():
    model = llama(n_layers=2)
    with aw.capture(model, heads=[0, 5]) as cap, torch.no_grad():
        model(ids(1, 9))
    (stack,) = cap.show().meta["stacks"]
    assert stack["kept_heads"] == [0, 5]
    assert "key_heads" not in stack


def test_layers_with_a_window_are_told():
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=50, sliding_window=6,
    )  # fmt: skip
    cap = watch(transformers.Gemma2ForCausalLM._from_config(config).eval(), ids(1, 20))
    (stack,) = cap.show().meta["stacks"]
    assert (stack["windows"], stack["key_heads"]) == ([6, None], [2, 2])
    ways = cap.show(measure="rollout").meta["stacks"][0]  # through several layers they lead further
    assert not {"windows", "key_heads"} & set(ways)
    assert cap.allowed(0, 0)[15].sum() == 6
    assert cap.allowed(1, 0)[15].sum() == 16


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("sort", "entropie", "sort is 'entropie': expected one of pair, entropy, spread"),
        ("colour_by", "weights", "colour_by is 'weights': expected one of pair, entropy, spread"),
        ("filter", ("firsts", 0.5), "filter is ('firsts', 0.5): expected (measure, at least), with a measure of pair"),
        ("filter", ("first", float("nan")), "filter is ('first', nan): expected (measure, at least)"),
        (
            "like",
            (3, 0),
            "like is (3, 0): expected (layer, head) of stack 'self', which has layers 0 to 2 and heads 0 to 3",
        ),
    ],
)
def test_a_trait_out_of_range_says_what_was_expected_and_changes_nothing(capture, name, value, text):
    view = capture.show()
    before = getattr(view, name)
    with pytest.raises(traitlets.TraitError) as error:
        setattr(view, name, value)
    assert text in str(error.value)
    assert getattr(view, name) == before


def test_the_grid_starts_as_asked(capture):
    view = capture.show(sort="induction", ascending=True, filter=("first", 0.25), colour_by="pair", like=(2, 3))
    assert (view.sort, view.ascending, view.filter, view.colour_by, view.like) == (
        *("induction", True, ("first", 0.25), "pair", (2, 3)),
    )


def test_a_head_that_another_stack_does_not_have_is_no_longer_compared_with():
    small = softmax(np.random.default_rng(0).normal(size=(1, 2, 3, 3))).astype(np.float32)
    large = softmax(np.random.default_rng(0).normal(size=(3, 4, 3, 3))).astype(np.float32)
    stacks = [
        aw.AttentionCapture.from_weights(weights, stack=name).stacks[name]
        for name, weights in (("large", large), ("small", small))
    ]
    view = aw.AttentionCapture(stacks).show(like=(2, 3))
    view.stack = "small"
    assert view.like is None
