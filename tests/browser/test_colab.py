"""The view in a host that keeps to Colab's contract: a frame and a model for each output, and ipywidgets 7.7."""

import os

import nbformat
import pytest
from colabhost import Colab, build
from heatmap import attribute, click, focused, hover, leave, panel
from hostrecord import PACKAGES
from pixels import check_pixels, screenshot, weights_of
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
from captures import make_capture
from embedded import in_full
cap = make_capture(layers=12, heads=12, queries=64)
view = cap.show(layer=1, head=2)
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    return build(tmp_path_factory.mktemp("colab"))


@pytest.fixture
def colab(page, lab, scripts, support, request):
    packages = os.environ.get("IPYWIDGETS7_PATH")
    if not packages:
        pytest.skip("IPYWIDGETS7_PATH names no folder with ipywidgets 7.7: `make test-browser` makes one")
    colab = Colab(page, lab, scripts, hands=getattr(request, "param", "Uint8Array"))
    colab.connect(packages)
    colab.run(SETUP.format(support=support))
    yield colab
    colab.close()


@pytest.mark.parametrize("colab", ["Uint8Array", "ArrayBuffer"], indirect=True)
def test_the_view_works_in_a_frame_of_its_own(colab, record_host):
    versions = colab.evaluate(PACKAGES)
    assert versions["ipywidgets"].startswith("7.7.")
    record_host("Colab", version="by contract", packages=versions)
    colab.run("view")
    view = colab.ready()
    assert view.get_attribute("data-status") == "live"
    weights = weights_of(colab, "cap.weights(1, 2)")
    check_pixels(view, weights)

    lines = screenshot(panel(view, "lines"))
    hover(view, 3, 7)
    expect(view.locator("footer")).to_contain_text(f"{weights[3, 7]:.3g}")
    assert (screenshot(panel(view, "lines")) != lines).any()
    click(view, 4, 2)
    leave(view)
    focused(view, 4, 2)
    assert colab.evaluate("[view.query, view.key]") == [4, 2]

    assert [10, 11] not in colab.evaluate("in_full(view.embed)")
    colab.run("view.layer, view.head = 10, 11")
    attribute(view, "data-head", "11")
    colab.page.wait_for_timeout(300)
    check_pixels(colab.ready(), weights_of(colab, "cap.weights(10, 11)"))
    assert colab.page.evaluate("() => colab.seen()") == {"versions": ["2.1.0"], "methods": ["custom", "update"]}


def test_two_outputs_agree_through_python_alone(colab):
    colab.run("view")
    colab.run("view")
    first, second = colab.ready(0), colab.ready(1)
    first.scroll_into_view_if_needed()
    click(first, 4, 2)
    leave(first)
    focused(first, 4, 2)
    assert colab.evaluate("[view.query, view.key]") == [4, 2]
    colab.run("view.layer = 5")
    attribute(first, "data-layer", "5")
    attribute(second, "data-layer", "5")
    colab.run("view.send_state(['query', 'key'])")
    focused(second, 4, 2)
    check_pixels(colab.ready(1), weights_of(colab, "cap.weights(5, 2)"))


def test_a_saved_notebook_shows_what_travelled_without_a_kernel(colab, page, lab, scripts, tmp_path):
    shown = colab.run("view")["shown"]
    click(colab.ready(), 4, 2)
    leave(colab.ready())
    weights, kept = weights_of(colab, "cap.weights(1, 2)"), colab.evaluate("in_full(view.embed)")
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": page.evaluate("() => colab.save()")}
    nbformat.write(notebook, tmp_path / "saved.ipynb")
    colab.close()

    saved = nbformat.read(tmp_path / "saved.ipynb", as_version=4).metadata["widgets"]
    again = Colab(page, lab, scripts)
    page.evaluate(
        "([saved, shown]) => colab.open(saved, shown, 'Uint8Array')",
        [saved["application/vnd.jupyter.widget-state+json"], shown],
    )
    view = again.view(0)
    attribute(view, "data-ready", "true")
    attribute(view, "data-status", "static")
    focused(view, 4, 2)
    check_pixels(view, weights)
    assert "no kernel" in view.inner_text()
    assert [1, 3] in kept
    panel(view, "heatmap").locator(".stage").focus()
    page.keyboard.press("]")
    attribute(view, "data-head", "3")
    hover(view, 5, 3)
