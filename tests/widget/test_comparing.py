"""What a view of a comparison is told, asks for and refuses."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from captures import make_capture
from traitlets import TraitError

import attnwidget as aw
from attnwidget.attention import AttentionCapture
from attnwidget.widget import embed
from attnwidget.widget.codes import decode
from attnwidget.widget.meta import describe
from attnwidget.widget.requests import Answerer


@pytest.fixture
def both():
    rng = np.random.default_rng(0)
    a, b = (rng.dirichlet(np.ones(n), size=(2, 3, n)).astype(np.float32) for n in (3, 4))
    names = [["the", "cat", "sat"], ["the", "old", "dog", "sat"]]
    return aw.compare(*(AttentionCapture.from_weights(one, each) for one, each in zip((a, b), names, strict=True)))


def test_meta_names_the_sides_and_what_one_of_them_lacks(both):
    meta = describe(both)
    json.dumps(meta)
    assert meta["compare"] == ["a", "b"]
    assert [stack["name"] for stack in meta["stacks"]] == ["a", "b"]
    for stack in meta["stacks"]:
        assert stack["examples"][0]["only"] == {"queries": [[1], [2, 3]], "keys": [[1], [2, 3]]}
    assert meta["measures"][1] == ["moved", "mass moved between the two", "of each row"]
    plain = describe(make_capture())
    assert "compare" not in plain
    assert "only" not in plain["stacks"][0]["examples"][0]
    assert "moved" not in [name for name, *_ in plain["measures"]]


def ask(capture, method, **params):
    return Answerer(capture).answer({"id": 1, "method": method, "params": {"batch": 0, **params}})


def test_tiles_of_both_excesses_are_the_difference(both):
    place = {"queries": [0, 5], "keys": [0, 5]}
    tile = {"layer": 1, "head": 2, **place, "height": 5, "width": 5, "reduce": "max", "dtype": "u16"}
    parts = []
    for name in ("b", "a"):
        reply = ask(both, "tiles", stack=name, measure="excess", tiles=[tile])
        parts.append(decode(np.frombuffer(reply.buffers[0], "<u2").reshape(5, 5)))
    np.testing.assert_allclose(parts[0] - parts[1], both.difference(1, 2), rtol=3e-4, atol=1e-7)
    mean = {"aggregate": "mean", "layers": [1], "heads": None, **place}
    reply = ask(both, "values", stack="b", measure="excess", blocks=[mean])
    expected = both.aggregate("mean", layers=[1]).difference(0, 0)
    found = np.frombuffer(reply.buffers[0], "<f4").reshape(5, 5)
    np.testing.assert_allclose(found, np.where(np.isnan(expected), np.nan, np.maximum(expected, 0)), atol=1e-6)
    error = ask(make_capture(), "tiles", stack="self", measure="excess", tiles=[]).content["error"]
    words = "measure 'excess' is of two captures compared, and this view shows one"
    assert error == {"code": "invalid", "message": words}


def test_the_table_of_heads_says_how_far_each_differs(both):
    reply = ask(both, "patterns", stack="b")
    table = np.frombuffer(reply.buffers[0], "<f4").reshape(-1, 2, 3)
    moved = table[reply.content["ok"]["measures"].index("moved")]
    np.testing.assert_allclose(moved, both.moved(), rtol=1e-6)


def entries(packed):
    raw = zlib.decompress(packed)
    return json.loads(raw[4 : 4 + struct.unpack("<I", raw[:4])[0]])["tiles"]


def test_both_sides_of_the_locked_head_travel_and_of_long_ones_what_each_has_more(both):
    found = [(tile["stack"], tile["dtype"]) for tile in entries(embed.pack(both, stack="b", batch=0, layer=1, head=0))]
    assert found == [("b", "u16"), *[("b", "u8")] * 6, ("a", "u16"), *[("b", "u16")] * 5]
    long = AttentionCapture.from_weights(np.eye(600, dtype=np.float32)[None, None])
    tiles = entries(embed.pack(aw.compare(long, long), stack="a", batch=0, layer=0, head=0))
    kinds = [(tile["stack"], tile["dtype"], tile.get("measure")) for tile in tiles]
    beside = [("b", "u16", None), ("a", "u16", "excess"), ("b", "u16", "excess")]
    assert kinds == [("a", "u16", None), ("a", "u8", None), *beside]


def test_a_view_opens_on_the_heatmaps_and_refuses_what_has_no_meaning(both):
    view = both.show(sort="moved", query=4)
    assert view.panels == ["heatmap", "grid", "lines", "text"]
    assert both.show(panels=["grid"]).panels == ["grid"]
    view.filter = ("moved", 0.1)
    with pytest.raises(TraitError, match=r"words is True: .*compare aw.compare\(a.in_words\(\), b.in_words\(\)\)"):
        view.words = True
    with pytest.raises(TraitError, match="measure is 'lift': a comparison shows weights and their difference"):
        view.measure = "lift"
    with pytest.raises(TraitError, match="sort is 'moved': expected one of pair, "):
        make_capture().show(sort="moved")
    assert (view.words, view.measure) == (False, "weight")
    view.hidden_keys = [0]
    assert view.meta["compare"] == ["a", "b"]
    assert view.meta["stacks"][0]["examples"][0]["hidden"] == [[0, "the"]]
    file = io.BytesIO()
    with pytest.raises(ValueError, match="panel is 'difference': figures can be made of"):
        view.to_png(file, panel="difference")
