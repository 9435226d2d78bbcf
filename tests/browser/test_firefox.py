"""The view in Firefox as it is shipped, in a real JupyterLab."""

import os

import pytest
from captures import make_capture
from heatmap import attribute, click, focused, hover, leave, panel
from hostrecord import PACKAGES
from pixels import check_pixels, screenshot, weights_of

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
from captures import make_capture
from embedded import in_full
cap = make_capture(layers=12, heads=12, queries=64)
view = cap.show(layer=1, head=2)
"""


@pytest.fixture(scope="module")
def browser(playwright):
    """In the place of Chromium, for everything in this file. Driven over WebDriver BiDi, which any Firefox speaks."""
    path = os.environ.get("FIREFOX_PATH")
    if not path:
        pytest.skip("FIREFOX_PATH names no Firefox: `make test-browser` sets it, where one can be had")
    browser = playwright.firefox.launch(executable_path=path, channel="moz-firefox")
    yield browser
    browser.close()


@pytest.fixture
def notebook(lab, page, support):
    notebook = lab.open(page, lab.write("firefox.ipynb", [SETUP.format(support=support), "view"]))
    notebook.run_all()
    return notebook


def inked(view, name):
    """How many different colours the canvases of a panel hold, read back from the browser."""
    return panel(view, name).evaluate(
        """section => Math.max(...[...section.querySelectorAll('canvas')].map(canvas => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
        }))"""
    )


def test_every_panel_draws_real_data_and_all_are_linked(notebook, record_host):
    record_host("JupyterLab", version=notebook.version(), packages=notebook.evaluate(PACKAGES))
    view = notebook.ready()
    assert view.get_attribute("data-status") == "live"
    weights = weights_of(notebook, "cap.weights(1, 2)")
    check_pixels(view, weights)
    for name in ("grid", "lines"):
        assert inked(view, name) > 30, name
    assert len(panel(view, "text").locator(".token").all_inner_texts()) == 64

    tokens = panel(view, "text").locator(".token")
    plain = tokens.nth(7).evaluate("token => getComputedStyle(token).backgroundColor")
    before = screenshot(panel(view, "lines"))
    hover(view, 3, 7)
    notebook.page.wait_for_function(
        "([view, value]) => view.querySelector('footer').innerText.includes(value)",
        arg=[view.element_handle(), f"{weights[3, 7]:.3g}"],
    )
    assert tokens.nth(7).evaluate("token => getComputedStyle(token).backgroundColor") != plain
    assert (screenshot(panel(view, "lines")) != before).any()
    leave(view)
    focused(view, None, None)

    click(view, 4, 2)
    leave(view)
    focused(view, 4, 2)
    notebook.page.wait_for_timeout(500)
    assert notebook.evaluate("[view.query, view.key]") == [4, 2]


def test_a_head_that_did_not_travel_is_fetched(notebook):
    view = notebook.ready()
    assert [10, 11] not in notebook.evaluate("in_full(view.embed)")
    notebook.execute("view.layer, view.head = 10, 11")
    attribute(view, "data-head", "11")
    notebook.page.wait_for_timeout(300)
    view = notebook.ready()
    check_pixels(view, weights_of(notebook, "cap.weights(10, 11)"))


def test_keys_and_the_dark_theme(notebook):
    view = notebook.ready()
    click(view, 4, 2)
    notebook.page.keyboard.press("b")  # in JupyterLab: insert a cell below
    notebook.page.keyboard.press("]")
    attribute(view, "data-head", "3")
    notebook.page.keyboard.press("Escape")
    leave(view)
    notebook.page.wait_for_timeout(500)
    assert notebook.evaluate("[view.head, view.query, view.key]") == [3, None, None]
    assert notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") == 2

    notebook.theme("JupyterLab Dark")
    attribute(view, "data-theme", "dark")
    notebook.page.wait_for_timeout(300)
    check_pixels(view, weights_of(notebook, "cap.weights(1, 3)"), dark=True)
    notebook.execute(
        "view.panels = ['grid', 'heatmap', 'lines', 'graph', 'text', 'detail']; view.query, view.key = 4, 2"
    )
    focused(view, 4, 2)
    view = notebook.ready()
    assert inked(view, "graph") > 10
    assert panel(view, "lines").locator(".scroll").evaluate(
        "area => [area.scrollHeight > area.clientHeight, area.scrollWidth - area.clientWidth]"
    ) == [True, 0], "a scroll bar that takes room does not bring another one"


def test_a_saved_page_needs_no_kernel(page, tmp_path):
    cap = make_capture(layers=3, heads=4, queries=12)
    page.goto(cap.to_html(tmp_path / "page.html", layer=1, head=2).as_uri())
    view = page.locator('.attnwidget .root[data-ready="true"]').first
    view.wait_for()
    assert view.get_attribute("data-status") == "static"
    hover(view, 5, 3)
    click(view, 5, 3)
    leave(view)
    focused(view, 5, 3)
