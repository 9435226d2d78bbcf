"""The quickstart notebook, from the first cell to the last, in a real JupyterLab."""

import numpy as np
import pytest
from heatmap import attribute, click, focused, leave
from hostrecord import PACKAGES
from pixels import expected_colours, read_cells

pytestmark = pytest.mark.browser

TEXT = "The animal didn't cross the street because it was too tired."
SHOWN = 7


def test_the_quickstart_runs_and_every_view_shows_what_numpy_says(lab, page, record_host):
    notebook = lab.open(page, "quickstart.ipynb")
    record_host("JupyterLab", version=notebook.version(), packages=notebook.evaluate(PACKAGES))
    notebook.run_all()
    notebook.views().nth(6).wait_for(state="attached")
    assert notebook.views().count() == SHOWN
    for index in range(SHOWN):
        assert notebook.ready(index).get_attribute("data-status") == "live"

    # The second view: the cell below it moved it to layer 4 and locked the token "it".
    view = notebook.ready(1)
    attribute(view, "data-layer", "4")
    attribute(view, "data-head", "5")
    focused(view, 10, None)
    weights = np.array(notebook.evaluate(f"model.capture({TEXT!r}).weights(layer=4, head=5).tolist()"))
    low, high = map(float, view.get_attribute("data-domain").split(","))
    colours = read_cells(view, *weights.shape).astype(int)
    expected = expected_colours(weights, (low, high), "sqrt", "oslo", dark=False).astype(int)
    wrong = np.abs(colours - expected).max(axis=-1)
    assert (wrong == 0).mean() > 0.97, "a weight between two of the 256 colours may fall to either side"
    assert wrong.max() <= 6, "but never by more than one of them"

    label = page.locator(".widget-label", has_text="is locked")
    assert label.inner_text() == "query 10 is locked: it"
    click(view, 3, 7)
    leave(view)
    page.wait_for_timeout(300)
    assert notebook.evaluate("[view.query, view.key]") == [3, 7]
    assert label.inner_text() == "query 3 is locked: didn"
    assert '"it" looks at "animal" most in layer 3 head 1: 0.677' in page.locator(".jp-Notebook").inner_text()
