"""Takes the pictures of README and gallery in a real JupyterLab, light and dark: each panel, whole views, a long head.

CHROMIUM_PATH=... python scripts/pictures.py [folder [name ...]]
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
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "scripts")]

from gallery import blocks  # noqa: E402 - beside this file, which a test runs from elsewhere
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
_SIZED = "view.layout.width = '{shot.width}px'\nview.add_class('{shot.name}')\nview"


@dataclass(frozen=True)
class Shot:
    """One picture: the lines that show it (those of the gallery if ""), how wide it is, which panel, None for all.

    `press` are the buttons of the panel "output" that are pressed first, by what they say.
    """

    name: str
    width: int = WHOLE
    panel: str | None = None
    code: str = ""
    press: tuple[str, ...] = ()


SHOTS = (
    Shot("quickstart"),
    Shot("everything"),
    Shot("panel-grid", 560, "grid"),
    Shot("pair", 640, "grid"),
    Shot("maps", 640, "grid"),
    Shot("panel-heatmap", 560),
    Shot("panel-lines", 560, "lines"),
    Shot("panel-graph", 900, "graph"),
    Shot("panel-text", 900, "text"),
    Shot("panel-detail", 900, "detail"),
    Shot("aggregate", 560),
    Shot("lift", 560),
    Shot("gradient", 560),
    Shot("rollout", 560),
    Shot("words", 900),
    Shot("sink", 900),
    Shot("live"),
    Shot("output", 900, press=("ablate layer 1 head 1", "ablate every head")),
    Shot("compare"),
    Shot("cross", 900),
    Shot("twice", 900),
)
LONG = (Shot("long", code="view = cap.show(layer=1, window=(9000, 9384, 2900, 3284), query=9200, scale='log')"),)


def take(lab: Lab, browser: Browser, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Take every picture, or those of these names; returns their paths."""
    page = browser.new_page(viewport={"width": 1440, "height": 1900}, device_scale_factor=1.5)
    said = blocks()
    setup = "\n".join(block.code for block in said if block.name is None)
    shown = {block.name: block.named("view") for block in said}
    paths = []
    for title, first, shots in (("pictures", setup, SHOTS), ("long", LONG_CAPTURE.format(tokens=16384), LONG)):
        wanted = [shot for shot in shots if not names or shot.name in names]
        cells = [f"{shot.code or shown[shot.name]}\n{_SIZED.format(shot=shot)}" for shot in wanted]
        if wanted:
            notebook = lab.open(page, lab.write(f"{title}.ipynb", [first, *cells]))
            notebook.run_all()
            paths += _both(notebook, wanted, folder)
    page.close()
    return paths


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
    results = view.locator(".results p")
    for done in range(results.count(), len(shot.press)):
        view.get_by_role("button", name=shot.press[done]).click()
        results.nth(done).wait_for()
        settled(view)
    page.mouse.move(2, 2)
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
        for path in take(lab, browser, folder, sys.argv[2:]):
            print(path.name)
        browser.close()
        lab.close()


if __name__ == "__main__":
    main()
