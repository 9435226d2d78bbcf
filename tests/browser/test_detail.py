"""How a weight came about, read off the screen of a real JupyterLab."""

import re

import pytest
from heatmap import click, focused, leave, panel
from pixels import screenshot

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
import torch, attnwidget as aw
from attnwidget.attention import AttentionCapture, AttentionStack, FactoredAttention, Mask
from captures import make_capture
torch.manual_seed(0)
q, k = torch.randn(1, 4, 9, 32), torch.randn(1, 2, 9, 32)
cap = AttentionCapture([AttentionStack("self", [FactoredAttention(q, k, softcap=3.0, mask=Mask.causal(9, 9))])])
"""


def steps(view):
    return " ".join(panel(view, "detail").locator(".sum").first.inner_text().split())


def test_the_numbers_on_screen_are_those_of_the_capture(lab, page, support):
    cells = [
        SETUP.format(support=support),
        "view = cap.show(head=3)\nview",
        "bare = make_capture(layers=1, heads=1, queries=5).show(query=2, key=1, panels=['detail'])\nbare",
    ]
    notebook = lab.open(page, lab.write("detail.ipynb", cells))
    notebook.run_all()
    view = notebook.ready()
    view.locator("footer button", has_text="q · k").click()
    assert notebook.evaluate("view.panels") == ["grid", "heatmap", "lines", "text", "detail"]
    part = panel(view, "detail")
    part.get_by_text("Lock a query and a key to see how their weight came about.").wait_for()

    click(view, 7, 4)
    leave(view)
    focused(view, 7, 4)
    part.locator(".sum strong").first.wait_for()
    weight, detail = notebook.evaluate("cap.weights(0, 3)[7, 4].item()"), "cap.detail(0, 3, 7, 4)"
    shown = steps(view)
    assert f"= {weight:#.3g}" in shown
    assert f"{weight:#.3g}" in view.locator("footer").inner_text()
    numbers = [float(text.replace("−", "-")) for text in re.findall(r"−?\d+\.\d+", shown)]
    raw, scale, dot, cap, capped, lse, log_weight = numbers[:7]
    for found, name in ((raw, "raw"), (scale, "scale"), (dot, "dot"), (capped, "capped"), (lse, "lse")):
        assert found == pytest.approx(notebook.evaluate(f"{detail}.{name}"), rel=5e-3)
    assert (cap, raw) == (3, pytest.approx(scale * dot, rel=1e-2))
    assert log_weight == pytest.approx(capped - lse, abs=2e-2)

    largest = notebook.evaluate(f"abs({detail}.products).argmax().item()")
    before = screenshot(part.locator("canvas"))
    part.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    said = part.locator("[aria-live]")
    said.get_by_text(f"component {largest}: q ").wait_for()
    term = notebook.evaluate(f"{detail}.products[{largest}].item()")
    assert f"= {term:#.3g}".replace("-", "−") in said.inner_text()
    assert (screenshot(part.locator("canvas")) != before).any()
    page.keyboard.press("d")
    part.wait_for(state="detached")
    assert notebook.evaluate("view.panels") == ["grid", "heatmap", "lines", "text"]

    why = "q and k are not known: this capture holds weights only"
    panel(notebook.views().nth(1), "detail").get_by_text(why).wait_for()
