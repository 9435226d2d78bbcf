"""The site of the docs as a reader has it who unpacked it somewhere: from files, offline."""

import pytest
from site_pages import build

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"))


def test_the_views_of_the_gallery_are_live_and_as_dark_as_the_page(browser, site):
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    asked, errors = [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((site / "gallery.html").as_uri())
    frames = page.locator("iframe.live")
    assert frames.count() >= 14
    for i in range(frames.count()):
        frames.nth(i).scroll_into_view_if_needed()
        view = frames.nth(i).content_frame.locator('.attnwidget .root[data-ready="true"]')
        view.wait_for()
        assert view.get_attribute("data-status") == "static"
        assert view.evaluate("() => window.origin") == "null", "it could reach into the site"
        # All of it is in sight: the frame is as tall as what is in it.
        page.wait_for_function(
            "([frame, height]) => Math.abs(frame.clientHeight - height) < 2",
            arg=[
                frames.nth(i).element_handle(),
                frames.nth(i).content_frame.locator("html").evaluate("html => html.offsetHeight"),
            ],
        )

    compared = page.locator('iframe[src="live/compare.html"]')
    compared.scroll_into_view_if_needed()
    root = compared.content_frame.locator(".attnwidget .root")
    assert root.locator("canvas").count() >= 3
    assert root.evaluate("root => root.style.colorScheme") == "light"
    page.evaluate("document.body.dataset.theme = 'dark'")  # what furo's switch does
    compared.content_frame.locator('.root[style*="color-scheme: dark"]').wait_for()

    first = page.locator('iframe[src="live/panel-heatmap.html"]')
    first.scroll_into_view_if_needed()
    # What is drawn anew for the theme takes a click with it.
    first.content_frame.locator('.root[style*="color-scheme: dark"]').wait_for()
    root = first.content_frame.locator(".attnwidget .root")
    root.get_by_role("button", name="locked: query 10").click()
    first.content_frame.locator('.root[data-query=""]').wait_for()
    context.close()
    assert not errors, errors
    assert not [url for url in asked if not url.startswith(("file:", "blob:", "data:"))]
