"""Lines and arcs: which pairs are drawn, in which hue, how strong, and which way; and how a weight came about."""

import re

import numpy as np
import pytest
import torch
from captures import make_capture, softmax
from figures import SVG, svg_of, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attnwidget import AttentionCapture
from attnwidget.attention import AttentionStack, FactoredAttention, Mask
from attnwidget.export import Shown
from attnwidget.export.look import head_colour
from attnwidget.export.pairs import passes

CAP = make_capture(layers=1, heads=1, queries=2)


def joined(svg):
    return "\n".join(texts(svg))


def styled(svg, commands):
    """Paths of these drawing commands: points, fill, stroke, and how opaque and wide they are."""
    found = []
    for path in svg.iter(f"{SVG}path"):
        style = dict(re.findall(r"([\w-]+): ([^;]+)", path.attrib.get("style", "")))
        drawn = path.attrib.get("d", "")
        if re.sub(r"[^A-Za-z]", "", drawn) == commands:
            points = np.array(re.findall(r"-?[\d.]+", drawn), dtype=float).reshape(-1, 2)
            found.append((points, style))
    return found


def curves(svg):
    return [(points, style) for points, style in styled(svg, "MC") if style.get("fill") == "none"]


def opacity(style, which="stroke"):
    return float(style.get(f"{which}-opacity", style.get("opacity", 1)))


def by_mass(row, mass):
    """The fewest strongest of a row that reach a mass, one by one."""
    kept, total = set(), 0.0
    for place in sorted((p for p in range(len(row)) if 0 < row[p] <= 1), key=lambda p: (-row[p], p)):
        if kept and total >= mass:
            break
        kept.add(place)
        total += float(row[place])
    return kept


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 8)),
        elements=st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 1.0, np.nan, np.inf]),
    ),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
)
def test_a_mass_keeps_the_fewest_strongest_keys(weights, mass):
    found = passes(Shown(CAP, "self", threshold=mass, threshold_kind="mass"), weights)
    assert [set(np.flatnonzero(row)) for row in found] == [by_mass(row, mass) for row in weights]
    by_weight = passes(Shown(CAP, "self", threshold=mass), weights)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(by_weight, (weights > 0) & (weights >= np.float32(mass)) & (weights <= 1))


@pytest.mark.parametrize("panel", ["lines", "graph"])
def test_heads_drawn_together_have_their_hues_and_strengths(panel):
    cap = make_capture(layers=1, heads=4, queries=6)
    view = cap.show(head=1, heads=[0, 2, 3], threshold=0.3, scale="linear")
    svg = svg_of(view, panel=panel)
    top = max(np.sort(cap.weights(0, head).max(axis=1))[-1] for head in (0, 2, 3))
    drawn = curves(svg)
    for head in (0, 2, 3):
        weights = cap.weights(0, head)
        own = [opacity(style) for _, style in drawn if style["stroke"] == head_colour(head, dark=False)]
        np.testing.assert_allclose(sorted(own), np.sort(weights[weights >= 0.3] / top), atol=1e-3)
    total = int((cap.weights(0)[[0, 2, 3]] >= 0.3).sum())
    assert len(drawn) == total
    written = joined(svg)
    assert f"{total} {panel[:-1] if panel == 'lines' else 'arc'}s ≥ 0.3 of 3 heads" in written
    assert "layer 0 heads 0, 2, 3" in written
    assert f"range of these heads 0 – {float(f'{top:.2g}'):g}" in written


def test_only_the_strongest_of_all_heads_together_are_drawn():
    cap = make_capture(layers=1, heads=3, queries=40)
    svg = svg_of(cap.show(heads=[0, 1, 2], domain=(0, 0.001)), panel="lines")
    assert "strongest 2,000 of 4,800 lines ≥ 0 of 3 heads" in joined(svg)
    least = np.sort(cap.weights(0).ravel())[-2000]
    drawn = curves(svg)
    for head in range(3):
        own = sum(style["stroke"] == head_colour(head, dark=False) for _, style in drawn)
        assert own == int((cap.weights(0, head) >= least).sum())


def test_the_locked_pair_has_a_weight_in_every_head_drawn():
    cap = make_capture(layers=1, heads=3, queries=6)
    written = texts(svg_of(cap.show(heads=[0, 2], query=4, key=1), panel="lines"))
    for head in (0, 2):
        assert written[written.index(f"head {head}") + 1] == f"{cap.weights(0, head)[4, 1]:#.3g}"


