"""The quickstart notebook, from the first cell to the last, in a real JupyterLab."""

import re

import numpy as np
import pytest
from pixels import expected_colours, read_cells

TEXT = "The animal didn't cross the street because it was too tired."
pytestmark = pytest.mark.browser


def domain(view):
    low, high = map(float, view.get_attribute("data-domain").split(","))
    return low, high


@pytest.fixture
def quickstart(lab, page):
    notebook = lab.open(page, "quickstart.ipynb")
    notebook.run_all()
    return notebook


def test_every_cell_runs_and_every_view_is_drawn(quickstart):
    cells = quickstart.page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
            .filter(cell => cell.model.type === 'code' && /^(cap|view|model\\.capture\\(.*|cap\\.show\\(.*|aw\\..*)/m.test(
                cell.model.sharedModel.source.trim().split('\\n').at(-1))).length"""
    )
    assert cells >= 6
    for index in range(quickstart.page.locator(".attnwidget").count()):
        view = quickstart.ready(index)
        assert view.get_attribute("data-status") == "live"
        assert view.locator('canvas[data-panel="heatmap"]').count() == 1


def test_the_pixels_are_the_weights(quickstart):
    view = quickstart.ready(1)
    layer, head = int(view.get_attribute("data-layer")), int(view.get_attribute("data-head"))
    assert (layer, head) == (4, 5)  # the cell below moved it from layer 3
    weights = np.array(quickstart.evaluate(f"view._capture.weights(layer={layer}, head={head}).tolist()"))
    colours = read_cells(view, *weights.shape).astype(int)
    expected = expected_colours(weights, domain(view), "sqrt", "oslo", dark=False).astype(int)
    # A code is right to 0.02 %, so a weight on the edge between two of the 256 colours may fall to either side.
    neighbours = np.abs(np.diff(expected_colours(np.linspace(0, 1, 5000), (0, 1), "linear", "oslo", dark=False).astype(int), axis=0)).max()
    assert np.abs(colours - expected).max() <= neighbours
    assert (np.abs(colours - expected).max(axis=-1) == 0).mean() > 0.97
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 20


def test_hover_and_lock_answer_in_every_panel_and_reach_python(quickstart):
    view = quickstart.ready(0)
    page = quickstart.page
    weights = np.array(quickstart.evaluate(f"model.capture({TEXT!r}).weights(layer=0, head=0).tolist()"))
    canvas = view.locator('canvas[data-panel="heatmap"]')
    box = canvas.bounding_box()
    left, top = map(float, canvas.get_attribute("data-origin").split(","))
    width, height = map(float, canvas.get_attribute("data-cell").split(","))
    query, key = 10, 2
    before = view.locator('[data-name="text"]').screenshot()
    page.mouse.move(box["x"] + left + (key + 0.5) * width, box["y"] + top + (query + 0.5) * height)
    page.wait_for_function("view => view.dataset.query === '10' && view.dataset.key === '2'", arg=view.element_handle())
    readout = view.inner_text()
    assert re.search(r'query 10 .*it.* key 2 .*animal', readout, re.S)
    assert f"{weights[query, key]:.3g}" in readout
    assert view.locator('[data-name="text"]').screenshot() != before
    page.mouse.click(box["x"] + left + (key + 0.5) * width, box["y"] + top + (query + 0.5) * height)
    page.mouse.move(5, 5)
    page.wait_for_timeout(400)
    assert (view.get_attribute("data-query"), view.get_attribute("data-key")) == ("10", "2")
