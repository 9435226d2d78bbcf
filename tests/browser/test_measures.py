"""Other measures than the weight, chosen in a real JupyterLab: their colours, numbers and words of caution."""

import numpy as np
import pytest
from pixels import expected_colours, read_cells

pytestmark = pytest.mark.browser

SETUP = """
import attnwidget as aw
model = aw.demo()
text = "When Mary and John went to the store, John gave a drink to"
mary = model.tokenizer.encode("Mary", add_special_tokens=False)[0]
cap = model.capture(text, values=True, target=lambda output: output.logits[0, -1, mary])
"""


@pytest.fixture
def notebook(lab, page):
    cells = [SETUP, "view = cap.show(layer=1, head=7, query=14, key=2, colormap='viridis', scale='linear')\nview"]
    notebook = lab.open(page, lab.write("measures.ipynb", cells))
    notebook.run_all()
    return notebook


def choose(notebook, view, name):
    view.locator(".measure select").select_option(name)
    notebook.page.wait_for_timeout(1500)
    assert notebook.evaluate("view.measure") == name


def numbers(notebook, question):
    return np.array(notebook.evaluate(f"{question}.tolist()"), dtype=float)


def alike(view, values, limits, scale, colours):
    """Cells whose colours are those of the numbers, or of numbers that a code could have mistaken them for."""
    seen = read_cells(view, *values.shape).astype(int)
    apart = [
        np.abs(seen - expected_colours(values * (1 + by * 1.5e-3), limits, scale, colours, dark=False).astype(int))
        for by in (-1, 0, 1)
    ]
    return (np.min(np.stack(apart).max(axis=-1), axis=0) <= 4)[np.tril(np.ones(values.shape, dtype=bool))]


def test_measures_are_chosen_in_the_page_and_drawn_as_they_are(notebook):
    view = notebook.ready()
    legend, readout = view.locator(".legend .words"), view.locator(".readout strong")

    # The pair whose weight lowers the logit most.
    lowest = numbers(notebook, "cap.measure('gradient', 1, 7)")
    place = np.unravel_index(lowest.argmin(), lowest.shape)
    assert lowest[place] < 0
    notebook.execute(f"view.query, view.key = {int(place[0])}, {int(place[1])}")
    choose(notebook, view, "value-weighted")
    found = numbers(notebook, "cap.measure('value-weighted', 1, 7)")
    assert legend.inner_text().startswith("length of the value-weighted vector (Kobayashi et al. 2020), linear scale")
    assert float(readout.inner_text()) == pytest.approx(found[place], rel=5e-3)
    unit = notebook.evaluate("view.meta['stacks'][0]['measure']['unit']")
    limits = [float(end) * unit for end in view.get_attribute("data-domain").split(",")]
    assert alike(view, found, limits, "linear", "viridis").all()

    choose(notebook, view, "gradient")
    found = numbers(notebook, "cap.measure('gradient', 1, 7)")
    largest = np.abs(found[np.tril(np.ones(found.shape, dtype=bool))]).max()
    assert "gradient × attention (Serrano and Smith 2019), linear scale" in legend.inner_text()
    size = float(f"{largest:.3g}")
    assert alike(view, found, (-size, size), "linear", "vik").all()
    assert float(readout.inner_text().replace("−", "-")) == pytest.approx(found[place], rel=5e-3)

    view.get_by_role("button", name="What this measure can and cannot show").click()
    told = view.locator("dialog[open]").inner_text()
    assert "to first order" in told
    assert "Bastings and Filippova 2020" in told
    notebook.page.keyboard.press("Escape")

    choose(notebook, view, "rollout")
    found = numbers(notebook, "cap.measure('rollout', 1)")
    assert notebook.evaluate("view.head") == 0
    limits = [float(end) for end in view.get_attribute("data-domain").split(",")]
    assert alike(view, found, limits, "linear", "viridis").all()
    assert view.locator(".readout span").first.inner_text() == "layer 1"

    choose(notebook, view, "weight")
    assert notebook.evaluate("view.head") == 7
    assert legend.inner_text().startswith("weight after softmax")
