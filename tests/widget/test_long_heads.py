"""What the page asks of heads that are too long to be looked at whole: levels, samples, refinements, marginals."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from captures import make_capture
from pooled import even_edges, level_edges, pooled

from attnwidget import AttentionWidget
from attnwidget.attention.limits import limits
from attnwidget.widget import requests
from attnwidget.widget.codes import decode
from attnwidget.widget.requests import Answerer

N = 300
PLACE = {"layer": 1, "head": 2, "queries": [0, N], "keys": [0, N]}
EVEN = {**PLACE, "height": 20, "width": 30, "reduce": "max", "dtype": "u16"}
LEVEL = {**PLACE, "level": 4, "reduce": "max", "dtype": "u16"}


@pytest.fixture
def capture():
    return make_capture(queries=N, causal=True)


@pytest.fixture
def answerer(capture):
    return Answerer(capture)


def ask(answerer, method, **params):
    reply = answerer.answer({"id": 4, "method": method, "params": {"stack": "self", "batch": 0, **params}})
    assert reply.content["id"] == 4
    return reply


def weights_of(buffer, tile):
    return decode(np.frombuffer(buffer, "<u2").reshape(tile["height"], tile["width"]))


def full(capture, rows, columns):
    return pooled(capture.weights(1, 2), capture.allowed(1, 2), rows, columns, "max")


def test_a_tile_of_a_level_has_the_size_that_follows(capture, answerer):
    item = {**LEVEL, "queries": [100, N], "keys": [32, 288]}
    for sizes in ({}, {"height": 13, "width": 16}, {"height": None}):
        reply = ask(answerer, "tiles", tiles=[{**item, **sizes}])
        [tile] = reply.content["ok"]["tiles"]
        assert tile == {"height": 13, "width": 16, "dtype": "u16", "rows": None}
        expected = full(capture, level_edges(100, N, 4), level_edges(32, 288, 4))
        np.testing.assert_allclose(weights_of(reply.buffers[0], tile), expected, rtol=2e-4)


def test_a_sample_says_how_many_rows_it_looked_at(capture, answerer):
    reply = ask(answerer, "tiles", tiles=[{**EVEN, "rows": 2}, {**EVEN, "rows": 15}, {**LEVEL, "rows": 16}])
    sampled, exact, level = reply.content["ok"]["tiles"]
    assert [tile["rows"] for tile in (sampled, exact, level)] == [2, None, None]
    found = weights_of(reply.buffers[0], sampled)
    np.testing.assert_allclose(found, capture.tile(1, 2, height=20, width=30, rows=2).values, rtol=2e-4)
    whole = full(capture, even_edges(0, N, 20), even_edges(0, N, 30))
    np.testing.assert_allclose(weights_of(reply.buffers[1], exact), whole, rtol=2e-4)
    assert (found <= whole * 1.0002)[~np.isnan(found)].all()


def test_an_exact_tile_answers_for_later_samples(answerer):
    first = ask(answerer, "tiles", tiles=[{**EVEN, "rows": 2}])
    exact = ask(answerer, "tiles", tiles=[EVEN])
    again = ask(answerer, "tiles", tiles=[{**EVEN, "rows": 2}])
    assert first.content["ok"]["tiles"][0]["rows"] == 2
    assert again.content["ok"]["tiles"][0]["rows"] is None
    assert again.buffers == exact.buffers != first.buffers


def test_what_was_asked_before_is_not_computed_again(capture, answerer, monkeypatch):
    asked = [{**EVEN, "rows": 2}, EVEN, LEVEL, {**EVEN, "dtype": "u8"}]
    first = ask(answerer, "tiles", tiles=asked)
    edges = ask(answerer, "marginals", **PLACE, height=20, width=30)

    def fail(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(type(capture), "tile", fail)
    monkeypatch.setattr(type(capture), "marginals", fail)
    assert ask(answerer, "tiles", tiles=asked[1:]).buffers == first.buffers[1:]
    assert ask(answerer, "marginals", **PLACE, height=20, width=30) == edges
    assert ask(answerer, "tiles", tiles=[{**LEVEL, "head": 1}]).content["error"]["message"] == (
        "AssertionError: computed again"
    )


@pytest.mark.parametrize("tile", [EVEN, LEVEL, {**EVEN, "dtype": "u8", "reduce": "mean"}])
def test_a_refinement_ends_in_what_the_tile_would_be(capture, monkeypatch, tile):
    monkeypatch.setattr(requests, "SLICE", 0)
    monkeypatch.setattr(limits, "block_bytes", 64 * N * 10)
    answerer, done = Answerer(capture), [0]
    while "tile" not in (content := (reply := ask(answerer, "refine", tile=tile)).content["ok"]):
        assert list(content) == ["done"]
        assert reply.buffers == []
        done.append(content["done"])
    assert len(done) > 10
    assert done == sorted(done)
    assert done[-1] < 1 == content["done"]
    at_once = ask(Answerer(capture), "tiles", tiles=[tile])
    assert content["tile"] == at_once.content["ok"]["tiles"][0]
    assert reply.buffers == at_once.buffers
    # It is there for whoever asks again, in whatever way.
    assert ask(answerer, "refine", tile=tile).buffers == at_once.buffers
    assert ask(answerer, "tiles", tiles=[{**tile, "rows": 1}]).buffers == at_once.buffers


def test_what_was_begun_is_kept_while_others_are_asked_for(answerer, monkeypatch):
    monkeypatch.setattr(requests, "SLICE", 0)
    monkeypatch.setattr(limits, "block_bytes", 64 * N)
    done = []
    for _ in range(3):
        done.append(ask(answerer, "refine", tile=EVEN).content["ok"]["done"])
        ask(answerer, "refine", tile=LEVEL)
        assert "error" in ask(answerer, "refine", tile={**EVEN, "head": 9}).content
    assert 0 < done[0] < done[1] < done[2] < 1


def test_of_what_was_begun_the_least_recently_used_is_dropped(capture, monkeypatch):
    monkeypatch.setattr(requests, "SLICE", 0)
    monkeypatch.setattr(requests, "_BEGUN_CELLS", 2 * 20 * 30)
    monkeypatch.setattr(limits, "block_bytes", 64 * N)
    answerer = Answerer(capture)
    first, *others = ({**EVEN, "head": head} for head in range(3))
    once = ask(answerer, "refine", tile=first).content["ok"]["done"]
    assert ask(answerer, "refine", tile=first).content["ok"]["done"] == pytest.approx(2 * once)
    for other in others:
        ask(answerer, "refine", tile=other)
    assert ask(answerer, "refine", tile=first).content["ok"]["done"] == once


def test_marginals_are_those_of_the_capture(capture, answerer):
    reply = ask(answerer, "marginals", **{**PLACE, "queries": [50, 250]}, height=20, width=30)
    assert reply.content["ok"] == {"height": 20, "width": 30, "rows": None}
    received, entropy = (np.frombuffer(buffer, "<f4") for buffer in reply.buffers)
    expected = pooled(capture.weights(1, 2), capture.allowed(1, 2), [0, N], even_edges(0, N, 30), "mean")[0]
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    weights = capture.weights(1, 2)[50:250].astype(np.float64)
    bits = -(weights * np.log2(np.where(weights > 0, weights, 1))).sum(axis=1)
    np.testing.assert_allclose(entropy, bits.reshape(20, 10).mean(axis=1), rtol=1e-5)


def test_marginals_look_at_a_bounded_number_of_rows(monkeypatch):
    monkeypatch.setattr(requests, "MARGINAL_ROWS", 40)
    reply = ask(Answerer(make_capture(queries=100)), "marginals", layer=0, head=0, queries=[0, 100], keys=[0, 100],
                height=30, width=30)  # fmt: skip
    assert reply.content["ok"]["rows"] == 40


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("tiles", {"tiles": [{**LEVEL, "level": -1}]}, "'level' is -1: expected 0 to 30"),
        ("tiles", {"tiles": [{**LEVEL, "level": 31}]}, "'level' is 31: expected 0 to 30"),
        ("tiles", {"tiles": [{**LEVEL, "level": 1.0}]}, "'level' must be a whole number, got 1.0"),
        (
            "tiles",
            {"tiles": [{**LEVEL, "height": 20}]},
            "height is 20: expected 19, as follows from 'level', or nothing",
        ),
        ("tiles", {"tiles": [{**EVEN, "rows": 0}]}, "'rows' is 0: expected at least 1, or null for all of them"),
        ("tiles", {"tiles": [{**EVEN, "rows": "2"}]}, "'rows' must be a whole number, got '2'"),
        ("tiles", {"tiles": [PLACE]}, "'height' must be a whole number, got None"),
        ("refine", {}, "'tile' must be an object, got NoneType"),
        ("refine", {"tile": [EVEN]}, "'tile' must be an object, got list"),
        (
            "refine",
            {"tile": {**EVEN, "rows": 2}},
            "'rows' is given: expected a tile without it, a refinement looks at all of them",
        ),
        ("marginals", {**PLACE, "height": 20}, "'width' must be a whole number, got None"),
        (
            "marginals",
            {**PLACE, "height": 301, "width": 1},
            "height is 301: expected 1 to 300, the length of the range",
        ),
        ("marginals", {**PLACE, "head": 4, "height": 1, "width": 1}, "head 4 does not exist: stack 'self' has heads"),
    ],
)
def test_what_makes_no_sense_is_answered_with_what_is_wrong(answerer, method, params, text):
    reply = ask(answerer, method, **params)
    assert reply.content["error"]["code"] == "invalid"
    assert reply.content["error"]["message"].startswith(text)
    assert reply.buffers == []


def test_too_many_bins_of_marginals_are_refused():
    answerer = Answerer(make_capture(layers=1, heads=1, queries=1100))
    asked = {"layer": 0, "head": 0, "queries": [0, 1100], "keys": [0, 1100]}
    reply = ask(answerer, "marginals", **asked, height=20, width=1025)
    assert reply.content["error"]["message"] == "width is 1025: expected at most 1024 bins of marginals"
    reply = ask(answerer, "refine", tile={**asked, "height": 1100, "width": 1000, "reduce": "max", "dtype": "u8"})
    assert reply.content["error"] == {
        "code": "too-large",
        "message": "the tile would have 1,100,000 cells, the limit for one that is refined is 1,048,576: ask for less "
        "at once",
    }


def test_threads_that_ask_at_once_get_what_they_asked_for(capture, monkeypatch):
    monkeypatch.setattr(requests, "SLICE", 0)
    monkeypatch.setattr(limits, "cache_bytes", 5000)  # so that much is computed more than once
    answerer, alone = Answerer(capture), Answerer(capture)
    asked = [{**EVEN, "head": head, "rows": rows} for head in range(4) for rows in (1, 2, None)]
    expected = [capture.tile(1, one["head"], height=20, width=30, rows=one["rows"]).values for one in asked]
    refined = ask(alone, "tiles", tiles=[LEVEL]).buffers
    wrong = []

    def look(turn):
        for number in range(40):
            index = (number * 5 + turn) % len(asked)
            reply = ask(answerer, "tiles", tiles=[asked[index]])
            [tile] = reply.content["ok"]["tiles"]
            best = expected[index if tile["rows"] else index - index % 3 + 2]
            if not np.allclose(weights_of(reply.buffers[0], tile), best, rtol=3e-4, equal_nan=True):
                wrong.append(asked[index])

    def refine():
        for _ in range(20):
            while "tile" not in (reply := ask(answerer, "refine", tile=LEVEL)).content["ok"]:
                pass
            if reply.buffers != refined:
                wrong.append(LEVEL)

    threads = [threading.Thread(target=look, args=(turn,)) for turn in range(2)]
    threads += [threading.Thread(target=refine) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_widget_lets_go_of_the_capture_and_of_what_came_from_it(monkeypatch):
    monkeypatch.setattr(requests, "SLICE", 0)
    monkeypatch.setattr(limits, "block_bytes", 64 * N)
    capture = make_capture(queries=N, causal=True)
    widget, gone = AttentionWidget(capture), weakref.ref(capture)
    answerer = widget._answerer
    ask(answerer, "tiles", tiles=[EVEN])
    ask(answerer, "refine", tile=LEVEL)
    assert answerer._cache.n_bytes > 0
    del capture
    widget.close()
    gc.collect()
    assert gone() is None
    assert answerer._cache.n_bytes == 0
    assert ask(answerer, "refine", tile=LEVEL).content["error"]["code"] == "closed"