@pytest.mark.parametrize("lock", [{}, {"query": 3}, {"key": 2}])
@pytest.mark.parametrize("panel", ["lines", "graph"])
def test_a_mass_is_that_of_whole_rows(panel, lock):
    cap = make_capture(layers=1, heads=1, queries=8, seed=3)
    window = (1, 6, 2, 7)
    view = cap.show(threshold=0.7, threshold_kind="mass", window=window, domain=(0, 1e-6), **lock)
    kept = np.zeros((8, 8), dtype=bool)
    for query, row in enumerate(cap.weights(0, 0)):
        kept[query, list(by_mass(row, 0.7))] = True
    if "query" in lock:
        kept[np.arange(8) != 3] = False
    if "key" in lock:
        kept[:, np.arange(8) != 2] = False
    svg = svg_of(view, panel=panel)
    assert len(curves(svg)) == int(kept[1:6, 2:7].sum())
    assert "in the top 70 % of each query's mass" in joined(svg)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_arcs_above_look_back_and_arcs_below_look_ahead(theme):
    cap = make_capture(layers=1, heads=2, queries=7)
    view = cap.show(head=1, threshold=0.2, domain=(0, 1))
    svg = svg_of(view, panel="graph", theme=theme)
    weights = cap.weights(0, 1)
    drawn = curves(svg)
    assert len(drawn) == int((weights >= 0.2).sum())
    assert {style["stroke"] for _, style in drawn} == {head_colour(1, dark=theme == "dark")}
    above = [points for points, _ in drawn if points[1, 1] < points[0, 1]]
    below = [points for points, _ in drawn if points[1, 1] > points[0, 1]]
    strong = weights >= 0.2
    assert len(above) == int(np.tril(strong).sum())
    assert len(below) == int(np.triu(strong, k=1).sum())
    assert all(points[3, 0] < points[0, 0] for points in above if abs(points[3, 0] - points[0, 0]) > 8)
    assert all(points[3, 0] > points[0, 0] for points in below)
    np.testing.assert_allclose(
        sorted(opacity(style) for _, style in drawn), np.sort(np.sqrt(weights[strong])), atol=1e-3
    )
    thick = sorted((opacity(style), float(style.get("stroke-width", 1))) for _, style in drawn)
    assert [width for _, width in thick] == sorted(width for _, width in thick), "the stronger, the thicker"
    written = joined(svg)
    assert "↑ looks back" in written
    assert "↓ looks ahead" in written
    assert "weight after softmax as opacity and thickness, sqrt scale" in " ".join(texts(svg))
    heads = [points for points, style in styled(svg, "MLLz") if style["fill"] == head_colour(1, dark=theme == "dark")]
    ends = {tuple(np.round(points[0], 1)) for points in heads}
    assert len(heads) == len(drawn), "an arrow head at each key"
    assert all(any(abs(x - points[3, 0]) < 0.3 for x, _ in ends) for points, _ in drawn)


def test_a_causal_graph_has_no_room_below():
    svg = svg_of(make_capture(layers=1, queries=6, causal=True).show(), panel="graph")
    assert "looks back" in joined(svg)
    assert "looks ahead" not in joined(svg)


def test_keys_of_another_text_stand_over_the_queries():
    cap = make_capture(layers=1, queries=4, keys=6)
    svg = svg_of(cap.show(threshold=0.2), panel="graph")
    at = {"".join(element.itertext()): float(element.attrib["y"]) for element in svg.iter(f"{SVG}text")}
    assert at["k0"] < at["t0"]
    assert at["keys"] < at["k0"]
    assert at["t0"] < at["queries"]
    assert all(points[3, 1] < points[0, 1] for points, _ in curves(svg))


def test_a_window_of_two_parts_marks_what_is_left_out():
    written = texts(svg_of(make_capture(layers=1, queries=20).show(window=(2, 4, 10, 12)), panel="graph"))
    assert [text for text in written if re.fullmatch("t[0-9]+|…", text)] == ["t2", "t3", "…", "t10", "t11"]


def test_an_aggregate_has_the_colour_of_the_text():
    svg = svg_of(make_capture(layers=1, heads=2, queries=5).show(aggregate="mean"), panel="graph")
    assert {style["stroke"] for _, style in curves(svg)} == {"#1b1f24"}


def factored(**options):
    torch.manual_seed(0)
    q, k = torch.randn(1, 4, 9, 16), torch.randn(1, 2, 9, 16)
    layer = FactoredAttention(q, k, softcap=3.0, mask=Mask.causal(9, 9))
    return AttentionCapture([AttentionStack("self", [layer])]).show(head=3, query=7, key=4, **options)


@pytest.mark.parametrize("components", ["size", "index"])
def test_the_detail_has_the_steps_and_the_strips(components):
    view = factored(components=components)
    svg = svg_of(view, panel="detail")
    found = view.capture.detail(0, 3, 7, 4)
    written = texts(svg)
    for step in found.steps:
        for part in step:
            assert part.strip() == "" or part.strip() in written
    bars = [(points, style["fill"]) for points, style in styled(svg, "MLLLz") if style.get("fill") in BARS]
    assert len(bars) == 3 * 16
    order = np.argsort(-np.abs(found.products)) if components == "size" else np.arange(16)
    for row, values in enumerate((found.q, found.k, found.products)):
        part = sorted(bars[16 * row : 16 * (row + 1)], key=lambda bar: bar[0][:, 0].min())
        heights = np.array([points[0, 1] - points[2, 1] for points, _ in part])
        np.testing.assert_allclose(heights / np.abs(heights).max(), values[order] / np.abs(values).max(), atol=1e-3)
        assert [colour == BARS[0] for _, colour in part] == (values[order] > 0).tolist()
    said = " ".join(written)
    assert ("those left of the line" in said) == (components == "size")
    assert found.share in said
    assert written[written.index("q × k") + 2] == str(order[0])


BARS = ("#b8430a", "#1f64a8")


def test_a_detail_that_is_not_known_says_why():
    cap = make_capture()
    assert "Lock a query and a key to see how their weight came about." in joined(
        svg_of(cap.show(query=1), panel="detail")
    )
    why = " ".join(texts(svg_of(cap.show(query=1, key=2), panel="detail")))
    assert "q and k are not known: this capture holds weights only" in why
    hidden = factored(hidden_keys=[0])
    assert hidden.capture.without_keys([0]).detail(0, 3, 7, 4).steps[-3][1] in texts(svg_of(hidden, panel="detail"))


def test_softmax_rows_reach_any_mass():
    weights = softmax(np.random.default_rng(0).normal(size=(50, 30))).astype(np.float32)
    kept = passes(Shown(CAP, "self", threshold=0.9, threshold_kind="mass"), weights)
    sums = (weights * kept).sum(axis=1)
    assert (sums >= 0.9 - 1e-6).all()
    assert (sums - np.where(kept, weights, 2).min(axis=1) < 0.9).all(), "without the weakest it is less"
