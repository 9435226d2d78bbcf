"""Figures, read back: colours of cells, texts, sizes, and what they say about what was left out."""

import io
import logging
import re
import subprocess
import sys

import numpy as np
import pytest
from captures import make_capture, softmax
from figures import SVG, pictures, png_of, squares, svg_of, texts
from PIL import Image
from pixels import colormap, expected_colours

from attnwidget import AttentionCapture, CaptureError
from attnwidget.export.panels import PANELS
from attnwidget.widget.protocol import PANELS as SHOWN

EVERY = tuple(PANELS)
WORDS = "[CLS] The animal did n't cross the street because it was too tired . [SEP]".split()  # noqa: SIM905


def capture_of(words, seed=0, model="tiny", layers=2, heads=3):
    scores = np.random.default_rng(seed).normal(size=(layers, 1, heads, len(words), len(words))) * 2
    return AttentionCapture.from_weights(list(softmax(scores).astype(np.float32)), words, model=model)


def joined(svg):
    return "\n".join(texts(svg))


def matches(picture, weights, domain, scale, name, *, dark):
    """A weight right between two of the 256 colours may have either."""
    found = picture[..., :3].astype(int)
    near = [expected_colours(weights * (1 + by), domain, scale, name, dark=dark).astype(int) for by in (-1e-6, 0, 1e-6)]
    return np.any([(found == one).all(axis=-1) for one in near], axis=0)


def test_every_panel_of_the_view_can_be_drawn():
    assert set(EVERY) == set(SHOWN) - {"output"}, "what the model says is no figure"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("scale", "name"), [("linear", "viridis"), ("sqrt", "oslo"), ("log", "cividis")])
def test_each_cell_has_the_colour_of_its_weight(capture, theme, scale, name):
    view = capture.show(layer=1, head=2, scale=scale, colormap=name, domain=(0.1, 0.5))
    cells = pictures(svg_of(view, theme=theme))[0]
    assert cells.shape == (7, 7, 4)
    assert matches(cells, capture.weights(1, 2), (0.1, 0.5), scale, name, dark=theme == "dark").all()


def test_the_range_is_the_heads_own_where_no_other_is_set(capture):
    view = capture.show(layer=1, head=2)
    weights = capture.weights(1, 2)
    high = np.sort(weights.max(axis=1))[-1]
    svg = svg_of(view)
    assert matches(pictures(svg)[0], weights, (0, high), "sqrt", "oslo", dark=False).all()
    assert f"range of this head 0 – {float(f'{high:.2g}'):g}" in joined(svg)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_weight_of_one_has_the_top_colour_on_the_pixels(theme):
    cap = AttentionCapture.from_weights(np.eye(4, dtype=np.float32)[::-1][None, None].copy(), list("abcd"))
    pixels = png_of(cap.show(), theme=theme, dpi=144)
    found = squares(pixels, colormap("oslo", dark=theme == "dark")[-1], least=20)
    # Four squares from the upper right to the lower left, of one size but for the frame around them.
    assert len(found) == 4
    tops, lefts, heights, widths = np.array(found).T
    assert (np.diff(tops) > 0).all()
    assert (np.diff(lefts) < 0).all()
    assert np.ptp(heights) <= 2
    assert np.abs(heights - widths).max() <= 2
    page = np.array([255, 255, 255] if theme == "light" else [17, 20, 24])
    assert (pixels[0, 0] == page).all()


def test_the_view_decides_the_theme_unless_it_is_given(capture):
    view = capture.show(theme="dark")
    assert png_of(view, dpi=50)[0, 0].tolist() == [17, 20, 24]
    assert png_of(view, theme="light", dpi=50)[0, 0].tolist() == [255, 255, 255]
    assert png_of(capture.show(), dpi=50)[0, 0].tolist() == [255, 255, 255]


