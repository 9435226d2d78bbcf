"""What a view can be taken along as: figures, numbers, and the line that shows it again."""

from __future__ import annotations

import base64
import io
from abc import abstractmethod
from typing import IO, TYPE_CHECKING, Any

from attnwidget.attention import CaptureError
from attnwidget.attention.limits import limits
from attnwidget.export import Numbers, Shown, numbers_of, python_line, save_csv, save_figure
from attnwidget.export.words import label
from attnwidget.widget.embed import small_pictures
from attnwidget.widget.parsing import Aggregate, FigureRequest, RequestError, check_size, parse_figure
from attnwidget.widget.tilecache import Reply
from attnwidget.widget.viewtraits import SETTABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike
    from pathlib import Path

    from attnwidget.attention import AttentionCapture, AttentionStack
    from attnwidget.export import StaticView
    from attnwidget.widget.lenses import Lenses

_SCREEN_DPI = 96
"""Dots an inch at scale 1."""


class Exporting:
    """The part of `AttentionWidget` that writes files; it reads the traits of the rest."""

    _capture: AttentionCapture | None
    _lenses: Lenses | None
    embed: Any
    maps: Any

    def static(self, *, max_bytes: int | None = None, told: Callable[[int, int], None] | None = None) -> StaticView:
        """The view as it stands, without a kernel: what a cell shows of it stays, also in pages made of the notebook.

        Selection and linking work, and so does what is made of weights; what needs a kernel (another text, words,
        hidden keys, query-key detail, measures of heads) says so. What is shown is embedded first, then heads until
        `max_bytes` are used, whole ones first, nearest to the locked head first, and a line under the view says what is
        left out. Weights in it are codes, the square root of each right to 1/256; lift is right to 0.02 %.

        Args:
            max_bytes: the most that the weights may take, as text; 8 MB if None. The scripts take 80 kB more.
            told: called with how many heads are done, and how many there are.

        Raises:
            CaptureError: the view or its capture is closed.
            ValueError: max_bytes is not above 0.
        """
        from attnwidget.export import MAX_BYTES, static_view

        shown = self._seen()
        state = {name: getattr(self, name) for name in ("meta", "maps", *SETTABLE) if name != "layout"}
        state |= {"text": "", "run": {}}  # what could run a text again stays behind
        return static_view(shown, state, max_bytes=MAX_BYTES if max_bytes is None else max_bytes, told=told)

    def to_html(self, path: str | PathLike[str], *, max_bytes: int | None = None) -> Path:
        """Write the view as it stands into one page that needs no kernel and no network; see `static`.

        Args:
            path: of the page; what stands there is replaced.
            max_bytes: as for `static`.

        Returns:
            The path.

        Raises:
            OSError: the page cannot be written. Otherwise as `static`.
        """
        from attnwidget.export import write_page

        return write_page(path, self.static(max_bytes=max_bytes))

    def to_png(
        self,
        path: str | PathLike[str] | IO[bytes],
        *,
        panel: str = "heatmap",
        theme: str | None = None,
        width: float | None = None,
        dpi: float = 300,
    ) -> str | PathLike[str] | IO[bytes]:
        """Draw one panel as the view shows it now, with axes and legend, and write it as PNG.

        Drawn by matplotlib, without a browser: `pip install "attnwidget[figures]"`. The cells of a heatmap have exactly
        the colours of the screen. What has more tokens than the figure has dots is pooled to the dots by the largest
        weight under each, and the legend says so. The same view gives the same bytes. Of a comparison it is the side
        that `stack` names.

        Args:
            path: ends in .png; a file that is there is overwritten. Or a file open for writing bytes.
            panel: "grid", "heatmap", "lines", "graph", "text" or "detail".
            theme: "light" or "dark"; None: the view's, and light where that is "auto".
            width: in inches; None: what the panel needs, 6.5 at most.
            dpi: dots an inch, from 30 to 1200.

        Returns:
            The path, or the file.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: an argument that makes no sense, or lines or arcs of more than 2^24 pairs with no locked token.
            OSError: the file cannot be written.
            CaptureError: the view was closed.
        """
        save_figure(self._seen(theme), path, "png", panel=panel, width=width, dpi=dpi)
        return path

    def to_svg(
        self,
        path: str | PathLike[str] | IO[bytes],
        *,
        panel: str = "heatmap",
        theme: str | None = None,
        width: float | None = None,
    ) -> str | PathLike[str] | IO[bytes]:
        """Draw one panel as `to_png` does, and write it as SVG: text stays text, a heatmap is one picture.

        Args:
            path: ends in .svg; a file that is there is overwritten. Or a file open for writing bytes.
            panel: "grid", "heatmap", "lines", "graph", "text" or "detail".
            theme: "light" or "dark"; None: the view's, and light where that is "auto".
            width: in inches; None: what the panel needs, 6.5 at most.

        Returns:
            The path, or the file.

        Raises:
            ImportError, ValueError, OSError, CaptureError: as `to_png`.
        """
        save_figure(self._seen(theme), path, "svg", panel=panel, width=width)
        return path

    def numbers(self) -> Numbers:
        """The numbers that the view shows: the weights, or the lift, of its head or aggregate, in its window.

        Returns:
            `values` float32 (queries, keys), NaN where the mask forbids and of hidden keys; `queries` and `keys`, what
            stands for each row and column; `about`, which numbers these are.

        Raises:
            MemoryError: they would take more than half of the free memory.
            CaptureError: the view was closed.
        """
        return numbers_of(self._seen())

    def to_csv(self, path: str | PathLike[str] | IO[str] | IO[bytes]) -> str | PathLike[str] | IO[str] | IO[bytes]:
        """Write `numbers` as CSV: a line that says what they are, the keys, and a line per query.

        Read it with `pandas.read_csv(path, skiprows=1, index_col=0)`: the same float32. Cells that the mask forbids,
        and those of hidden keys, are empty.

        Args:
            path: ends in .csv; a file that is there is overwritten. Or a file open for writing text or bytes.

        Returns:
            The path, or the file.

        Raises:
            ValueError: more than 2^20 numbers; the text says how to get them.
            OSError: the file cannot be written.
            CaptureError: the view was closed.
        """
        save_csv(self._seen(), path)
        return path

    def _preview(self) -> dict[str, str]:
        """What shows where no widget can: a text, and a picture of the head grid, by mime type."""
        from attnwidget.export import preview_png, preview_text

        shown = self._seen()
        found = {"text/plain": preview_text(shown)}
        # Of 4 letters, 3 bytes are the picture.
        most = limits.picture_bytes * 3 // 4
        if most > 0:
            pictures = small_pictures(self.embed, stack=shown.stack, batch=shown.batch, measure=shown.measure)
            picture = preview_png(shown, pictures, most)
            if picture is not None:
                found["image/png"] = base64.b64encode(picture).decode()
        return found

    def code(self) -> str:
        """The Python line that shows this view again, `cap.show(layer=3, head=5)`: what differs from the defaults.

        What is sorted, filtered or coloured by an added map is left out: a line cannot hold its numbers.
        """
        names = [name for name in SETTABLE if name != "layout"]
        defaults = {**self.trait_defaults(*names), "stack": next(iter(self._open().stacks))}  # type: ignore[attr-defined]
        state = {name: getattr(self, name) for name in names}
        added = {each["name"] for each in self.maps}
        for name in ("sort", "filter", "colour_by"):
            value = state[name]
            if (value[0] if isinstance(value, tuple) else value) in added:
                state[name] = None
        return python_line(state, defaults, names)

    @abstractmethod
    def _through(self, lenses: Lenses) -> AttentionCapture:
        """The capture as it is shown."""

    def _open(self) -> AttentionCapture:
        if self._capture is None:
            raise CaptureError("this view was closed: show the capture again")
        return self._capture

    def _seen(self, theme: str | None = None) -> Shown:
        """What the view shows now."""
        if theme not in (None, "light", "dark"):
            raise ValueError(f"theme is {theme!r}: expected 'light', 'dark' or None for that of the view")
        capture, lenses = self._open(), self._lenses
        if lenses is None:
            raise CaptureError("this view was closed: show the capture again")
        view: Any = self
        keys, shown = capture.stacks[view.stack].key_tokens[view.batch], self._through(lenses)
        hidden = [f'{key} "{label(keys.text[key], keys.pieces[key])}"' for key in view.hidden_keys if key < len(keys)]
        return Shown(
            shown, view.stack, view.batch, view.layer, view.head, tuple(view.heads),
            self._aggregate(shown.stacks[view.stack]),
            query=view.query, key=view.key, window=view.window, direction=view.direction,
            threshold=view.threshold, threshold_kind=view.threshold_kind,
            measure=view.measure, scale=view.scale, domain=view.domain, colormap=view.colormap,
            diverging=view.diverging, components=view.components, dark=(theme or view.theme) == "dark",
            words=view.words, hidden=tuple(hidden),
            arranged=any((view.sort, view.like, view.filter, view.colour_by)),
        )  # fmt: skip

    def _aggregate(self, stack: AttentionStack) -> Aggregate | None:
        """The heads of a stack that are shown as one: `js/src/aggregates.ts` in Python."""
        view: Any = self
        if view.aggregate is None:
            return None
        layers = range(stack.n_layers) if view.over == "layers" else [view.layer]
        heads = view.heads or [view.head] if view.over == "heads" else range(stack.n_heads)
        return Aggregate(view.stack, view.aggregate, tuple(layers), tuple(heads))

    def _answer_figure(self, _capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        """What the page asked for as a file, in one buffer."""
        wanted = parse_figure(params)
        try:
            body = self._file(wanted)
        except (ImportError, ValueError) as error:
            raise RequestError("failed", str(error)) from error
        check_size(len(body))
        return Reply({}, [body])

    def _file(self, wanted: FigureRequest) -> bytes:
        file = io.BytesIO()
        if wanted.kind == "csv":
            self.to_csv(file)
        elif wanted.kind == "svg":
            self.to_svg(file, panel=wanted.panel, theme=wanted.theme)
        else:
            self.to_png(file, panel=wanted.panel, theme=wanted.theme, dpi=_SCREEN_DPI * wanted.scale)
        return file.getvalue()

    def _answer_code(self, _capture: AttentionCapture, _params: Mapping[str, Any]) -> Reply:
        return Reply({"code": self.code()}, [])
