"""From a capture to a file."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnwidget.cli.running import layer_place
from attnwidget.cli.writing import written_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from attnwidget.attention import AttentionCapture
    from attnwidget.cli.values import Format


@dataclass(frozen=True)
class Output:
    """What is written.

    Attributes:
        path: where.
        format: as what.
        force: over what is there.
        layer: shown first, counted as in the model.
        head: shown first.
        panel: that a figure shows.
        max_bytes: of weights in a page; None: 8 MB.
    """

    path: Path
    format: Format
    force: bool = False
    layer: int = 0
    head: int = 0
    panel: str = "heatmap"
    max_bytes: int | None = None

    def write(self, capture: AttentionCapture, source: Path | None) -> str:
        """Write it.

        Args:
            capture: what is written.
            source: the file that it came from, where it came from one.

        Returns:
            What is in the file, in words.

        Raises:
            OSError, ValueError, ImportError: as `save`, `to_html`, `to_png` and `to_svg`.
        """
        with written_whole(self.path, self.format, force=self.force) as scratch:
            if self.format != "safetensors":
                return self._write_view(capture, scratch)
            if source is None:
                capture.save(scratch)
            else:
                shutil.copyfile(source, scratch)
        return f"capture of {capture.model}"

    def _write_view(self, capture: AttentionCapture, scratch: Path) -> str:
        from attnwidget.export import write_page

        view: Any = capture.show(layer=layer_place(capture, self.layer), head=self.head)
        try:
            if self.format == "html":
                with _bar() as told:
                    static = view.static(max_bytes=self.max_bytes, told=told)
                write_page(scratch, static)
                words: str = static.embedded.words
                return words
            draw = view.to_png if self.format == "png" else view.to_svg
            draw(scratch, panel=self.panel)
            return f"{self.panel} of layer {self.layer} head {self.head}"
        finally:
            view.close()


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of heads on stderr, where that is a terminal; call it with how many are done, of how many."""
    from tqdm import tqdm

    with tqdm(desc="packing", unit="head", leave=False, disable=not sys.stderr.isatty()) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told
