"""What exploring a long head costs in the browser, in a real JupyterLab: bytes moved, heap and elements of one session.

The session: open the capture, zoom in on one pair in 6 steps, read it, change the head 5 times, go back to the whole
head. Random weights of a GPT-2 shape: 2 layers of 2 heads of 64.

    CHROMIUM_PATH=... python benchmarks/long_view.py [--lengths 1024 4096 8192 16384 32768]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from heatmap import attribute, hover  # noqa: E402 - the drivers the browser tests use
from lab import BROWSER_FLAGS, Lab  # noqa: E402
from travel import LONG_CAPTURE, Traffic, heap, nodes, settled, zoom_to  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RESULTS = Path(__file__).parent / "results" / "long_view.json"
HEADS = [(1, 1), (0, 1), (0, 0), (1, 0), (1, 1)]


def session(browser: Browser, lab: Lab, length: int) -> dict[str, Any]:
    """One session of a person with one capture."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(120_000)
    traffic = Traffic(page)
    notebook = lab.open(page, lab.write(f"long-{length}.ipynb", [LONG_CAPTURE.format(tokens=length), "view"]))
    notebook.run_cell(0)
    row: dict[str, Any] = {"tokens": length, "heap_without": heap(page), "received": {}}
    seen = traffic.received

    def moved(what: str) -> None:
        nonlocal seen
        row["received"][what] = traffic.received - seen
        seen = traffic.received

    start = time.perf_counter()
    notebook.run_cell(1)
    view = notebook.ready(timeout=120_000)
    row["open_s"] = time.perf_counter() - start
    attribute(view, "data-sampled", "")
    row["exact_s"] = time.perf_counter() - start
    moved("open, until exact")
    query, key = length * 3 // 4 + 5, length // 3 + 1
    zoom_to(view, query, key, steps=6)
    hover(view, query, key)
    page.wait_for_timeout(500)
    moved("zoom to a pair in 6 steps")
    for layer, head in HEADS:
        notebook.execute(f"view.layer, view.head = {layer}, {head}")
        attribute(view, "data-head", str(head))
        settled(view)
    moved("change the head 5 times")
    notebook.execute("view.window = None")
    settled(view)
    moved("the whole head again")
    row["heap"], row["nodes"] = heap(page), nodes(page)
    page.close()
    return row


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 8192, 16384, 32768], help="tokens")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM_PATH"), args=BROWSER_FLAGS)
        print("tokens  open s  exact s   received MB: open   zoom  heads  whole    heap MB: page  with view   elements")
        for length in options.lengths:
            row = session(browser, lab, length)
            rows.append(row)
            received = "  ".join(f"{part / 1e6:5.2f}" for part in row["received"].values())
            print(
                f"{length:6}  {row['open_s']:6.1f}  {row['exact_s']:7.1f}  {received:>35}"
                f"  {row['heap_without'] / 1e6:14.0f}  {row['heap'] / 1e6:9.0f}  {row['nodes']:9}",
                flush=True,
            )
        browser.close()
        lab.close()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
