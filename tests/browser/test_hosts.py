"""One view in notebook hosts of every kind, with one list of what must hold in each; JupyterLab has tests of its own.

Each host is opened once, and its tests share the page.
"""

from contextlib import closing

import numpy as np
import pytest
from classic import Classic
from heatmap import attribute, click, focused, hover, leave, panel
from hostrecord import PACKAGES
from lab import Notebook7
from marimoapp import Marimo
from pixels import check_pixels, screenshot, weights_of
from voiladash import Voila
from watchedpage import watched_page

pytestmark = pytest.mark.browser

HOSTS = {"Notebook": Notebook7, "nbclassic": Classic, "Voila": Voila, "marimo": Marimo}

CELLS = [
    """
from captures import make_capture
cap = make_capture(layers=4, heads=6, queries=12)
view = cap.show(layer=1, head=2)
view
""",
    "cap",
    """
big = make_capture(layers=6, heads=6, queries=300, seed=1).show()
big
""",
]
VIEW, CAPTURE, BIG = range(3)


@pytest.fixture(scope="module", params=HOSTS)
def host(request, tmp_path_factory):
    with closing(HOSTS[request.param](tmp_path_factory.mktemp(request.param))) as server:
        server.name = request.param
        yield server


@pytest.fixture(scope="module")
def alone(host, browser):
    """What the host asks for and fails at by itself, in a document without a view."""
    with watched_page(browser) as watched:
        host.open(watched.page, host.write("alone.ipynb", ["print(1)"])).run_all()
        watched.page.wait_for_timeout(500)
    return watched


@pytest.fixture(scope="module")
def opened(host, browser, alone):
    with watched_page(browser) as watched:
        document = host.open(watched.page, host.write("views.ipynb", CELLS))
        document.run_all()
        yield document, watched


@pytest.fixture
def document(opened):
    document, _ = opened
    document.execute("view.layer, view.head, view.query, view.key = 1, 2, None, None")
    view = document.ready(VIEW)
    leave(view)
    attribute(view, "data-head", "2")
    focused(view, None, None)
    return document


def eventually(document, expression, value):
    """Wait until Python has a value: a message may take a while."""
    for _ in range(20):
        if document.evaluate(expression) == value:
            return
        document.page.wait_for_timeout(100)
    assert document.evaluate(expression) == value


def test_every_panel_is_drawn_from_the_weights(host, document, record_host):
    record_host(host.name, version=document.version(), packages=document.evaluate(PACKAGES))
    view = document.ready(VIEW)
    assert view.get_attribute("data-status") == "live"
    seen = check_pixels(view, weights_of(document, "cap.weights(1, 2)"))
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 20
    assert panel(view, "text").locator(".token").all_inner_texts() == [f"t{index}" for index in range(12)]
    before = {name: screenshot(panel(view, name)) for name in ("grid", "lines")}
    document.execute("view.layer, view.head = 3, 4")
    attribute(view, "data-head", "4")
    document.page.wait_for_timeout(300)
    check_pixels(view, weights_of(document, "cap.weights(3, 4)"))
    for name, pixels in before.items():
        now = screenshot(panel(view, name))
        assert len(np.unique(now.reshape(-1, 3), axis=0)) > 20, name
        assert (now != pixels).any(), name


def test_a_capture_on_the_last_line_is_a_view(document):
    view = document.ready(CAPTURE)
    assert view.get_attribute("data-status") == "live"
    check_pixels(view, weights_of(document, "cap.weights(0, 0)"))


def test_a_hover_links_the_panels_and_says_the_weight(document):
    view = document.ready(VIEW)
    token = panel(view, "text").locator('[data-index="3"]')
    colour = "token => getComputedStyle(token).backgroundColor"
    weight = weights_of(document, "cap.weights(1, 2)")[3, 7]
    lines, plain = screenshot(panel(view, "lines")), token.evaluate(colour)
    hover(view, 3, 7)
    document.page.wait_for_function(
        "([view, value]) => view.querySelector('footer').innerText.includes(value)",
        arg=[view.element_handle(), f"{weight:.3g}"],
    )
    document.page.wait_for_timeout(300)
    assert (screenshot(panel(view, "lines")) != lines).any()
    assert token.evaluate(colour) != plain
    assert document.evaluate("[view.query, view.key]") == [None, None], "a hover stays in the page"


def test_a_lock_reaches_python_and_the_same_click_releases_it(document):
    view = document.ready(VIEW)
    click(view, 4, 2)
    eventually(document, "[view.query, view.key]", [4, 2])
    document.ready(VIEW)
    click(view, 4, 2)
    eventually(document, "[view.query, view.key]", [None, None])


def test_the_page_follows_python(document):
    view = document.ready(VIEW)
    document.execute("view.layer, view.head, view.query, view.key = 2, 5, 9, 1")
    attribute(view, "data-layer", "2")
    attribute(view, "data-head", "5")
    focused(view, 9, 1)


def test_two_views_do_not_disturb_each_other(document):
    view, other = document.ready(VIEW), document.ready(CAPTURE)
    click(other, 6, 5)
    leave(other)
    focused(other, 6, 5)
    focused(view, None, None)
    document.execute("view.query = 8")
    focused(view, 8, None)
    focused(other, 6, 5)


def test_what_was_not_embedded_comes_from_the_kernel(document):
    document.ready(BIG)
    document.execute("asked = []; big.on_msg(lambda _, content, __: asked.append(content['method']))")
    document.execute("big.layer, big.head, big.window = 5, 5, (260, 284, 100, 124)")
    view = document.ready(BIG)
    attribute(view, "data-window", "260,284,100,124")
    document.page.wait_for_timeout(300)
    view = document.ready(BIG)
    check_pixels(view, weights_of(document, "big.capture.weights(5, 5, queries=(260, 284), keys=(100, 124))"))
    assert "tiles" in document.evaluate("asked")


def test_keys_pressed_in_the_view_are_not_heard_by_the_notebook(document):
    view = document.ready(VIEW)
    cells = document.cell_count()
    click(view, 4, 2)
    for key in ("b", "a", "x", "]"):  # in Jupyter: cell below, cell above, cut the cell
        document.page.keyboard.press(key)
    attribute(view, "data-head", "3")
    document.page.keyboard.press("Escape")
    leave(view)
    focused(view, None, None)
    eventually(document, "[view.head, view.query]", [3, None])
    assert document.cell_count() == cells


def test_the_theme_is_that_of_the_host(document):
    view = document.ready(VIEW)
    attribute(view, "data-theme", "light")
    light = screenshot(view)[4, 4].astype(int).sum()
    theme = document.darken()
    view = document.ready(VIEW)
    attribute(view, "data-theme", theme)
    document.page.wait_for_timeout(300)
    now = screenshot(view)[4, 4].astype(int).sum()
    assert now < light / 2 if theme == "dark" else now == light
    check_pixels(view, weights_of(document, "cap.weights(1, 2)"), dark=theme == "dark")


def test_our_view_asked_nothing_of_the_network_and_raised_no_error(opened, alone):
    _, watched = opened
    assert set(watched.outside) <= set(alone.outside)
    assert set(watched.errors) <= set(alone.errors)


def test_a_kernel_that_is_gone_is_said_in_the_view(document):
    view = document.ready(BIG)
    document.lose_kernel()
    box = panel(view, "grid").locator("canvas").first.bounding_box()
    document.page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5)
    document.page.wait_for_function(
        "view => view.dataset.status === 'gone' && view.innerText.includes('kernel gone')", arg=view.element_handle()
    )
    small = document.ready(VIEW)
    hover(small, 2, 2)
