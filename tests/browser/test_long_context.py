"""A capture of 16,384 tokens in a real JupyterLab: opened, explored down to one pair, and read."""

import re

import numpy as np
import pytest
from heatmap import attribute, hover, leave, panel
from pixels import check_pixels
from travel import LONG_CAPTURE, nodes, settled, zoom_to

pytestmark = pytest.mark.browser

TOKENS = 16384
QUERY, KEY = 12345, 6789


@pytest.fixture(scope="module")
def long_page(browser, lab, support):
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    notebook = lab.open(page, lab.write("long.ipynb", [LONG_CAPTURE.format(tokens=TOKENS), "view"]))
    notebook.run_all()
    yield notebook
    context.close()
    assert not errors, errors


@pytest.fixture
def whole(long_page):
    """The view, of the whole head, nothing locked."""
    view = long_page.ready(timeout=120_000)
    long_page.execute("view.window = view.query = view.key = None; view.layer, view.head = 1, 0")
    attribute(view, "data-window", "")
    settled(view)
    return view


def test_the_whole_head_is_sampled_first_and_becomes_exact(long_page, whole):
    assert nodes(long_page.page) < 3000
    attribute(whole, "data-sampled", "")  # refined in the background, until all of it is exact
    assert "sampled" not in whole.locator("footer").inner_text()
    long_page.execute("view.head = 1")
    attribute(whole, "data-head", "1")
    settled(whole)


def test_a_pair_is_found_by_zooming_and_its_value_is_exact(long_page, whole):
    zoom_to(whole, QUERY, KEY, steps=6)
    window = long_page.evaluate("view.window")
    assert window[0] <= QUERY < window[1]
    assert window[2] <= KEY < window[3]
    assert window[1] - window[0] <= 40
    hover(whole, QUERY, KEY)
    weight = np.float64(long_page.evaluate(f"float(cap.weights(1, 0, queries=[{QUERY}], keys=[{KEY}])[0, 0])"))
    long_page.page.wait_for_function(
        "([view, value]) => view.querySelector('footer').innerText.includes(value)",
        arg=[whole.element_handle(), _as_shown(weight)],
    )
    footer = whole.locator("footer").inner_text()
    assert f"query {QUERY}" in footer
    assert f"key {KEY}" in footer
    assert "exact" in footer
    assert nodes(long_page.page) < 3000
    leave(whole)


def test_the_drawn_cells_are_the_weights_at_full_zoom(long_page, whole):
    q0, k0, size = 9000, 4000, 24
    long_page.execute(f"view.window = ({q0}, {q0 + size}, {k0}, {k0 + size})")
    attribute(whole, "data-window", f"{q0},{q0 + size},{k0},{k0 + size}")
    settled(whole)
    attribute(whole, "data-level", "0")
    weights = np.array(
        long_page.evaluate(f"cap.weights(1, 0, queries=({q0}, {q0 + size}), keys=({k0}, {k0 + size})).tolist()")
    )
    check_pixels(whole, weights)


def test_a_busy_kernel_leaves_the_view_usable(long_page, whole):
    page = long_page.page
    page.evaluate(
        """() => { window.busyDone = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
            .requestExecute({code: 'import time; time.sleep(6)', store_history: false}).done; }"""
    )
    page.wait_for_timeout(300)
    zoom_to_busy(whole)
    attribute(whole, "data-status", "busy")
    assert "kernel busy" in whole.inner_text()
    assert whole.get_attribute("data-query"), "a hover is answered from what is here"
    assert whole.get_attribute("data-window"), "and so is a zoom"
    page.evaluate("() => window.busyDone")
    attribute(whole, "data-status", "live")
    settled(whole)
    leave(whole)


def zoom_to_busy(view):
    from heatmap import cell

    page = view.page
    page.mouse.move(*cell(view, QUERY, KEY))
    page.keyboard.down("Control")
    for _ in range(10):
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(30)
    page.keyboard.up("Control")
    page.wait_for_timeout(600)


def test_search_and_jump_reveal_a_token(long_page, whole):
    field = whole.get_by_label("find token")
    field.fill("#15000")
    field.press("Enter")
    settled(whole)
    assert panel(whole, "text").get_by_title(re.compile(r"^15000 ")).count() >= 1
    field.fill("")
    field.press("Escape")


def _as_shown(weight):
    """The readout has 3 significant digits, and powers of ten where a decimal fraction would be all zeros."""
    if weight >= 1e-4:
        return f"{weight:#.3g}"
    digits, power = f"{weight:.2e}".split("e-")
    return f"{digits} \N{MULTIPLICATION SIGN} 10⁻" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(int(power)))
