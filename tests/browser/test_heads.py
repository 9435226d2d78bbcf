"""Heads drawn together and as one, and a line view that keeps its place, with their kernel, in a real JupyterLab."""

import numpy as np
import pytest
from heatmap import attribute, panel
from travel import LONG_CAPTURE

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
from captures import make_capture
cap = make_capture(layers=3, heads=5, queries=9, causal=True)
view = cap.show(layer=1, head=2, threshold=0.02)
"""


@pytest.fixture
def notebook(lab, page, support):
    notebook = lab.open(page, lab.write("heads.ipynb", [SETUP.format(support=support), "view"]))
    notebook.run_all()
    return notebook


def hears(notebook, expression, value):
    """The kernel hears of a change once it has answered for the one before."""
    for _ in range(50):
        if notebook.evaluate(expression) == value:
            return
        notebook.page.wait_for_timeout(100)
    assert notebook.evaluate(expression) == value


def test_squares_draw_heads_together_and_as_one_and_the_kernel_hears_of_it(notebook):
    view = notebook.ready()
    squares = view.locator(".heads button")
    assert squares.count() == 5
    squares.nth(0).click()
    attribute(squares.nth(0), "aria-pressed", "true")
    hears(notebook, "view.heads", [0, 2])
    squares.nth(4).dblclick()
    attribute(squares.nth(2), "aria-pressed", "false")
    hears(notebook, "[view.heads, view.head]", [[], 4])
    squares.nth(4).dblclick()
    attribute(squares.nth(2), "aria-pressed", "true")
    hears(notebook, "view.heads", [0, 1, 2, 3, 4])
    squares.nth(1).press(" ")
    attribute(squares.nth(1), "aria-pressed", "false")
    hears(notebook, "view.heads", [0, 2, 3, 4])
    view.locator("select").and_(view.get_by_label("draw")).select_option("mean layers")
    attribute(view, "data-aggregate", "mean of all 15 heads")
    hears(notebook, "[view.aggregate, view.over]", ["mean", "layers"])
    notebook.execute("view.query, view.key = 6, 2")
    attribute(view, "data-key", "2")
    view.locator(".readout", has_text="exact").wait_for()
    said = float(view.locator(".readout strong").inner_text())
    mean = np.array(notebook.evaluate("cap.weights().mean(axis=(0, 1)).tolist()"))
    assert said == pytest.approx(mean[6, 2], rel=5e-3)
    assert view.locator(".failure, .problem:visible").count() == 0


def test_the_lines_of_a_long_head_stay_where_they_are_when_the_theme_changes(lab, page):
    notebook = lab.open(page, lab.write("long-lines.ipynb", [LONG_CAPTURE.format(tokens=4096), "view"]))
    notebook.run_all()
    view = notebook.ready(timeout=90_000)
    lines = panel(view, "lines").locator(".scroll")
    notebook.execute("view.query = 2300")
    attribute(view, "data-query", "2300")

    def first_token():
        """The query that the panel finds under the pointer at the top of its column."""
        lines.hover(position={"x": 40, "y": 8})
        page.wait_for_timeout(300)
        return int(view.get_attribute("data-query"))

    page.wait_for_timeout(500)
    before = first_token()
    assert 2260 < before < 2300
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.mouse.move(0, 0)
        notebook.theme(theme)
        page.wait_for_timeout(1000)
        view.scroll_into_view_if_needed()
        assert abs(first_token() - before) <= 1, theme
