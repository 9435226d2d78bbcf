"""A host that keeps to Colab's contract, in a browser, with a real kernel behind it.

Each output is a frame of another origin, with a widget manager and a model of its own (`colab/frame.ts`); the page
around them (`colab/page.ts`) holds the state and speaks with the kernel. Both are ours, after what Colab publishes of
its manager; under them stand Jupyter's and anywidget's own classes. The kernel takes ipywidgets 7.7 from a folder that
comes before its own packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab import Lab
    from playwright.sync_api import Locator, Page, Route

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent / "colab"
ANYWIDGET = Path(sys.prefix) / "share" / "jupyter" / "nbextensions" / "anywidget" / "index.js"

PAGE = """<!doctype html><title>notebook</title>
<style>body { margin: 16px } iframe { display: block; width: 100%; border: 0; margin-bottom: 16px }</style>
<script src="page.js"></script>"""
FRAME = (
    """<!doctype html><title>output</title><style>body { margin: 0 }</style><body><script src="frame.js"></script>"""
)

KERNEL = """
import sys, types
sys.path.insert(0, {packages!r})
output = types.ModuleType("google.colab.output")
output._widgets = types.SimpleNamespace(_installed_url=None)
def enable_custom_widget_manager():
    output._widgets._installed_url = "http://cdn.127.0.0.1.test/manager.js"
output.enable_custom_widget_manager = enable_custom_widget_manager
sys.modules[output.__name__] = output
"""
"""What Colab's kernels have: its module, by which anywidget knows it, and older packages."""


def build(folder: Path) -> Path:
    """Bundle the scripts of page and frame into a folder."""
    bundler = ROOT / "node_modules" / ".bin" / "esbuild"
    scripts = [SOURCES / "page.ts", SOURCES / "frame.ts"]
    subprocess.run(
        [bundler, *scripts, "--bundle", "--format=iife", f"--outdir={folder}", "--log-level=error"], check=True
    )
    return folder


class Colab:
    """A notebook of such a host, open on a page.

    Args:
        page: where it is opened.
        server: lends it kernels.
        scripts: what `build` made.
        hands: how frames hand binary data to widgets, "Uint8Array" or "ArrayBuffer".
    """

    def __init__(self, page: Page, server: Lab, scripts: Path, *, hands: str = "Uint8Array") -> None:
        self.page, self.server, self.hands = page, server, hands
        answers = {
            "**/frame.html": (FRAME, "text/html"),
            "**/frame.js": ((scripts / "frame.js").read_text(), "text/javascript"),
            "**/npm/anywidget@*/dist/index.js": (ANYWIDGET.read_text(), "text/javascript"),
        }
        for pattern, (body, kind) in answers.items():
            page.route(pattern, self._answer(body, kind))
        # In the place of what the server really sent: browsers let no other page speak with a local server.
        page.goto(f"http://127.0.0.1:{server.port}/static/style/index.css")
        page.set_content(PAGE)
        page.add_script_tag(path=scripts / "page.js")

    @staticmethod
    def _answer(body: str, kind: str) -> Any:
        def answer(route: Route) -> None:
            route.fulfill(
                body=body, content_type=f"{kind}; charset=utf-8", headers={"Access-Control-Allow-Origin": "*"}
            )

        return answer

    def connect(self, packages: str) -> None:
        """Start a kernel that looks for packages in a folder before it looks at home."""
        connecting = "([token, hands]) => { colab.connect(token, hands).then(() => { window.connected = true; }); }"
        self.page.evaluate(connecting, [self.server.token, self.hands])
        self.page.wait_for_function("() => window.connected")
        self.run(KERNEL.format(packages=packages))

    def run(self, code: str) -> dict[str, Any]:
        """Run a cell: what it printed (`text`) and the ids of the widgets that it showed (`shown`)."""
        result: dict[str, Any] = self.page.evaluate("code => colab.run(code)", code)
        assert result["error"] is None, result["error"]
        return result

    def evaluate(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, through JSON."""
        return json.loads(self.run(f"import json; print(json.dumps({expression}))")["text"])

    def ready(self, output: int = 0) -> Locator:
        """The view of one output, once everything it shows is drawn from real data."""
        root = self.page.frame_locator(f"iframe >> nth={output}").locator('.attnwidget .root[data-ready="true"]')
        root.wait_for()
        root.scroll_into_view_if_needed()
        return self.view(output)

    def view(self, output: int) -> Locator:
        """The view of one output, whatever it is doing."""
        return self.page.frame_locator(f"iframe >> nth={output}").locator(".attnwidget .root")

    def close(self) -> None:
        """Stop the kernel."""
        self.page.evaluate("() => colab.close()")
