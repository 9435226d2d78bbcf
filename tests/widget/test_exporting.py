"""What the page asks for as files, over the wire."""

import io
import sys
import xml.etree.ElementTree as ET
from importlib.resources import files

import numpy as np
import pytest
from captures import make_capture
from PIL import Image

FIGURE = {"kind": "svg", "panel": "heatmap", "theme": "dark", "scale": 2}


def asked(view, method, params):
    """The one answer to one message."""
    sent = []
    view.send = lambda content, buffers=None: sent.append((content, buffers))
    view._handle_custom_msg({"id": 4, "method": method, "params": params}, [])
    ((content, buffers),) = sent
    assert content["id"] == 4
    return content, buffers


def test_a_figure_is_what_the_view_shows_now(capture):
    view = capture.show(layer=1)
    view.query = 3
    content, (body,) = asked(view, "figure", FIGURE)
    assert content["ok"] == {}
    expected = io.BytesIO()
    view.to_svg(expected, theme="dark")
    assert body == expected.getvalue()
    assert 'query 3 "t3"' in "".join(ET.fromstring(body).itertext())  # noqa: S314 - our own


def test_a_picture_has_the_scale_that_was_asked_for(capture):
    sizes = []
    for scale in (1, 2, 3):
        _, (body,) = asked(capture.show(), "figure", {**FIGURE, "kind": "png", "panel": "lines", "scale": scale})
        sizes.append(Image.open(io.BytesIO(body)).size)
    np.testing.assert_allclose(np.array(sizes) / sizes[0], [[1, 1], [2, 2], [3, 3]], rtol=0.02)


def test_numbers_and_code_come_as_python_writes_them(capture):
    view = capture.show(layer=2, head=1)
    _, (body,) = asked(view, "figure", {**FIGURE, "kind": "csv"})
    expected = io.BytesIO()
    view.to_csv(expected)
    assert body == expected.getvalue()
    content, buffers = asked(view, "code", {})
    assert content["ok"] == {"code": "cap.show(layer=2, head=1)"}
    assert buffers == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "pdf"}, "'kind' must be one of 'svg', 'png', 'csv', got 'pdf'"),
        ({"panel": None}, "'panel' must be one of 'grid', 'heatmap', 'lines', 'graph', 'text', 'detail', got None"),
        ({"theme": "auto"}, "'theme' must be one of 'light', 'dark', got 'auto'"),
        ({"scale": 9}, "'scale' must be one of 1, 2, 3, got 9"),
    ],
)
def test_nonsense_is_refused(capture, change, text):
    content, _ = asked(capture.show(), "figure", {**FIGURE, **change})
    assert content["error"] == {"code": "invalid", "message": text}


def test_what_cannot_be_drawn_is_said_in_words(capture, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    content, _ = asked(capture.show(), "figure", FIGURE)
    assert content["error"] == {
        "code": "failed",
        "message": 'figures are drawn with matplotlib, which is not installed: pip install "attnwidget[figures]"',
    }
    content, _ = asked(make_capture(layers=1, heads=1, queries=1100).show(), "figure", {**FIGURE, "kind": "csv"})
    assert content["error"]["message"].startswith("the window has 1,100 × 1,100 numbers")


def test_a_closed_view_draws_nothing(capture):
    view = capture.show()
    view.close()
    content, _ = asked(view, "figure", FIGURE)
    assert content["error"]["code"] == "closed"


def test_the_page_is_sent_what_only_a_kernel_can_use(capture):
    view = capture.show()
    content, _ = asked(view, "module", {})
    module = files("attnwidget") / "widget" / "static" / "kernel.js"
    assert content["ok"] == {"code": module.read_text(encoding="utf-8")}