def test_title_axes_and_legend_say_what_is_shown():
    view = capture_of(WORDS).show(layer=1, head=2, query=9, key=2)
    written = texts(svg_of(view))
    assert "tiny · self · layer 1 head 2" in written
    assert "Queries × keys" in written
    assert 'query 9 "it" → key 2 "animal"' in written
    value = view.numbers().values[9, 2]
    assert any(text.strip() == f"{value:#.3g}" for text in written)
    assert any(text.startswith("weight after softmax, sqrt scale · range of this head 0 – ") for text in written)
    for word in WORDS:
        assert written.count(word) == 2 * WORDS.count(word), word


def test_layers_that_were_kept_have_their_numbers_in_the_model():
    import torch
    import transformers

    from attnwidget import AttentionModel

    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=4, n_head=4, n_embd=16, vocab_size=20)
    cap = AttentionModel(transformers.GPT2Model(config).eval()).capture(
        torch.arange(6)[None], layers=[1, 3], heads=[0, 3]
    )
    written = joined(svg_of(cap.show(layer=1, head=1)))
    assert "layer 1 (of the model: 3) head 1 (of the model: 3)" in written


def test_what_the_mask_forbids_is_hatched_and_explained(causal_capture):
    svg = svg_of(causal_capture.show())
    cells = pictures(svg)[0]
    np.testing.assert_array_equal(cells[..., 3] == 0, np.triu(np.ones((7, 7), dtype=bool), k=1))
    assert len(list(svg.iter(f"{SVG}pattern"))) >= 1
    assert "not allowed by the mask" in joined(svg)
    assert "not allowed" not in joined(svg_of(make_capture().show()))


def test_weights_above_the_range_are_told(capture):
    written = joined(svg_of(capture.show(domain=(0.0, 0.1))))
    assert "fixed range 0 – 0.1" in written
    assert "clipped above, up to" in written


@pytest.mark.parametrize("panel", EVERY)
def test_the_window_is_respected(panel):
    view = capture_of(WORDS).show(window=(2, 6, 7, 12))
    written = joined(svg_of(view, panel=panel))
    if panel in ("grid", "detail"):
        return
    assert "2 – 5 × 7 – 11 of 15" in written
    for word in WORDS[2:6] + WORDS[7:12]:
        assert word in written
    assert "tired" not in written
    if panel == "heatmap":
        assert pictures(svg_of(view))[0].shape[:2] == (4, 5)


def test_a_long_head_is_pooled_at_the_resolution_of_the_figure():
    cap = make_capture(layers=1, heads=1, queries=2000, causal=True)
    file = io.BytesIO()
    cap.show(domain=(0.0, 0.5)).to_svg(file)
    assert len(file.getvalue()) < 1_500_000
    svg = svg_of(cap.show(domain=(0.0, 0.5)))
    cells = pictures(svg)[0]
    height, width = cells.shape[:2]
    assert 500 < height < 1000
    rows, columns = np.arange(height) * 2000 // height, np.arange(width) * 2000 // width
    weights, allowed = cap.weights(0, 0), np.tril(np.ones((2000, 2000), dtype=bool))
    pooled = np.maximum.reduceat(np.maximum.reduceat(weights, rows, axis=0), columns, axis=1)
    known = np.maximum.reduceat(np.maximum.reduceat(allowed, rows, axis=0), columns, axis=1)
    right = matches(cells, pooled, (0.0, 0.5), "sqrt", "oslo", dark=False)
    assert right[known].all()
    assert (cells[~known, 3] == 0).all()
    written = texts(svg)
    assert any("max of up to 3 × 3" in text for text in written)
    assert len([text for text in written if re.fullmatch("t?[0-9]+", text)]) < 60, "labels are thinned out"
    assert len(list(svg.iter())) < 400, "one picture, and not a shape per cell"


@pytest.mark.parametrize("panel", EVERY)
def test_two_thousand_tokens_fit_on_a_page(panel):
    view = make_capture(layers=2, heads=2, queries=2000, causal=True).show(query=1500, key=3)
    pixels = png_of(view, panel=panel, dpi=72)
    assert (50 if panel == "detail" else 150) < pixels.shape[0] < 1800
    assert pixels.shape[1] <= 6.5 * 72


