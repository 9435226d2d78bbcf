"""What a live model says and what matters for it, read off the screen of a real JupyterLab."""

import numpy as np
import pytest
from heatmap import panel
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TEXT = "When Mary and John went to the store, John gave a drink to"
SHOW = f"""
import attnwidget as aw
model, text = aw.demo(), {TEXT!r}
ran = []
model.model.register_forward_pre_hook(lambda *_: ran.append(1))
view = model.show(text, panels=["grid", "text"], layer=1, head=2)
view
"""


@pytest.fixture
def opened(lab, page):
    """A live view with the panel open, opened by its key."""
    notebook = lab.open(page, lab.write("output.ipynb", [SHOW]))
    notebook.run_all()
    view = notebook.ready()
    view.get_by_role("button", name="Help").focus()
    page.keyboard.press("o")
    assert notebook.evaluate("view.panels") == ["grid", "text", "output"]
    return notebook, view, panel(view, "output")


def note(part, words):
    part.locator(".note").filter(has_text=words).wait_for()


def number(text):
    digits, _, power = text.partition(" × 10⁻")
    return float(digits) / 10 ** ("⁰¹²³⁴⁵⁶⁷⁸⁹".index(power) if power else 0)


def same_candidates(notebook, part, position):
    asked = f"model.candidates(text, position={position})"
    found = notebook.evaluate(f"[[row.token, row.probability] for row in {asked}]")
    rows = part.locator(".output > div:not(.waiting) .candidate")
    rows.first.filter(has_text=found[0][0]).wait_for()
    shown = [(row.locator("bdi").inner_text(), number(row.locator("b").inner_text())) for row in rows.all()]
    assert [name for name, _ in shown] == [name for name, _ in found]
    assert [share for _, share in shown] == pytest.approx([share for _, share in found], rel=5e-3)


def test_candidates_follow_the_focus_from_one_run(opened, page):
    notebook, view, part = opened
    note(part, 'after the last token, "to" (query 14)')
    same_candidates(notebook, part, -1)
    notebook.execute("ran.clear()")
    tokens = panel(view, "text").locator(".token")
    tokens.nth(11).hover()
    note(part, 'after "gave" (query 11)')
    same_candidates(notebook, part, 11)
    tokens.nth(5).click()
    note(part, 'after "went" (query 5)')
    page.mouse.move(2, 2)
    same_candidates(notebook, part, 5)
    assert notebook.evaluate("len(ran)") == 2, (
        "only what this test asked: one run of the view answers at every position"
    )


def test_a_head_and_every_head_of_the_demo_model_are_ablated(opened):
    notebook, view, part = opened
    tokens = panel(view, "text").locator(".token")
    tokens.nth(14).click()
    note(part, 'after "to" (query 14)')
    part.locator(".candidate").first.click()
    part.get_by_label("compare").select_option("probability")
    part.get_by_label("replace by").select_option("mean")
    part.get_by_role("button", name="ablate layer 1 head 2").click()
    line = part.locator(".results p").first.inner_text()
    assert notebook.evaluate("[view.ablation, view.metric]") == ["mean", "probability"]
    ablated = "model.ablate(text, {}, mode='mean', metric='probability', token=view.token, position=14)"
    before = notebook.evaluate(ablated.format("[(1, 2)]") + ".baseline")
    after = before + notebook.evaluate(ablated.format("[(1, 2)]") + ".values[1, 2].item()")
    token = notebook.evaluate("model.candidates(text)[0].token")
    assert line.startswith(f'layer 1 head 2 replaced (mean): probability of "{token}" after query 14 "to" ')
    assert f"{before:#.3g} → {after:#.3g} (" in line
    part.get_by_text("A small change does not clear a head").wait_for()

    every = part.get_by_role("button", name="ablate every head")
    every.click()
    part.locator(".results p").filter(has_text="each head replaced (mean): colours the grid").wait_for()
    expected = np.array(notebook.evaluate(ablated.format("None") + ".values.tolist()"))
    assert notebook.evaluate("view.colour_by") == "output:ablation"
    strongest = f"{np.abs(expected).max():.2g}"
    panel(view, "grid").locator(".said").filter(has_text=f"−{strongest} to +{strongest}").wait_for()
    notebook.ready()
    expect(every).to_be_focused()  # a button that waits for its result has no keyboard

    part.get_by_role("button", name=f'attribute logit of "{token}"').click()
    part.locator(".results p").filter(has_text="what heads add to the logit").wait_for()
    strongest = notebook.evaluate("abs(model.logit_attribution(text, token=view.token).heads).max().item()")
    panel(view, "grid").locator(".said").filter(has_text=f"−{strongest:.2g} to +{strongest:.2g}").wait_for()
