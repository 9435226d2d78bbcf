"""The graph and the threshold, with their kernel, in a real JupyterLab."""

import numpy as np
import pytest
from heatmap import focused, leave, panel
from pixels import screenshot

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
from captures import make_capture
cap = make_capture(layers=4, heads=6, queries=12)
view = cap.show(layer=1, head=2, threshold=0.3)
view
"""


@pytest.fixture
def notebook(lab, page, support):
    notebook = lab.open(page, lab.write("graph.ipynb", [SETUP.format(support=support)]))
    notebook.run_all()
    return notebook


def kept_by_mass(weights, mass):
    """How many weights of each row it takes, strongest first and of equal ones the first, to reach the mass."""
    order = np.argsort(-weights, axis=1, kind="stable")
    sums = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    return np.minimum((sums < mass).sum(axis=1) + 1, weights.shape[1])


def says(notebook, view, text):
    notebook.page.wait_for_function(
        """([view, text]) => view.querySelector('[data-name="graph"] .note').textContent.includes(text)""",
        arg=[view.element_handle(), text],
    )


def coloured(graph):
    """Pixels with a hue, above the words: arcs."""
    pixels = screenshot(graph.locator("canvas"))[..., :3].astype(int)
    above = pixels[: pixels.shape[0] // 2 - 20]
    return int((above.max(axis=-1) - above.min(axis=-1) > 40).sum())


def test_the_graph_is_ticked_in_the_list_of_panels_and_draws_what_passes_the_threshold(notebook):
    view = notebook.ready()
    view.locator("footer").click()
    view.locator("summary").focus()
    notebook.page.keyboard.press("p")
    view.locator(".menu").get_by_label("graph").check()
    notebook.page.keyboard.press("Escape")
    notebook.page.wait_for_timeout(300)
    assert notebook.evaluate("view.panels") == ["grid", "heatmap", "lines", "graph", "text"]
    graph = panel(view, "graph")
    weights = np.array(notebook.evaluate("cap.weights(1, 2).tolist()"))
    says(notebook, view, f"{(weights >= 0.3).sum()} arcs ≥ 0.3")
    assert coloured(graph) > 200

    graph.get_by_label("keep").select_option("mass")
    assert kept_by_mass(weights, 0.9).mean() > 2
    says(notebook, view, f"{kept_by_mass(weights, 0.9).sum()} arcs in the top 90 % of each query's mass")
    many = coloured(graph)
    graph.get_by_role("spinbutton", name="threshold").fill("0.5")
    notebook.page.keyboard.press("Enter")
    says(notebook, view, f"{kept_by_mass(weights, 0.5).sum()} arcs in the top 50 % of each query's mass")
    assert 0 < coloured(graph) < many
    assert notebook.evaluate("[view.threshold, view.threshold_kind]") == [0.5, "mass"]
    notebook.execute("view.threshold = 0.75")
    count = kept_by_mass(weights, 0.75).sum()
    says(notebook, view, f"{count} arcs in the top 75 % of each query's mass")
    assert f"{count} lines in the top 75 %" in panel(view, "lines").inner_text()


def test_a_token_of_the_graph_is_hovered_locked_and_turned_round(notebook):
    view = notebook.ready()
    notebook.execute("view.panels = ['graph', 'text']")
    says(notebook, view, "arcs ≥ 0.3")
    graph = panel(view, "graph")
    canvas = graph.locator("canvas")
    page = notebook.page
    assert canvas.evaluate("canvas => canvas.width / canvas.getBoundingClientRect().width === devicePixelRatio")
    before = coloured(graph)
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2, steps=3)
    focused(view, 0, None)
    says(notebook, view, "arcs of query 0 ≥ 0.3")
    assert coloured(graph) < before
    page.mouse.down()
    page.mouse.up()
    leave(view)
    page.keyboard.press("r")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    focused(view, None, 1)
    says(notebook, view, "arcs of key 1 ≥ 0.3")
    page.wait_for_timeout(300)
    assert notebook.evaluate("[view.query, view.key, view.direction]") == [None, 1, "to"]
    page.keyboard.press("Escape")
    focused(view, None, None)