def test_the_same_view_gives_the_same_bytes(capture):
    for panel in EVERY:
        first, second = io.BytesIO(), io.BytesIO()
        for file in (first, second):
            capture.show(query=2).to_png(file, panel=panel, dpi=60)
            capture.show(query=2).to_svg(file, panel=panel)
        assert first.getvalue() == second.getvalue()


def test_cross_attention_has_two_lengths():
    cap = make_capture(queries=4, keys=19)
    for panel in EVERY:
        written = joined(svg_of(cap.show(query=3), panel=panel))
        if panel not in ("grid", "detail"):
            assert "t3" in written
            assert "k18" in written
    cells = pictures(svg_of(cap.show(domain=(0, 1))))[0]
    assert matches(cells, cap.weights(0, 0), (0, 1), "sqrt", "oslo", dark=False).all()


def test_a_column_or_a_row_of_one_token_can_be_drawn():
    for queries, keys in ((1, 30), (30, 1), (1, 1)):
        cap = make_capture(queries=queries, keys=keys)
        for panel in EVERY:
            assert png_of(cap.show(query=0), panel=panel, dpi=50).shape[0] > 50


ODD = ["<s>", "a&b", "</script>", "$x^2$", "漢字", "مرحبا", "👩‍🔬", "\n", "\t", "", "\ud83d", "x" * 300, "\u202e"]


@pytest.mark.parametrize("panel", ["heatmap", "lines", "graph", "text"])
def test_any_token_is_text_in_an_svg(panel, caplog):
    with caplog.at_level(logging.WARNING):
        written = texts(svg_of(capture_of(ODD, model="<m> & co\n").show(query=0), panel=panel))
    for text in ("<s>", "a&b", "</script>", "$x^2$", "漢字", "مرحبا", "👩‍🔬", "⏎", "⇥", "\\u{202e}", "\\u{d83d}"):
        assert text in written
    assert "<m> & co⏎ · self · layer 0 head 0" in written
    assert not [text for text in written if len(text) > 120]
    assert any(text.endswith("x…") for text in written)
    assert not caplog.records


def test_characters_without_a_font_are_named_once_in_a_png(tmp_path):
    view = capture_of(["\u16a0x", "b"]).show()
    private = capture_of(["\ue123", "\ue124", "b"]).show()
    with pytest.warns(
        UserWarning, match="no font here has the characters \ue123 \ue124: they are drawn as boxes"
    ) as told:
        private.to_png(tmp_path / "a.png", dpi=50)
    assert len(told) == 1
    assert told[0].filename == __file__
    view.to_svg(tmp_path / "a.svg")


def test_text_is_shaded_by_the_weights():
    cap = capture_of(WORDS)
    view = cap.show(query=9, domain=(0, 1), scale="linear")
    svg = svg_of(view, panel="text")
    row = cap.weights(0, 0)[9]
    fills = [
        found
        for path in svg.iter(f"{SVG}path")
        for found in re.findall(r"fill: (#\w{6})", path.attrib.get("style", ""))
    ]
    for colour in expected_colours(row, (0, 1), "linear", "oslo", dark=False):
        assert "#" + bytes(colour.tolist()).hex() in fills
    assert "shaded by the weights from query 9" in joined(svg)
    assert "lock a query or a key to see its weights" in joined(svg_of(cap.show(), panel="text"))


def test_a_long_text_says_what_is_left_out(monkeypatch):
    monkeypatch.setattr("attnwidget.export.panels.text.MOST", 10)
    written = joined(svg_of(make_capture(queries=40).show(query=20), panel="text"))
    assert "… 15 tokens left out …" in written
    assert "t15" in written
    assert "t24" in written
    assert "t25" not in written


def test_arabic_is_written_from_the_right():
    words = ["ذهب", "الولد", "إلى", "المدرسة"]
    svg = svg_of(capture_of(words).show(), panel="text", width=5)
    at = {"".join(element.itertext()): float(element.attrib["x"]) for element in svg.iter(f"{SVG}text")}
    places = [at[word] for word in words]
    assert places == sorted(places, reverse=True)


