"""What a screen reader and a keyboard find in the view, checked by axe-core, in both themes and at three widths."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"

SETUP = """
import sys; sys.path.insert(0, {support!r})
from captures import make_capture
from attnwidget.widget.protocol import PANELS
cap = make_capture(layers=3, heads=4, queries=9)
view = cap.show(layer=1, head=2, query=5, key=3, panels=list(PANELS))
view
"""


@pytest.fixture(scope="module")
def opened(browser, lab, support):
    """A view with every panel open and a pair locked."""
    context = browser.new_context(viewport={"width": 1400, "height": 1400}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    notebook = lab.open(page, lab.write("accessible.ipynb", [SETUP.format(support=support)]))
    notebook.run_all()
    notebook.ready()
    page.add_script_tag(path=AXE)
    yield notebook
    context.close()


def violations(notebook):
    """What axe-core finds wrong inside our view, all rules on, each with where and why."""
    found = notebook.page.evaluate(
        """async () => {
            const {violations, passes} = await axe.run(
                {fromShadowDom: ['.attnwidget', '.root']},
                {rules: {region: {enabled: false}}, resultTypes: ['violations', 'passes']},
            );
            const told = violations.flatMap(({id, help, nodes}) =>
                nodes.map(node => `${id}: ${help}: ${node.html.slice(0, 200)}: ${node.failureSummary}`));
            return {told, rules: passes.map(({id}) => id)};
        }"""
    )
    assert {"color-contrast", "button-name", "label"} <= set(found["rules"]), found["rules"]
    return found["told"]


@pytest.mark.parametrize("width", [560, 1000, 1700])
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing_wrong(opened, theme, width):
    opened.page.set_viewport_size({"width": width, "height": 1400})
    opened.theme(theme)
    opened.ready(timeout=120_000)
    opened.page.mouse.move(2, 2)
    opened.page.wait_for_timeout(500)
    found = violations(opened)
    assert not found, "\n".join(found)


def test_the_help_has_nothing_wrong_either(opened):
    view = opened.ready(timeout=120_000)
    view.get_by_role("button", name="Help").click()
    assert not violations(opened)
    opened.page.keyboard.press("Escape")
