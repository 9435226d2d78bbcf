"""Writes the live views of the gallery: runs the Python of docs/gallery.md, and saves what it shows as pages.

Each page has the name of the picture it stands beside, and shows what the lines above say. Needs no browser and no
network.

python scripts/live_pages.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gallery import blocks

MAX_BYTES = 2_000_000
"""Of weights in each page: a site has many, and nobody waits for one."""
# A frame cannot be asked how tall its page is, nor does its page see which theme the reader chose: both are told.
_IN_A_FRAME = """<script>
if (parent !== window) {
  document.body.style.margin = "0 auto";
  document.body.style.padding = "0";
  addEventListener("message", ({ data }) => {
    if (data.attnwidgetTheme === undefined) return;
    document.body.dataset.theme = data.attnwidgetTheme;
    document.documentElement.style.colorScheme = data.attnwidgetTheme;
  });
  const tell = () => parent.postMessage({ attnwidgetHeight: document.documentElement.offsetHeight }, "*");
  new ResizeObserver(tell).observe(document.documentElement);
}
</script>
"""


def write(folder: Path) -> list[Path]:
    """Write every page; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {}
    paths = []
    for block in blocks():
        shown: Any = block.run(known)
        if block.live:
            path: Path = shown.to_html(folder / f"{block.name}.html", max_bytes=MAX_BYTES)
            page = path.read_text(encoding="utf-8").replace("</body>", f"{_IN_A_FRAME}</body>")
            path.write_text(page, encoding="utf-8")
            paths.append(path)
    return paths


if __name__ == "__main__":
    for path in write(Path(sys.argv[1])):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
