"""Saved pages in a browser that is offline: alone, two on a page, and in a frame that may only run scripts."""

import html

import numpy as np
import pytest
from captures import make_capture
from heatmap import attribute, click, panel
from PIL import Image
from pixels import expected_colours, read_cells

pytestmark = pytest.mark.browser


@pytest.fixture
def offline(browser):
    context = browser.new_context(viewport={"width": 1300, "height": 1000}, offline=True, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    asked, errors = [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors, errors
    assert not [url for url in asked if not url.startswith(("file:", "blob:", "data:"))]


def opened(page, path):
    page.goto(path.as_uri())
    view = page.locator('.attnwidget .root[data-ready="true"]').first
    view.wait_for()
    return view


def test_a_page_draws_what_was_captured(offline, tmp_path):
    cap = make_capture(layers=3, heads=4, queries=12, causal=True)
    view = opened(offline, cap.to_html(tmp_path / "page.html", layer=1, head=2, query=7))
    assert "no kernel" in view.inner_text()
    assert "12 in full" in offline.locator("body").inner_text()
    weights = cap.weights(1, 2)
    stored = (np.rint(128 * np.sqrt(weights.astype(float))) / 128) ** 2
    low, high = map(float, view.get_attribute("data-domain").split(","))
    seen, allowed = read_cells(view, 12, 12).astype(int), np.tri(12, dtype=bool)
    near = [np.clip(stored * (1 + sign * 2e-4), 0, 1) for sign in (-1, 0, 1)]
    wanted = [expected_colours(each, (low, high), "sqrt", "oslo", dark=False).astype(int) for each in near]
    right = np.any([np.abs(seen - colours).max(-1) <= 2 for colours in wanted], axis=0)
    assert right[allowed].all()
    click(view, 5, 3)
    attribute(view, "data-key", "3")
    assert f"≈ {weights[5, 3]:.2f}"[:5] in view.locator("footer").inner_text()
    offline.keyboard.press("]")
    attribute(view, "data-head", "3")
    attribute(view, "data-ready", "true")
    assert "t5" in panel(view, "text").inner_text()


def test_two_on_a_page_do_not_know_of_each_other(offline, tmp_path):
    parts = [make_capture(seed=seed).show(layer=seed).static()._repr_html_() for seed in (0, 2)]
    (tmp_path / "two.html").write_text("<!doctype html><meta charset=utf-8>" + "".join(parts), encoding="utf-8")
    opened(offline, tmp_path / "two.html")
    views = offline.locator('.attnwidget .root[data-ready="true"]')
    offline.wait_for_function("() => document.querySelectorAll('.attnwidget').length === 2")
    views.nth(1).wait_for()
    assert [views.nth(i).get_attribute("data-layer") for i in range(2)] == ["0", "2"]
    click(views.nth(0), 2, 1)
    attribute(views.nth(0), "data-query", "2")
    assert views.nth(1).get_attribute("data-query") == ""


def test_a_sandboxed_frame_is_enough(offline, tmp_path):
    part = html.escape(make_capture().show(layer=1, head=3).static()._repr_html_())
    frame = f'<iframe sandbox="allow-scripts" width=1200 height=900 srcdoc="{part}"></iframe>'
    text = f"<!doctype html><meta charset=utf-8>{frame}"
    (tmp_path / "framed.html").write_text(text, encoding="utf-8")
    offline.goto((tmp_path / "framed.html").as_uri())
    view = offline.frame_locator("iframe").locator('.attnwidget .root[data-ready="true"]')
    view.wait_for()
    assert view.get_attribute("data-head") == "3"


def test_a_page_holds_what_a_kernel_would_send_and_without_it_says_what_is_missing(offline, tmp_path):
    path = make_capture(queries=6).to_html(tmp_path / "page.html", query=2, key=1, panels=["heatmap", "detail"])
    view = opened(offline, path)
    view.get_by_role("button", name="figure", exact=True).click()
    with offline.expect_download() as download:
        view.get_by_role("button", name="save PNG").click()
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 1

    start, *scripts = path.read_text(encoding="utf-8").split('<script type="text/plain">')
    assert len(scripts) == 3
    scripts[2] = scripts[2][scripts[2].index("</script>") :]
    (tmp_path / "less.html").write_text('<script type="text/plain">'.join([start, *scripts]), encoding="utf-8")
    view = opened(offline, tmp_path / "less.html")
    panel(view, "detail").get_by_text("Scores, q and k need a running kernel.").wait_for()
    view.get_by_role("button", name="figure", exact=True).click()
    view.get_by_role("dialog").get_by_text("This needs a running kernel: run the cell again.").wait_for()
