"""Scales, legend and lift, as pixels of a real JupyterLab."""

import numpy as np
import pytest
from pixels import colormap, expected_colours, read_cells

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
import numpy as np, attnwidget as aw
from captures import make_capture
cap = make_capture(layers=2, heads=3, queries=12, causal=True)
"""
ALLOWED = np.tril(np.ones((12, 12), dtype=bool))


@pytest.fixture
def notebook(lab, page, support):
    cells = [SETUP.format(support=support), "view = cap.show(layer=1, head=2, query=7, key=3)\nview"]
    notebook = lab.open(page, lab.write("scales.ipynb", cells))
    notebook.run_all()
    return notebook


def array(notebook, expression):
    return np.array(notebook.evaluate(f"{expression}.tolist()"), dtype=float)


def among(colours, candidates):
    return np.any([(colours == candidate).all(axis=-1) for candidate in candidates], axis=0)


def test_quantiles_colour_by_rank_and_lift_around_chance(notebook):
    view = notebook.ready()
    weights = array(notebook, "cap.weights(1, 2)")
    notebook.execute("view.scale, view.colormap = 'quantile', 'viridis'")
    notebook.page.wait_for_timeout(400)
    known = weights[ALLOWED]
    rank = np.searchsorted(np.sort(known), weights)  # how many are smaller
    table = colormap("viridis", dark=False)
    # Two weights that are nearer than a code is right have one place.
    near = [
        table[np.rint(np.clip(rank + by, 0, len(known) - 1) / (len(known) - 1) * 255).astype(int)] for by in (-1, 0, 1)
    ]
    assert among(read_cells(view, 12, 12), near)[ALLOWED].all()

    notebook.execute("view.measure = 'lift'")
    notebook.page.wait_for_timeout(800)
    lift = array(notebook, "cap.lift(1, 2)")
    np.testing.assert_allclose(lift[ALLOWED], (weights * np.arange(1, 13)[:, None])[ALLOWED], rtol=1e-5)
    for theme, name, dark in (("light", "vik", False), ("dark", "berlin", True)):
        notebook.execute(f"view.theme = {theme!r}")
        notebook.page.wait_for_timeout(400)
        low, high = (float(end) * 12 for end in view.get_attribute("data-domain").split(","))
        assert low * high == pytest.approx(1)
        near = [
            expected_colours(lift * (1 + by * 2e-4), (low, high), "log", name, dark=dark).astype(int)
            for by in (-1, 0, 1)
        ]
        assert among(read_cells(view, 12, 12).astype(int), near)[ALLOWED].all(), theme
    said = view.locator(".readout").inner_text()
    assert f"{lift[7, 3]:.3g}"[:4] in said
    assert "uniform" in said
    assert f"weight {weights[7, 3]:.3g}"[:11] in said
    assert "1 = as much as by chance" in view.locator(".legend").inner_text()


def test_an_end_of_the_legend_is_dragged_typed_and_let_go_of(notebook):
    view = notebook.ready()
    upper = view.locator('[role="slider"]').nth(1)
    bar = view.locator(".bar").bounding_box()
    box = upper.bounding_box()
    mouse = notebook.page.mouse
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(bar["x"] + bar["width"] / 2, box["y"] + 5, steps=4)
    assert notebook.evaluate("view.domain") is None
    mouse.up()
    notebook.page.wait_for_timeout(500)
    low, high = notebook.evaluate("view.domain")
    top = notebook.evaluate("float(cap.weights(1, 2).max())")
    assert low == 0
    assert 0 < high < top / 2  # half of a sqrt bar is a quarter
    upper.focus()
    notebook.page.keyboard.press("ArrowRight")
    notebook.page.wait_for_timeout(400)
    assert notebook.evaluate("view.domain")[1] > high
    view.get_by_role("button", name="Back to the range of each head").click()
    notebook.page.wait_for_timeout(400)
    assert notebook.evaluate("view.domain") is None
    notebook.page.set_viewport_size({"width": 620, "height": 1000})
    notebook.page.wait_for_timeout(600)
    clipped = view.evaluate(
        """(root) => [...root.querySelectorAll('.legend *')].filter((each) => !each.closest('[hidden]')
            && each.getBoundingClientRect().right > root.getBoundingClientRect().right + 1).length"""
    )
    assert clipped == 0
