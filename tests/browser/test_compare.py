"""Two captures side by side and their difference, in a real JupyterLab: selection, numbers, and colours of pixels."""

import re

import numpy as np
import pytest
from heatmap import attribute, cell, focused
from pixels import colormap, read_cells

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
import numpy as np, attnwidget as aw
from captures import softmax
def made(text, seed):
    tokens = text.split()
    scores = np.random.default_rng(seed).normal(size=(2, 3, len(tokens), len(tokens))) * 2
    scores[..., np.triu(np.ones(scores.shape[-2:], dtype=bool), k=1)] = -np.inf
    return aw.AttentionCapture.from_weights(softmax(scores).astype(np.float32), tokens)
both = aw.compare(
    made("The animal was too tired", 1), made("The old street was too wide", 2), names=("tired", "wide")
)
view = both.show(layer=1, head=2, sort="moved")
"""
TOKENS = 8  # The, animal, old, street, was, too, tired, wide


@pytest.fixture
def notebook(lab, page, support):
    notebook = lab.open(page, lab.write("compare.ipynb", [SETUP.format(support=support), "view"]))
    notebook.run_all()
    return notebook


def array(notebook, expression):
    return np.array(notebook.evaluate(f"{expression}.tolist()"), dtype=float)


def test_three_heatmaps_share_a_selection_and_the_readout_has_three_numbers(notebook):
    view = notebook.ready()
    maps = view.locator('section[data-name="heatmap"]')
    assert maps.locator("h3 > span:first-child").all_inner_texts() == ["tired", "wide", "wide − tired"]
    notebook.page.mouse.click(*cell(maps.nth(2), 5, 4))
    focused(view, 5, 4)
    notebook.page.mouse.move(2, 2)
    notebook.page.wait_for_timeout(500)
    assert notebook.evaluate("[view.query, view.key]") == [5, 4]
    a, b = (float(array(notebook, f"both.weights(1, 2, stack={name!r})")[5, 4]) for name in ("tired", "wide"))
    said = view.locator(".readout strong").inner_text().replace("−", "-")
    found = re.fullmatch(r"tired (\S+) · wide (\S+) · wide - tired \+?(\S+)", said)
    assert [float(number) for number in found.groups()] == pytest.approx([a, b, b - a], rel=5e-3)
    assert float(found[3]) == pytest.approx(array(notebook, "both.difference(1, 2)")[5, 4], rel=5e-3)
    assert "exact" in view.locator(".readout").inner_text()

    # A token that one side lacks.
    notebook.execute("view.query, view.key = 4, 1")
    attribute(view, "data-key", "1")
    assert 'key 1 "animal" (only in tired)' in view.locator(".readout").inner_text()
    said = view.locator(".readout strong").inner_text()
    assert re.fullmatch(r"tired \S+ · wide has no such pair", said)
    marked = view.locator(".token.only")
    assert marked.evaluate_all("(all) => all.map((one) => [one.textContent, one.dataset.only])") == [
        ["animal", "tired"], ["old", "wide"], ["street", "wide"], ["tired", "tired"], ["wide", "wide"],
    ]  # fmt: skip
    assert view.locator(".failure, .problem:visible").count() == 0


def test_the_difference_is_coloured_around_zero(notebook):
    view = notebook.ready()
    third = view.locator('section[data-name="heatmap"]').nth(2)
    difference = array(notebook, "both.difference(1, 2)")
    defined = ~np.isnan(difference)
    assert (~defined).any()
    for theme, name in (("light", "vik"), ("dark", "berlin")):
        notebook.execute(f"view.theme, view.domain = {theme!r}, (0.0, 0.6)")
        notebook.page.wait_for_timeout(500)
        table = colormap(name, dark=False).astype(int)
        place = np.clip((np.nan_to_num(difference) + 0.6) / 1.2, 0, 1) * 255
        found = read_cells(third, TOKENS, TOKENS).astype(int)
        # Codes are right to 0.02 %: where that is the edge between two colours, either will do.
        near = [table[np.rint(np.clip(place + by, 0, 255)).astype(int)] for by in (-0.1, 0, 0.1)]
        assert np.any([(found == each).all(axis=-1) for each in near], axis=0)[defined].all(), theme
        assert not (found[~defined] == table[128]).all(axis=-1).any(), "what is not there is not drawn as zero"
    assert "0.6, more in wide" in third.locator(".apart").inner_text()


def test_the_sides_share_their_range_and_a_page_without_a_kernel_says_what_is_missing(notebook):
    view = notebook.ready()
    assert "range of both" in view.locator(".legend").inner_text()
    domain = view.get_attribute("data-domain")
    notebook.execute("view.stack = 'wide'")
    attribute(view, "data-stack", "wide")
    notebook.page.wait_for_timeout(300)
    assert view.get_attribute("data-domain") == domain
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.page.wait_for_timeout(500)
    maps = view.locator('section[data-name="heatmap"]')
    assert maps.locator(".empty:visible").count() == 0  # the locked head is stored, with its difference
    view.get_by_role("button", name="Previous head, key [").click()
    attribute(view, "data-head", "1")
    notebook.page.wait_for_function(
        "view => ['static', 'gone'].includes(view.dataset.status)", arg=view.element_handle(), timeout=20_000
    )
    notebook.page.wait_for_timeout(300)
    assert maps.nth(0).locator(".empty:visible").count() == 0
    assert maps.nth(2).locator(".empty").inner_text() == "This head is not stored here: it needs a running kernel."
    assert view.locator(".failure").count() == 0
