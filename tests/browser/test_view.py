"""One view and several, with their kernel, in a real JupyterLab."""

import re

import numpy as np
import pytest
from heatmap import attribute, click, focused, hover, leave, panel
from pixels import check_pixels, domain_of, screenshot, weights_of

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
import numpy as np, attnwidget as aw
from captures import make_capture
cap = make_capture(layers=4, heads=6, queries=12)
"""


@pytest.fixture
def notebook(lab, page, support, request):
    cells = request.param if hasattr(request, "param") else ["view = cap.show(layer=1, head=2)\nview"]
    notebook = lab.open(page, lab.write("view.ipynb", [SETUP.format(support=support), *cells]))
    notebook.run_all()
    return notebook


def cells(*sources):
    return pytest.mark.parametrize("notebook", [list(sources)], indirect=True)


def test_the_pixels_are_the_weights_in_every_scale_and_colour_map(notebook):
    view = notebook.ready()
    weights = weights_of(notebook, "cap.weights(layer=1, head=2)")
    seen = check_pixels(view, weights)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 20
    for scale, name in (("linear", "viridis"), ("log", "cividis"), ("sqrt", "magma")):
        notebook.execute(f"view.scale, view.colormap = {scale!r}, {name!r}")
        notebook.page.wait_for_timeout(300)
        check_pixels(view, weights, scale, name)
    notebook.execute("view.domain = (0.1, 0.4)")
    notebook.page.wait_for_timeout(300)
    assert domain_of(view) == (0.1, 0.4)
    check_pixels(view, weights, "sqrt", "magma")


@cells("causal = make_capture(layers=1, heads=2, queries=9, causal=True)\ncausal")
def test_what_the_mask_forbids_has_no_colour_of_the_ramp(notebook):
    view = notebook.ready()
    allowed = np.tril(np.ones((9, 9), dtype=bool))
    weights = weights_of(notebook, "causal.weights(0, 0)")
    check_pixels(view, weights, allowed=allowed)
    hover(view, 2, 5)
    assert "not allowed" in view.inner_text()


def test_a_hover_shows_the_exact_weight_and_falls_back_to_the_lock(notebook):
    view = notebook.ready()
    weights = weights_of(notebook, "cap.weights(layer=1, head=2)")
    text = panel(view, "text").locator(".token")

    def shades():
        return [text.nth(index).evaluate("token => getComputedStyle(token).backgroundColor") for index in range(12)]

    plain = shades()
    hover(view, 3, 7)
    notebook.page.wait_for_function(
        "([view, value]) => view.querySelector('footer').innerText.includes(value)",
        arg=[view.element_handle(), f"{weights[3, 7]:.3g}"],
    )
    assert re.search(r"query 3 .t3. → key 7 .t7.", view.locator("footer").inner_text())
    assert len(set(shades())) > 3, "the text is shaded by the row of the hovered query"
    lines = screenshot(panel(view, "lines"))
    leave(view)
    focused(view, None, None)
    assert (screenshot(panel(view, "lines")) != lines).any()
    assert shades() == plain

    click(view, 3, 7)
    leave(view)
    focused(view, 3, 7)
    hover(view, 5, 1)
    leave(view)
    focused(view, 3, 7)


def test_a_lock_reaches_python_and_the_same_click_releases_it(notebook):
    view = notebook.ready()
    notebook.execute("heard = []; view.observe(lambda change: heard.append(change['new']), 'query')")
    click(view, 4, 2)
    notebook.page.wait_for_timeout(500)
    assert notebook.evaluate("[view.query, view.key, heard]") == [4, 2, [4]]
    click(view, 4, 2)
    notebook.page.wait_for_timeout(500)
    assert notebook.evaluate("[view.query, view.key, heard]") == [None, None, [4, None]]


def test_escape_releases_and_the_notebook_does_not_hear_the_keys(notebook):
    view = notebook.ready()
    count = notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
    click(view, 4, 2)
    notebook.page.keyboard.press("b")  # in JupyterLab: insert a cell below
    notebook.page.keyboard.press("]")
    attribute(view, "data-head", "3")
    notebook.page.keyboard.press("Escape")
    leave(view)
    focused(view, None, None)
    assert notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") == count
    notebook.page.wait_for_timeout(300)
    assert notebook.evaluate("[view.head, view.query, view.key]") == [3, None, None]


def test_a_token_of_the_text_and_of_the_lines_can_be_hovered_and_locked(notebook):
    view = notebook.ready()
    token = panel(view, "text").locator('[data-index="6"]')
    token.hover()
    focused(view, 6, None)
    token.click()
    leave(view)
    focused(view, 6, None)
    notebook.page.wait_for_timeout(300)
    assert notebook.evaluate("[view.query, view.key]") == [6, None]
    box = panel(view, "lines").locator("canvas").first.bounding_box()
    heat = screenshot(panel(view, "heatmap"))
    notebook.page.mouse.move(box["x"] + 40, box["y"] + box["height"] * 0.2, steps=3)
    notebook.page.wait_for_function("view => view.dataset.query !== '6'", arg=view.element_handle())
    assert (screenshot(panel(view, "heatmap")) != heat).any()


def test_hovering_a_head_previews_it_and_a_click_locks_it(notebook):
    view = notebook.ready()
    canvas = panel(view, "grid").locator("canvas").first
    box = canvas.bounding_box()
    point = box["x"] + box["width"] * 0.85, box["y"] + box["height"] * 0.85
    notebook.page.mouse.move(*point, steps=3)
    notebook.page.wait_for_function("view => view.dataset.head !== '2'", arg=view.element_handle())
    layer, head = int(view.get_attribute("data-layer")), int(view.get_attribute("data-head"))
    assert (layer, head) != (1, 2)
    notebook.page.wait_for_timeout(400)
    check_pixels(view, weights_of(notebook, f"cap.weights({layer}, {head})"))
    assert notebook.evaluate("[view.layer, view.head]") == [1, 2], "a preview does not move the traits"
    notebook.page.mouse.click(*point)
    notebook.page.wait_for_timeout(400)
    assert notebook.evaluate("[view.layer, view.head]") == [layer, head]
    leave(view)
    attribute(view, "data-head", str(head))


def test_the_view_follows_traits_set_in_python(notebook):
    view = notebook.ready()
    notebook.execute("view.layer, view.head, view.query = 3, 5, 9")
    attribute(view, "data-layer", "3")
    attribute(view, "data-head", "5")
    focused(view, 9, None)
    notebook.page.wait_for_timeout(300)
    check_pixels(view, weights_of(notebook, "cap.weights(3, 5)"))
    notebook.execute("view.panels = ['lines', 'heatmap']")
    notebook.page.wait_for_function(
        """view => [...view.querySelectorAll('section.panel')]
            .map(panel => panel.dataset.name).join() === 'lines,heatmap'""",
        arg=view.element_handle(),
    )


@cells("view = cap.show()\nview", "view", "other = make_capture(layers=1, heads=2, queries=5, seed=1).show()\nother")
def test_two_views_of_one_widget_agree_and_another_widget_does_not_care(notebook):
    first, second, other = notebook.ready(0), notebook.ready(1), notebook.ready(2)
    first.scroll_into_view_if_needed()
    click(first, 3, 4)
    leave(first)
    focused(first, 3, 4)
    focused(second, 3, 4)
    focused(other, None, None)
    notebook.execute("other.head = 1; view.layer = 2")
    attribute(second, "data-layer", "2")
    attribute(first, "data-layer", "2")
    attribute(other, "data-head", "1")
    attribute(other, "data-layer", "0")
    second.scroll_into_view_if_needed()
    hover(second, 1, 1)
    focused(first, 1, 1)
    focused(other, None, None)


def test_the_theme_follows_jupyterlab_live(notebook):
    view = notebook.ready()
    weights = weights_of(notebook, "cap.weights(layer=1, head=2)")
    light = screenshot(view)[4, 4].astype(int).sum()
    notebook.theme("JupyterLab Dark")
    attribute(view, "data-theme", "dark")
    notebook.page.wait_for_timeout(300)
    assert screenshot(view)[4, 4].astype(int).sum() < light / 2
    check_pixels(view, weights, dark=True)
    notebook.execute("view.theme = 'light'")
    attribute(view, "data-theme", "light")
    notebook.page.wait_for_timeout(300)
    check_pixels(view, weights, dark=False)
    notebook.theme("JupyterLab Light")


def test_the_tooltip_says_what_the_readout_says_also_after_a_key(notebook):
    view = notebook.ready()
    hover(view, 3, 7)
    tip, readout = view.locator(".tip"), view.locator("footer")
    for head in (2, 3):
        attribute(view, "data-head", str(head))
        weight = f"{weights_of(notebook, f'cap.weights(1, {head})')[3, 7]:.3g}"
        notebook.page.wait_for_function(
            "([tip, footer, weight]) => tip.innerText.endsWith('\\n' + weight) && footer.innerText.includes(weight)",
            arg=[tip.element_handle(), readout.element_handle(), weight],
        )
        panel(view, "heatmap").locator(".stage").focus()
        notebook.page.keyboard.press("]")


def test_views_that_are_gone_leave_nothing_behind(notebook):
    notebook.ready()
    notebook.page.evaluate("() => { window.roots = []; }")
    keep = "() => { window.roots.push(new WeakRef(document.querySelector('.attnwidget').shadowRoot)); }"
    for _ in range(10):
        notebook.page.evaluate(keep)
        notebook.run_cell(1)
        notebook.ready()
    session = notebook.page.context.new_cdp_session(notebook.page)
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
        notebook.page.wait_for_timeout(200)
    alive = notebook.page.evaluate("() => window.roots.filter(root => root.deref()).length")
    assert alive <= 1, "the last one may still be held by the page that replaced it"


def test_running_a_cell_again_leaves_one_view_and_frees_the_old_one(notebook):
    notebook.ready()
    notebook.execute("import ipywidgets, gc; first = view")
    notebook.run_cell(1)
    notebook.ready()
    assert notebook.views().count() == 1
    assert notebook.evaluate("[repr(first), first is view]") == ["AttentionWidget(closed)", False]


@cells("view = make_capture(layers=6, heads=6, queries=300).show()\nview")
def test_a_busy_kernel_is_said_and_the_view_stays_usable(notebook):
    view = notebook.ready()
    notebook.page.evaluate(
        """() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
            .requestExecute({code: "import ctypes; ctypes.PyDLL(None).sleep(6)"}); }"""
    )  # holds the interpreter's lock, so that no thread of the kernel can answer
    box = panel(view, "grid").locator("canvas").first.bounding_box()
    notebook.page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    attribute(view, "data-status", "busy")
    assert "busy" in view.inner_text()
    hover(view, 20, 20)
    focused(view, 20, 20)
    attribute(view, "data-status", "live")
    notebook.ready()


def test_a_dead_kernel_is_said_in_the_cell(notebook):
    view = notebook.ready()
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.page.wait_for_timeout(500)
    notebook.page.evaluate("() => 0")
    click(view, 1, 1)
    hover(view, 2, 2)
    focused(view, 2, 2)
    box = panel(view, "grid").locator("canvas").first.bounding_box()
    notebook.page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    notebook.page.wait_for_function(
        "view => ['static', 'gone'].includes(view.dataset.status) && /kernel/i.test(view.innerText)",
        arg=view.element_handle(), timeout=15_000,
    )  # fmt: skip


def test_a_failed_request_is_said_in_the_cell_and_can_be_tried_again(notebook):
    view = notebook.ready()
    notebook.execute(
        "def broken(*args, **kwargs): raise ZeroDivisionError('by chance')\n"
        "kept = type(cap).weights; type(cap).weights = broken\nview.layer = 3"
    )
    bar = view.locator('.problem[role="alert"]')
    bar.filter(has_text="ZeroDivisionError: by chance").wait_for()
    key = int(weights_of(notebook, "kept(cap, 3, 2)")[2].argmax())
    click(view, 2, key)
    assert "≈" in view.locator("footer").inner_text(), "codes are still here, and said to be rounded"
    notebook.execute("type(cap).weights = kept")
    bar.get_by_role("button", name="again").click()
    weight = weights_of(notebook, "cap.weights(3, 2)")[2, key]
    notebook.page.wait_for_function(
        "([view, value]) => view.querySelector('footer').innerText.includes(value)",
        arg=[view.element_handle(), f"{weight:.3g}"],
    )
    bar.wait_for(state="hidden")


@cells("make_capture(layers=32, heads=32, queries=512, seed=2).show(layer=20, head=20)")
def test_many_long_heads_ask_only_for_what_is_on_screen_and_a_hover_asks_for_nothing(notebook):
    view = notebook.ready(timeout=60_000)
    # On its way to the heatmap the pointer may cross the grid, where a head that is previewed asks for its picture.
    hover(view, 100, 10)
    notebook.page.wait_for_timeout(3000)
    notebook.page.evaluate(
        """() => {
            window.sentMessages = [];
            const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (data) {
                window.sentMessages.push(typeof data === 'string' ? data : new TextDecoder().decode(data));
                return send.call(this, data);
            };
        }"""
    )
    for step in range(40):
        hover(view, 100 + step, 10 + 3 * step)
    sent = notebook.page.evaluate("() => window.sentMessages.filter(message => message.includes('comm_msg'))")
    assert sent == []


@cells(*[f"make_capture(layers=2, heads=2, queries=6, seed={seed})" for seed in range(20)])
def test_twenty_widgets_on_one_page(notebook):
    for index in (0, 7, 19):
        assert notebook.ready(index).get_attribute("data-status") == "live"
    assert notebook.views().count() == 20


@cells(
    "text = ['<s>', '</script>', ' ', '\\n', '\\t', '🍌', 'שלום', '漢字', 'Ġthe', '&lt;b&gt;', '\\u202e', '']\n"
    "strange = aw.AttentionCapture.from_weights(list(cap.weights()[:, None]), text)\nstrange.show(query=1)"
)
def test_strange_tokens_are_shown_literally_and_do_no_harm(notebook):
    view = notebook.ready()
    shown = panel(view, "text").locator(".token").all_inner_texts()
    joined = "|".join(shown)
    for literal in ("<s>", "</script>", "🍌", "שלום", "漢字", "&lt;b&gt;"):
        assert literal in joined
    assert len(shown) == 12
    assert not [text for text in shown if not text.strip()], "every token can be seen"
    assert notebook.page.locator(".attnwidget script, .attnwidget b").count() == 0
