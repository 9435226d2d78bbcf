import gc
import time
import weakref

import numpy as np
import pytest
import torch
from captures import make_capture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import attnwidget as aw
from attnwidget.widget.codes import decode
from attnwidget.widget.protocol import MAX_REPLY_BYTES
from attnwidget.widget.requests import Answerer

TILE = {
    "layer": 1,
    "head": 2,
    "queries": [0, 7],
    "keys": [0, 7],
    "height": 7,
    "width": 7,
    "reduce": "max",
    "dtype": "u16",
}
BLOCK = {"layer": 1, "head": 2, "queries": [2, 5], "keys": [1, 7]}


def tiles(*items, **params):
    return {"id": 1, "method": "tiles", "params": {"stack": "self", "batch": 0, "tiles": list(items), **params}}


def values(*items, **params):
    return {"id": 1, "method": "values", "params": {"stack": "self", "batch": 0, "blocks": list(items), **params}}


def test_values_are_the_weights_of_the_capture_to_the_bit(capture):
    reply = Answerer(capture).answer(values(BLOCK))
    assert reply.content == {"id": 1, "ok": {"blocks": [{"height": 3, "width": 6}]}}
    received = np.frombuffer(reply.buffers[0], "<f4").reshape(3, 6)
    np.testing.assert_array_equal(received, capture.weights(1, 2, queries=slice(2, 5), keys=slice(1, 7)))


def test_masked_values_are_nan(causal_capture):
    reply = Answerer(causal_capture).answer(values({**BLOCK, "queries": [0, 7], "keys": [0, 7]}))
    received = np.frombuffer(reply.buffers[0], "<f4").reshape(7, 7)
    np.testing.assert_array_equal(np.isnan(received), np.triu(np.ones((7, 7), dtype=bool), k=1))


def test_lift_travels_as_a_share_of_the_keys(causal_capture):
    answerer = Answerer(causal_capture)
    block = {**BLOCK, "queries": [0, 7], "keys": [0, 7]}
    lift = causal_capture.lift(1, 2)
    reply = answerer.answer(values(block, measure="lift"))
    received = np.frombuffer(reply.buffers[0], "<f4").reshape(7, 7)
    allowed = np.tril(np.ones((7, 7), dtype=bool))
    np.testing.assert_allclose(received[allowed] * 7, lift[allowed], rtol=1e-6)
    assert np.isnan(received[~allowed]).all()
    # The same request for weights is another one, also in what is kept.
    for measure, expected in (("lift", lift / 7), ("weight", causal_capture.weights(1, 2)), ("lift", lift / 7)):
        codes = np.frombuffer(answerer.answer(tiles(TILE, measure=measure)).buffers[0], "<u2").reshape(7, 7)
        np.testing.assert_allclose(decode(codes)[allowed], expected[allowed], rtol=2e-4)
        assert (codes[~allowed] == 0).all()


def test_an_unknown_measure_is_an_error_that_names_the_others(capture):
    error = Answerer(capture).answer(tiles(TILE, measure="rank")).content["error"]
    assert error == {"code": "invalid", "message": "'measure' must be one of 'weight', 'lift', 'excess', got 'rank'"}


def test_one_buffer_for_each_tile_in_the_order_asked(capture):
    reply = Answerer(capture).answer(tiles(TILE, {**TILE, "layer": 0, "dtype": "u8"}))
    assert [tile["dtype"] for tile in reply.content["ok"]["tiles"]] == ["u16", "u8"]
    first = decode(np.frombuffer(reply.buffers[0], "<u2").reshape(7, 7))
    second = decode(np.frombuffer(reply.buffers[1], "u1").reshape(7, 7))
    np.testing.assert_allclose(first, capture.weights(1, 2), rtol=2e-4)
    np.testing.assert_allclose(second, capture.weights(0, 2), rtol=0.045)


