"""What stands in for a view: a picture and a text that are right, small, and can be switched off."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from captures import make_capture
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

import attnwidget as aw
from attnwidget.export.look import LIGHT, Ramp
from attnwidget.widget.protocol import EMBED_BUDGET

PNG, TEXT, WIDGET = "image/png", "text/plain", "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


class Look(torch.nn.Module):
    def forward(self, q, k):
        return torch.nn.functional.scaled_dot_product_attention(q, k, k, is_causal=True)


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


def bundle_of(view):
    data, _ = view._repr_mimebundle_()
    return data


def picture_of(data):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[PNG]))).convert("RGB")).astype(int)


def one_hot(places, tokens):
    """A head per place: all of each query's weight on one key."""
    weights = np.zeros((1, len(places), tokens, tokens), np.float32)
    for head, key in enumerate(places):
        weights[0, head, :, key] = 1
    return aw.AttentionCapture.from_weights(weights, [f"t{place}" for place in range(tokens)])


def test_the_picture_shows_each_head_where_it_is():
    picture = picture_of(bundle_of(one_hot([0, 3, 1], 4).show(head=1)))
    frame = np.argwhere((picture == [0xB8, 0x43, 0x0A]).all(-1))
    (top, left), (bottom, right) = frame.min(axis=0) + 1, frame.max(axis=0)
    step = right - left + 3
    for head, key in enumerate([0, 3, 1]):
        cell = picture[top:bottom, left + (head - 1) * step : right + (head - 1) * step]
        dark = cell.sum(-1).reshape(4, (bottom - top) // 4, 4, (right - left) // 4).mean(axis=(1, 3)).argmin(axis=1)
        assert dark.tolist() == [key] * 4


def test_its_colours_are_those_of_the_view():
    weights = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)[None, None]
    view = aw.AttentionCapture.from_weights(weights, ["a", "b"]).show(scale="linear", domain=(0, 1))
    picture = picture_of(bundle_of(view))
    frame = np.argwhere((picture == [0xB8, 0x43, 0x0A]).all(-1))
    (top, left), (bottom, right) = frame.min(axis=0), frame.max(axis=0)
    ramp = Ramp("oslo", "linear", 0, 1, dark=False)
    for place, weight in np.ndenumerate(weights[0, 0]):
        y, x = (
            int(start + (stop - start) * (1 + 2 * index) / 4)
            for start, stop, index in zip((top, left), (bottom, right), place, strict=True)
        )
        # u8 codes are right to 4.5 %; and the picture has 64 colours.
        near = [ramp.colours(np.array(weight * (1 + off))).astype(int) for off in (-0.05, 0, 0.05)]
        assert min(np.abs(picture[y, x] - each).max() for each in near) <= 12, (place, weight)


def test_masked_zero_and_overflow_look_different():
    look, query, key = Look(), torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4)
    query[0, 0, 2] = torch.nan
    query[0, 0, 1] = 100
    key[0, 0, 0] = 1
    with pytest.warns(aw.AttentionWarning, match="not numbers"), aw.capture(look, tokens=["a", "b", "c"]) as cap:
        look(query, key)
    picture = picture_of(bundle_of(cap.show()))
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert {rgb(LIGHT.masked), rgb(LIGHT.missing), (255, 255, 255)} <= colours


@pytest.mark.parametrize(("layers", "heads", "tokens"), [(1, 1, 1), (12, 12, 14), (24, 16, 200), (30, 60, 9)])
def test_the_picture_is_small(layers, heads, tokens):
    data = bundle_of(make_capture(layers, heads, tokens, causal=True).show())
    assert 0 < len(data[PNG]) <= 30_000
    assert Image.open(io.BytesIO(base64.b64decode(data[PNG]))).width <= 640


def test_what_is_shown_is_what_the_picture_is_of():
    cap = make_capture(2, 3, 6, causal=True)
    light = picture_of(bundle_of(cap.show()))
    assert light[0, 0].tolist() == [255, 255, 255]
    assert picture_of(bundle_of(cap.show(theme="dark")))[0, 0].max() < 40
    lift = picture_of(bundle_of(cap.show(measure="lift")))
    assert lift.shape != light.shape or (lift != light).any()


def test_the_text_names_model_tokens_and_shape():
    text = bundle_of(make_capture(3, 4, 30).show(layer=2, head=1))[TEXT]
    assert "attention" in text
    assert "3 layers x 4 heads, 30 tokens" in text
    assert "t0 t1 t2" in text
    assert "(30 tokens)" in text
    assert "layer 2 head 1" in text
    assert "Run the cell again" in text


def test_the_picture_can_be_switched_off(monkeypatch):
    view = make_capture().show()
    monkeypatch.setattr(aw.limits, "picture_bytes", 0)
    data = bundle_of(view)
    assert PNG not in data
    assert "3 layers x 4 heads" in data[TEXT]
    assert WIDGET in data


def test_where_no_picture_is_small_enough_there_is_none(monkeypatch):
    monkeypatch.setattr(aw.limits, "picture_bytes", 200)
    assert PNG not in bundle_of(make_capture().show())


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook with two views as nbclient saves it."""
    cells = [
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1] / 'support')!r})",
        "from captures import make_capture\ncap = make_capture(12, 12, 60)",
        "cap",
        "cap.show(layer=4, head=2)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return notebook


def test_a_host_that_keeps_no_state_shows_picture_and_text(executed):
    """By contract: VS Code after a reload and GitHub take the next mime type that they know."""
    for cell in executed.cells[2:]:
        (output,) = cell.outputs
        assert set(output.data) == {WIDGET, PNG, TEXT}
        assert Image.open(io.BytesIO(base64.b64decode(output.data[PNG]))).size[0] > 300
    without = nbformat.reads(nbformat.writes(executed).replace(WIDGET, "application/x-unknown"), as_version=4)
    del without.metadata["widgets"]
    html, _ = HTMLExporter(exclude_input=True).from_notebook_node(without)
    assert all(cell.outputs[0].data[PNG].strip() in html for cell in executed.cells[2:])


def test_a_saved_view_is_its_script_once_its_weights_and_a_picture(executed):
    models = [
        model for model in executed.metadata["widgets"][STATE]["state"].values() if model["model_name"] == "AnyModel"
    ]
    assert len(models) == 2
    for cell, model in zip(executed.cells[2:], models, strict=True):
        script = len(model["state"]["_esm"])
        (embedded,) = (buffer for buffer in model["buffers"] if buffer["path"] == ["embed"])
        assert len(embedded["data"]) <= EMBED_BUDGET * 4 / 3 + 4
        rest = len(json.dumps(model)) - len(json.dumps(model["state"]["_esm"])) - len(embedded["data"])
        assert rest < 16_000, "tokens, shape and traits"
        assert script < 80_000
        assert len(json.dumps(cell.outputs)) < 31_000
