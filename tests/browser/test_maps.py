"""The head grid coloured by an ablation and by a survey of the demo model, in a real JupyterLab."""

import numpy as np
import pytest
from headgrid import cell_colours, said
from heatmap import panel
from pixels import expected_colours, weights_of

pytestmark = pytest.mark.browser

SETUP = """
import attnwidget as aw
model = aw.demo()
text = "When Mary and John went to the store, John gave a drink to"
ablation = model.ablate(text, [(0, 0), (0, 3), (1, 1), (1, 6), (2, 2)], progress=False)
survey = aw.survey(model, [text, "Tom saw Anna. Tom saw Mary.", "The dog ran and the dog sat."], progress=False)
"""


def test_the_grid_is_coloured_by_an_ablation_and_by_a_survey_and_each_head_says_its_number(lab, page):
    cell = "view = model.show(text, maps={'loss': ablation}, layer=1, head=1, panels=['grid', 'text'])\nview"
    notebook = lab.open(page, lab.write("maps.ipynb", [SETUP, cell]))
    notebook.run_all()
    view = notebook.ready()
    tools = panel(view, "grid").locator(".tools")
    tools.get_by_label("colour").select_option(label="change of loss when ablated (zero)")
    change = weights_of(notebook, "ablation.values")
    most = float(np.nanmax(np.abs(change)))
    said(view, f"colour \u2212{most:.2g} to +{most:.2g}")
    assert notebook.evaluate("view.colour_by") == "loss"
    for theme, name in (("light", "vik"), ("dark", "berlin")):
        notebook.execute(f"view.theme = {theme!r}")
        page.wait_for_timeout(300)
        seen, asked = cell_colours(view, *change.shape), ~np.isnan(change)
        expected = expected_colours(change[asked], (-most, most), "linear", name, dark=theme == "dark").astype(int)
        assert np.abs(seen[asked] - expected).max() <= 4
    readout = view.locator(".readout")
    readout.get_by_text(f"change of loss {'+' if change[1, 1] > 0 else chr(0x2212)}{abs(change[1, 1]):#.3g}").wait_for()
    notebook.execute("view.head = 2")
    readout.get_by_text("change of loss not asked for").wait_for()

    notebook.execute(
        "view.theme = 'light'; view.add_map('many', survey); view.colour_by = 'many:previous'; view.head = 1"
    )
    mean, std = weights_of(notebook, "survey.mean['previous']"), weights_of(notebook, "survey.std['previous']")
    said(view, f"colour 0 \u2013 {mean.max():.2g}")
    page.wait_for_timeout(300)
    expected = expected_colours(mean, (0, mean.max()), "linear", "oslo", dark=False).astype(int)
    assert np.abs(cell_colours(view, *mean.shape) - expected).max() <= 4
    words = f"previous {mean[1, 1]:#.3g} ± {float(f'{std[1, 1]:.2g}'):g} over 3 texts"
    readout.get_by_text(words).wait_for()

    # Another text has other losses: the map stays, and says so in the words behind the button.
    notebook.execute("view.colour_by = 'loss'; view.text = 'The dog ran home.'")
    said(view, f"colour \u2212{most:.2g} to +{most:.2g}")
    tools.get_by_role("button", name="What these numbers are").click()
    dialog = tools.get_by_role("dialog")
    dialog.get_by_text("Of another run than the one shown").wait_for()
    assert "Changes of heads do not add up." in dialog.inner_text()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    notebook.execute("view.remove_map('loss')")
    tools.get_by_label("colour").locator("option:checked").get_by_text("weights").wait_for(state="attached")
