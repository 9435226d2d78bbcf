"""What showing costs: first complete paint, script time of a hover, and bytes in the notebook, in a real JupyterLab.

A capture of 12 layers x 16 heads of random weights is shown at several lengths; hovers are measured with the panels of
a first view, and with every panel open and a pair locked.

    CHROMIUM_PATH=... python benchmarks/view.py [--lengths 64 128 256 512]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbclient
import nbformat
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from lab import BROWSER_FLAGS, Lab, Notebook  # noqa: E402 - the driver the browser tests use

from attnwidget.widget.protocol import DEFAULT_PANELS, PANELS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parent / "results" / "view.json"

CAPTURE = """
import torch, transformers, attnwidget as aw
torch.manual_seed(0)
config = transformers.GPT2Config(
    vocab_size=1000, n_positions=2048, n_embd=512, n_layer=12, n_head=16, initializer_range=0.2
)
model = aw.AttentionModel(transformers.GPT2Model(config).eval())
cap = model.capture(torch.randint(0, 1000, (1, {length})))
"""
EVERYTHING = "cap.show(panels={panels}, layer=6, head=3, query={length} // 2, key={length} // 3)"


def first_paint(notebook: Notebook, repeats: int) -> dict[str, float]:
    """Milliseconds from running the cell that shows the capture to its first complete paint."""
    page = notebook.page
    seen: list[float] = []
    for _ in range(repeats):
        page.evaluate("() => { performance.clearMarks(); performance.mark('shown'); }")
        notebook.run_cell(1)
        page.wait_for_function(
            "() => performance.getEntriesByName('attnwidget:first-paint').length > 0", timeout=60_000
        )
        seen.append(
            page.evaluate(
                "() => performance.getEntriesByName('attnwidget:first-paint')[0].startTime"
                " - performance.getEntriesByName('shown')[0].startTime"
            )
        )
    return {"first": seen[0], "median": statistics.median(seen)}


def hover(notebook: Notebook, index: int, panels: Sequence[str]) -> dict[str, float]:
    """Script milliseconds of one hover, with the frame it causes: p95 of a sweep over each panel of a view."""
    page, view = notebook.page, notebook.ready(index, timeout=60_000)
    p95 = {}
    for name in panels:
        body = view.locator(f'section[data-name="{name}"] .body')
        body.scroll_into_view_if_needed()
        box = body.bounding_box()
        assert box is not None
        page.evaluate("() => performance.clearMeasures()")
        for step in range(150):
            across, down = 0.02 + 0.96 * (step * 7 % 150) / 150, 0.1 + 0.8 * step / 150
            page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
            page.wait_for_timeout(20)
        spent = page.evaluate("() => performance.getEntriesByName('attnwidget:hover').map(entry => entry.duration)")
        assert len(spent) > 50, f"only {len(spent)} hovers were seen over {name}"
        p95[name] = statistics.quantiles(spent, n=20)[-1]
    return p95


def stored(length: int) -> int:
    """Bytes that the output adds to a notebook saved with its widget state."""
    sizes = []
    for last in ("cap", "None"):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(CAPTURE.format(length=length)), nbformat.v4.new_code_cell(last)]
        nbclient.NotebookClient(notebook, store_widget_state=True, timeout=300).execute()
        sizes.append(len(nbformat.writes(notebook).encode()))
    return sizes[0] - sizes[1]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128, 256, 512], help="tokens")
    parser.add_argument("--repeats", type=int, default=5, help="times the view is shown")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM_PATH"), args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for length in options.lengths:
            everything = EVERYTHING.format(length=length, panels=list(PANELS))
            cells = [CAPTURE.format(length=length), "cap", everything]
            notebook = lab.open(page, lab.write(f"view-{length}.ipynb", cells))
            notebook.run_cell(0)
            row = {"tokens": length, "first_paint_ms": first_paint(notebook, options.repeats)}
            row["hover_p95_ms"] = hover(notebook, 0, DEFAULT_PANELS)
            notebook.run_cell(2)
            row["every_panel_open_p95_ms"] = hover(
                notebook, 1, [name for name in PANELS if name != "detail"]
            )  # that has no tokens
            rows.append({**row, "stored_bytes": stored(length)})
        browser.close()
        lab.close()
    for row in rows:
        paint, spent, all_open = row["first_paint_ms"], row["hover_p95_ms"], row["every_panel_open_p95_ms"]
        print(f"{row['tokens']} tokens x 12 x 16 heads")
        print(f"  first paint  {paint['first']:.0f} ms, median {paint['median']:.0f} ms")
        print("  hover, p95 ms:", *(f"{name} {ms:.1f}" for name, ms in spent.items()))
        print("  with every panel open:", *(f"{name} {ms:.1f}" for name, ms in all_open.items()))
        print(f"  stored in a notebook: {row['stored_bytes'] / 1e6:.2f} MB", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
