"""The lines of a figure, read back: how many, whose, how strong, and what is said of them."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from captures import make_capture
from figures import SVG, svg_of, texts

from attnwidget.export import Shown, save_figure
from attnwidget.export.look import head_colour


def joined(svg):
    return "\n".join(texts(svg))


def test_the_lines_are_the_weights():
    cap = make_capture(layers=1, heads=2, queries=6)
    view = cap.show(head=1, threshold=0.2)
    weights = cap.weights(0, 1)
    strong = int((weights >= 0.2).sum())
    svg = svg_of(view, panel="lines")
    assert f"{strong} lines ≥ 0.2" in joined(svg)
    curves = [path.attrib for path in svg.iter(f"{SVG}path") if " C " in path.attrib.get("d", "").replace("\n", " ")]
    curves = [one for one in curves if "fill: none" in one["style"] and len(re.findall("C", one["d"])) == 1]
    assert len(curves) == strong
    alphas = sorted(float((re.search(r"stroke-opacity: ([\d.]+)", one["style"]) or [0, "1"])[1]) for one in curves)
    top = np.sort(weights.max(axis=1))[-1]
    np.testing.assert_allclose(alphas, np.sort(np.minimum(1, weights[weights >= 0.2] / top)), atol=1e-3)


def test_a_locked_token_keeps_its_own_lines():
    cap = make_capture(layers=1, heads=1, queries=6)
    svg = svg_of(cap.show(query=2, threshold=0.1), panel="lines")
    assert "lines of query 2 ≥ 0.1" in joined(svg)
    svg = svg_of(cap.show(query=2, key=1, direction="to"), panel="lines")
    assert "lines of key 1 ≥ 0" in joined(svg)


def test_the_ends_of_the_strongest_lines_have_labels_first():
    cap = make_capture(layers=1, heads=1, queries=300)
    written = texts(svg_of(cap.show(query=121), panel="lines"))
    row = cap.weights(0, 0)[121]
    strongest = int(row.argmax())
    assert f"t{strongest}" in written
    assert "t121" in written
    assert len([text for text in written if text.startswith("t")]) < 150


def test_only_the_strongest_lines_are_drawn_and_told():
    cap = make_capture(layers=1, heads=1, queries=80)
    assert "strongest 2,000 of 6,400 lines ≥ 0" in joined(svg_of(cap.show(), panel="lines"))


def test_too_many_pairs_for_lines_are_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr("attnwidget.export.pairs.MAX_PAIRS", 48)
    view = make_capture(queries=7).show()
    with pytest.raises(ValueError, match="the lines of 7 × 7 tokens cannot be told apart: lock a query or a key"):
        view.to_svg(io.BytesIO(), panel="lines")
    view.query = 3
    view.to_svg(io.BytesIO(), panel="lines")


def test_heads_drawn_together_have_a_hue_and_a_name_each():
    cap = make_capture(layers=1, heads=4, queries=6)
    for shown in (Shown(cap, "self", heads=(0, 2, 3)), Shown(cap, "self", heads=(0, 2, 3), query=1)):
        file = io.BytesIO()
        save_figure(shown, file, "svg", panel="lines")
        svg = ET.fromstring(file.getvalue())  # noqa: S314 - our own
        assert [text for text in texts(svg) if re.fullmatch(r"head \d", text)] == ["head 0", "head 2", "head 3"]
        strokes = {
            found for path in svg.iter(f"{SVG}path") for found in re.findall(r"stroke: (#\w{6})", str(path.attrib))
        }
        assert {head_colour(head, dark=False) for head in (0, 2, 3)} <= strokes
    assert "72 lines ≥ 0 of 2 heads" in joined_of(Shown(cap, "self", heads=(0, 2)))


def joined_of(shown):
    file = io.BytesIO()
    save_figure(shown, file, "svg", panel="lines")
    return joined(ET.fromstring(file.getvalue()))  # noqa: S314 - our own