def test_a_pooled_tile_holds_the_largest_weight_of_each_bin(capture):
    reply = Answerer(capture).answer(tiles({**TILE, "height": 3, "width": 2}))
    rows, columns = [0, 2, 4, 7], [0, 3, 7]
    weights = capture.weights(1, 2)
    expected = [[weights[rows[r] : rows[r + 1], columns[c] : columns[c + 1]].max() for c in range(2)] for r in range(3)]
    np.testing.assert_allclose(decode(np.frombuffer(reply.buffers[0], "<u2").reshape(3, 2)), expected, rtol=2e-4)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (None, "the message must be an object, got NoneType"),
        ({"method": "tiles"}, "'id' must be a whole number, got None"),
        ({"id": True, "method": "tiles"}, "'id' must be a whole number, got True"),
        (
            {"id": 1, "method": "rm"},
            "unknown method 'rm': expected one of tiles, values, refine, marginals, pair, patterns, detail",
        ),
        ({"id": 1, "method": "tiles", "params": []}, "'params' must be an object, got list"),
        (tiles(), "'tiles' must be a list with at least one item, got []"),
        (tiles(TILE, stack="cross"), "unknown stack 'cross': this capture has 'self'"),
        (tiles(TILE, batch=1), "example 1 does not exist: the batch has examples 0 to 0"),
        (tiles({**TILE, "layer": 9}), "layer 9 does not exist: stack 'self' has layers 0 to 2"),
        (tiles({**TILE, "head": -1}), "head -1 does not exist: stack 'self' has heads 0 to 3"),
        (tiles({**TILE, "queries": [3, 3]}), "'queries' must be [start, stop] with 0 <= start < stop <= 7, got [3, 3]"),
        (tiles({**TILE, "keys": [0, 8]}), "'keys' must be [start, stop] with 0 <= start < stop <= 7, got [0, 8]"),
        (tiles({**TILE, "height": 8}), "height is 8: expected 1 to 7, the length of the range it pools"),
        (tiles({**TILE, "reduce": "sum"}), "'reduce' must be one of 'max', 'mean', got 'sum'"),
        (tiles({**TILE, "dtype": ["u8"]}), "'dtype' must be one of 'u8', 'u16', got ['u8']"),
        (values("x"), "each item must be an object, got str"),
    ],
)
def test_a_malformed_message_is_answered_with_what_is_wrong(capture, message, text):
    reply = Answerer(capture).answer(message)
    assert reply.content["error"] == {"code": "invalid", "message": text}
    assert reply.buffers == []


