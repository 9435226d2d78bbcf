"""A figure leaves a real JupyterLab as a file, and is what was on the screen."""

import hashlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from figures import pictures, texts
from heatmap import attribute
from PIL import Image
from pixels import read_cells

from attnwidget.export.look import head_colour

pytestmark = pytest.mark.browser

SETUP = """
import sys; sys.path.insert(0, {support!r})
import attnwidget as aw, hashlib, io
from captures import make_capture
view = make_capture(layers=3, heads=4, queries=12).show(layer=1, head=2, query=3, key=7)
def drawn(**options):
    file = io.BytesIO()
    view.to_svg(file, **options)
    return hashlib.sha256(file.getvalue()).hexdigest()
"""


@pytest.fixture
def notebook(lab, page, support):
    notebook = lab.open(page, lab.write("figures.ipynb", [SETUP.format(support=support), "view"]))
    notebook.run_all()
    return notebook


def saved(notebook, dialog, name):
    with notebook.page.expect_download() as download:
        dialog.get_by_role("button", name=name).click()
    return download.value


def test_a_figure_is_saved_and_is_what_was_on_the_screen(notebook):
    page, view = notebook.page, notebook.ready()
    screen = read_cells(view, 12, 12).astype(int)
    low, high = map(float, view.get_attribute("data-domain").split(","))
    view.get_by_role("listbox").focus()
    page.keyboard.press("e")
    dialog = view.get_by_role("dialog", name="Figure and numbers")
    svg = saved(notebook, dialog, "save SVG")
    assert svg.suggested_filename == "attention-layer1-head2-heatmap.svg"
    body = svg.path().read_bytes()
    assert hashlib.sha256(body).hexdigest() == notebook.evaluate("drawn(theme='light')")
    figure = ET.fromstring(body)  # noqa: S314 - our own
    written = "\n".join(texts(figure))
    assert 'query 3 "t3" → key 7 "t7"' in written
    assert f"range of this head {low:g} – {float(f'{high:.2g}'):g}" in written
    # The page has codes, right to 0.02 %: a weight between two of the 256 colours may fall to either side.
    assert np.abs(pictures(figure)[0][..., :3].astype(int) - screen).max() <= 4

    dialog.get_by_label("panel").select_option("lines")
    dialog.get_by_label("theme").select_option("dark")
    dialog.get_by_label("PNG scale").select_option("1×")
    png = saved(notebook, dialog, "save PNG")
    assert png.suggested_filename == "attention-layer1-head2-lines.png"
    assert Image.open(png.path()).convert("RGB").getpixel((0, 0)) == (17, 20, 24)
    csv = saved(notebook, dialog, "save CSV").path().read_text(encoding="utf-8")
    read = np.array([[np.float32(cell) for cell in line.split(",")[1:]] for line in csv.splitlines()[2:]])
    np.testing.assert_array_equal(read, np.array(notebook.evaluate("view.numbers().values.tolist()"), np.float32))

    dialog.get_by_role("button", name="copy Python line").click()
    line = dialog.get_by_label("Python line", exact=True)
    line.wait_for()
    assert line.input_value() == "cap.show(layer=1, head=2, query=3, key=7)"
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    attribute(view, "data-query", "3")


def test_what_python_refuses_is_said_in_the_view(notebook):
    view = notebook.ready()
    notebook.execute("import sys; sys.modules['matplotlib'] = None")
    view.get_by_role("button", name="figure", exact=True).click()
    view.get_by_role("button", name="save SVG").click()
    alert = view.get_by_role("alert").filter(has_text="attnwidget[figures]")
    alert.wait_for()
    assert "figures are drawn with matplotlib, which is not installed" in alert.inner_text()


@pytest.mark.parametrize("dark", [False, True])
def test_heads_have_the_hues_of_the_screen(page, dark):
    source = (Path(__file__).parents[2] / "js" / "src" / "colour.ts").read_text()
    body = re.search(r"const HUES = .+", source, re.DOTALL).group(0).replace("export ", "")
    body = re.sub(r": (?:number|boolean|string)\b|\]!", lambda found: "]" if found[0] == "]!" else "", body)
    page.goto("about:blank")
    shown = page.evaluate(
        """([body, dark]) => {
            const headColour = new Function(`${body}; return headColour;`)();
            const pen = document.createElement('canvas').getContext('2d');
            return Array.from({length: 80}, (_, head) => {
                pen.fillStyle = headColour(head, dark);
                pen.fillRect(0, 0, 1, 1);
                return [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)];
            });
        }""",
        [body, dark],
    )
    ours = [list(bytes.fromhex(head_colour(head, dark=dark)[1:])) for head in range(80)]
    assert np.abs(np.array(shown) - ours).max() <= 2