def test_the_grid_has_every_head_over_its_own_range(capture):
    cells = pictures(svg_of(capture.show(layer=1, head=2), panel="grid"))[0]
    high = cells.shape[0] // 3
    solid = np.flatnonzero((cells[..., 3] > 0).any(axis=0))
    starts = [int(run[0]) for run in np.split(solid, np.flatnonzero(np.diff(solid) > 1) + 1)]
    assert len(starts) == 4
    for layer in range(3):
        for head in range(4):
            weights = capture.weights(layer, head)
            top = np.sort(weights.max(axis=1))[-1]
            expected = expected_colours(weights, (0, top), "sqrt", "oslo", dark=False).astype(int)
            size = solid[-1] + 1 - starts[-1]
            middles = (np.arange(7) + 0.5) * size / 7
            y, x = layer * high + middles.astype(int), starts[head] + middles.astype(int)
            assert np.abs(cells[y[:, None], x][..., :3] - expected).max() <= 4


def test_sizes_follow_width_and_dots(capture):
    small, large = png_of(capture.show(), dpi=100), png_of(capture.show(), dpi=200)
    np.testing.assert_allclose(np.array(large.shape[:2]) / small.shape[:2], 2, rtol=0.03)
    assert png_of(capture.show(), width=4, dpi=50).shape[1] == 200
    file = io.BytesIO()
    capture.show().to_png(file, dpi=200)
    assert Image.open(file).info["dpi"][0] == pytest.approx(200, abs=0.1)


def test_a_path_is_returned_and_its_file_overwritten(capture, tmp_path):
    for path in (tmp_path / "a.png", str(tmp_path / "b.PNG")):
        for theme in ("light", "dark"):
            assert capture.show().to_png(path, theme=theme, dpi=40) == path
        assert np.asarray(Image.open(path).convert("RGB"))[0, 0].tolist() == [17, 20, 24]
    file = io.BytesIO()
    assert capture.show().to_svg(file) is file


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda v: v.to_png("a.svg"), ValueError, "path is 'a.svg': expected it to end in .png, or call to_svg"),
        (lambda v: v.to_svg("figure"), ValueError, "path is 'figure': expected it to end in .svg"),
        (
            lambda v: v.to_png(3),
            TypeError,
            "path is 3: expected a path that ends in .png, or a file open for writing bytes",
        ),
        (
            lambda v: v.to_png("a.png", panel="maze"),
            ValueError,
            "panel is 'maze': figures can be made of grid, heatmap",
        ),
        (lambda v: v.to_png("a.png", theme="blue"), ValueError, "theme is 'blue': expected 'light', 'dark' or None"),
        (lambda v: v.to_png("a.png", width=1), ValueError, "width is 1: expected inches, from 2 to 50"),
        (lambda v: v.to_png("a.png", dpi=5000), ValueError, "dpi is 5000: expected dots an inch, from 30 to 1200"),
    ],
)
def test_what_makes_no_sense_is_refused(capture, call, error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(text)):
        call(capture.show())
    assert not list(tmp_path.iterdir())


def test_a_closed_view_says_so(capture):
    view = capture.show()
    view.close()
    with pytest.raises(CaptureError, match="this view was closed: show the capture again"):
        view.to_png(io.BytesIO())


def test_without_matplotlib_the_error_says_what_to_install(capture, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=re.escape('pip install "attnwidget[figures]"')):
        capture.show().to_png(io.BytesIO())


def test_neither_pyplot_nor_settings_are_touched():
    code = (
        "import sys, io, numpy as np, attnwidget as aw\n"
        "view = aw.AttentionCapture.from_weights(np.full((1, 1, 3, 3), 1 / 3, dtype=np.float32)).show()\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; before = matplotlib.rcParams.copy()\n"
        "for panel in ('grid', 'heatmap', 'lines', 'graph', 'text', 'detail'): view.to_svg(io.BytesIO(), panel=panel)\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