def test_too_much_at_once_is_refused_before_any_work(capture):
    item = {**BLOCK, "queries": [0, 7], "keys": [0, 7]}
    reply = Answerer(capture).answer(values(*[item] * (MAX_REPLY_BYTES // (7 * 7 * 4) + 1)))
    assert reply.content["error"]["code"] == "too-large"
    assert f"the limit is {MAX_REPLY_BYTES:,}: ask for less at once" in reply.content["error"]["message"]


def test_a_closed_capture_says_so(capture):
    answerer = Answerer(capture)
    answerer.close()
    assert answerer.answer(values(BLOCK)).content["error"] == {
        "code": "closed",
        "message": "the capture behind this view has been closed: run the cell again",
    }


def test_a_capture_that_its_owner_closed_is_let_go_of(monkeypatch):
    monkeypatch.setattr("attnwidget.widget.requests.SLICE", 0)
    q, k = torch.randn(2, 1, 1, 3000, 4).unbind(0)
    layer = aw.FactoredAttention(q, k)
    capture = aw.AttentionCapture([aw.AttentionStack("self", [layer])])
    answerer = Answerer(capture)
    tile = {"layer": 0, "head": 0, "queries": [0, 3000], "keys": [0, 3000], "height": 8, "width": 8}
    asked = {"stack": "self", "batch": 0, "tile": {**tile, "reduce": "max", "dtype": "u8"}}
    begun = answerer.answer({"id": 1, "method": "refine", "params": asked}).content["ok"]
    assert begun["done"] < 1
    held = weakref.ref(layer)
    capture.close()
    del layer
    assert answerer.answer({"id": 2, "method": "refine", "params": asked}).content["error"]["code"] == "closed"
    # Another thread may be in the middle of a block. It needs the interpreter between its steps, which a collection
    # does not hand over: in a process with many objects it would wait for a second each time.
    end = time.monotonic() + 10
    while held() is not None and time.monotonic() < end:
        time.sleep(0.01)
    gc.collect()
    assert held() is None


def test_an_exception_reaches_the_page(capture, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr(type(capture), "weights", fail)
    assert Answerer(capture).answer(values(BLOCK)).content["error"] == {
        "code": "failed",
        "message": "ZeroDivisionError: by chance",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*TILE, "level", "rows", "stack", "batch"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=JSON)
def test_any_json_gets_an_answer(capture, message):
    assert "error" in Answerer(capture).answer(message).content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=FIELDS, junk=JSON)
def test_any_json_in_any_field_gets_an_answer(capture, field, junk):
    message = tiles(dict(TILE))
    target = message["params"] if field in message["params"] else message["params"]["tiles"][0]
    target[field] = junk
    reply = Answerer(capture).answer(message)
    assert set(reply.content) in ({"id", "ok"}, {"id", "error"})
    if "error" in reply.content:
        assert reply.content["error"]["code"] == "invalid"


AGGREGATE = {"aggregate": "mean", "layers": [0, 2], "heads": [1, 3]}


@pytest.fixture
def mean(capture):
    return capture.weights()[[0, 2]][:, [1, 3]].mean(axis=(0, 1))


def test_an_aggregate_is_asked_for_in_place_of_a_head(capture, mean):
    answerer, where = Answerer(capture), {"queries": [0, 7], "keys": [0, 7]}
    reply = answerer.answer(values({**AGGREGATE, **where}))
    np.testing.assert_allclose(np.frombuffer(reply.buffers[0], "<f4").reshape(7, 7), mean, rtol=1e-6)
    item = {**AGGREGATE, **where, "height": 7, "width": 7, "reduce": "max", "dtype": "u16"}
    reply = answerer.answer(tiles(item, {**TILE, "layer": 0}))
    np.testing.assert_allclose(decode(np.frombuffer(reply.buffers[0], "<u2").reshape(7, 7)), mean, rtol=2e-4)
    np.testing.assert_allclose(
        decode(np.frombuffer(reply.buffers[1], "<u2").reshape(7, 7)), capture.weights(0, 2), rtol=2e-4
    )
    params = {"stack": "self", "batch": 0}
    reply = answerer.answer({"id": 2, "method": "refine", "params": {**params, "tile": item}})
    assert reply.content["ok"]["done"] == 1
    reply = answerer.answer(
        {"id": 3, "method": "marginals", "params": {**params, **AGGREGATE, **where, "height": 7, "width": 7}}
    )
    np.testing.assert_allclose(np.frombuffer(reply.buffers[0], "<f4"), mean.mean(axis=0), rtol=1e-5)


def test_null_is_all_layers_and_all_heads_and_the_order_does_not_matter(capture):
    answerer, where = Answerer(capture), {"queries": [0, 7], "keys": [0, 7]}
    every = {"aggregate": "max", "layers": [2, 1, 0], "heads": [3, 2, 1, 0]}
    first = answerer.answer(values({"aggregate": "max", "layers": None, **where})).buffers[0]
    assert answerer.answer(values({**every, **where})).buffers[0] == first
    assert len(answerer._aggregates) == 1
    np.testing.assert_array_equal(np.frombuffer(first, "<f4").reshape(7, 7), capture.weights().max(axis=(0, 1)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"aggregate": "sum"}, "'aggregate' must be one of 'mean', 'max', got 'sum'"),
        ({"layers": [3]}, "'layers' must be null or a list of at least one of 0 to 2, each once, got [3]"),
        ({"heads": []}, "'heads' must be null or a list of at least one of 0 to 3, each once, got []"),
        ({"heads": [1, 1]}, "each once, got [1, 1]"),
        ({"heads": [True]}, "got [True]"),
        ({"heads": "12"}, "got '12'"),
    ],
)
def test_a_malformed_aggregate_is_refused(capture, change, text):
    reply = Answerer(capture).answer(values({**AGGREGATE, "queries": [0, 7], "keys": [0, 7], **change}))
    assert reply.content["error"]["code"] == "invalid"
    assert text in reply.content["error"]["message"]


def test_aggregates_are_few_and_gone_with_the_capture():
    capture = make_capture(layers=4, heads=4)
    answerer = Answerer(capture)
    for head in range(4):
        for reduce in ("mean", "max"):
            for layer in range(2):
                item = {"aggregate": reduce, "layers": [layer], "heads": [head], "queries": [0, 7], "keys": [0, 7]}
                answerer.answer(values(item))
    assert len(answerer._aggregates) == 8
    alive = weakref.ref(capture)
    answerer.close()
    del capture
    gc.collect()
    assert alive() is None
    assert not answerer._aggregates
