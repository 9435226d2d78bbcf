"""AttentionWidget: the view of one capture, as traits that Python reads, sets and observes."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import anywidget
import traitlets as t

from attnwidget.analysis.measured import LENSES
from attnwidget.attention import Comparison
from attnwidget.attention.errors import CaptureError
from attnwidget.widget import protocol
from attnwidget.widget.addedmaps import AddedMaps
from attnwidget.widget.cells import cell_widgets
from attnwidget.widget.exporting import Exporting
from attnwidget.widget.following import follow, follow_keys
from attnwidget.widget.lenses import Lenses, Prepared
from attnwidget.widget.live import Live, Runner, State, Stop, Text, commands, words_of
from attnwidget.widget.looking import Looking
from attnwidget.widget.output import Outputs
from attnwidget.widget.requests import Answerer
from attnwidget.widget.viewtraits import SETTABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.analysis import Ablation, LogitAttribution
    from attnwidget.attention import AttentionCapture

_STATIC = Path(__file__).parent / "static"
_BUNDLE = _STATIC / "widget.js"
_KERNEL_MODULE = _STATIC / "kernel.js"

_OPEN: WeakSet[AttentionWidget] = WeakSet()


class AttentionWidget(Looking, Exporting, anywidget.AnyWidget):
    """The view of one capture: head grid, heatmap, lines and running text, linked.

    Every control on screen is a trait here: read it, set it, or `observe` it. Indices are 0-based. What it shows can be
    taken along with `to_png`, `to_svg`, `to_csv`, `numbers` and `code`.

    Args:
        capture: what is shown.
        live: how to run another text, for a view with a text box; None: there is none. `model.show(text)` passes it.
        maps: numbers of heads that the grid shows beside its measures, by name: each as `add_map` takes it.
        **traits: any trait below, to start with.

    Attributes:
        maps: what `add_map` and `maps` have added, a dict for each: name, title, stack and more. Read-only.
        text: of a live view, the text shown, or a pair of texts; setting it runs the model, here and now, and raises a
            TraitError with what that raises as its cause. "" elsewhere.
        run: of a live view, how its last run went: `{"state", "text", "message", "seconds"}` with the state "idle",
            "running", "stopping", "cancelled" or "failed"; `message` tells of a failure, `seconds` how long the text
            shown took. Read-only; empty elsewhere.
        stack: name of the stack shown, one of `capture.stacks`.
        batch: the example of the batch.
        layer: the locked layer.
        head: the locked head.
        query: the locked query token; None when free.
        key: the locked key token; None when free.
        direction: how a focused token is read in the text: `"from"` shades what it looks at, `"to"` what looks at it.
        window: the part of the head that is shown, (q0, q1, k0, k1): queries [q0, q1) and keys [k0, k1); None for all
            of it.
        panels: which panels are shown, in order: any of `"grid"`, `"heatmap"`, `"lines"`, `"graph"`, `"text"`,
            `"detail"`, `"output"`; the graph, the detail of how the weight of the locked pair came about, and what the
            model of a live view says and which heads matter for it, only if asked for.
        threshold: which lines and arcs are drawn, in [0, 1]: a weight, or a mass.
        threshold_kind: `"weight"` draws the weights at or over the threshold. `"mass"` draws, of each query (its whole
            row, also where a window shows a part of it), the fewest strongest keys whose weights add up to the
            threshold; all that are above 0 where they never do, at least one, and of equal weights the first.
        scale: from weight to colour: `"linear"`, `"sqrt"`, `"log"`, or `"quantile"`: by rank among the head's weights.
        domain: the numbers (low, high) at the ends of the colour map; None for each head's own range. Of lift it is
            (1 / c, c) with c > 1, of signed measures (-c, c).
        colormap: one of `"oslo"`, `"cividis"`, `"magma"`, `"viridis"`.
        ablation: what the panel `"output"` puts in the place of a head's result: `"zero"`, its `"mean"` over positions,
            or `"uniform"`, the result of even weights.
        metric: what that panel compares: the `"loss"` of the text, or the `"probability"` or `"logits"` of `token`
            after the locked query, or after the last token.
        token: the candidate chosen there, its number in the vocabulary; None for none.
        components: order of the components in the panel `"detail"`: by the `"size"` of `|q * k|`, or by `"index"`.
        theme: `"auto"` follows the notebook, or `"light"`, `"dark"`.
        layout: width, height and margins of the cell's output, as of every ipywidget: `view.layout.width = "640px"`.
        sort: the measure the heads of the grid are sorted by, one of `attnwidget.analysis.MEASURES`, `"pair"`, the
            weight of the locked pair, or the name of a map; None for the order of layers and heads.
        ascending: the smallest first; otherwise the largest.
        like: a head (layer, head): the grid shows the heads most like it first, whatever `sort` says; None for not.
        filter: (measure, low): the grid shows only heads whose measure, map or `"pair"` is at least low; None for all.
        colour_by: the measure, map or `"pair"` that colours the cells of the grid, maps with a sign by `diverging`, 0
            in the middle; None for small pictures of the heads.
        measure: what is shown: the `"weight"`, its `"lift"` over uniform on a log scale around 1, or another measure
            that `AttentionCapture.measure` has and the capture has what it needs for: `"score"`, `"value-weighted"`,
            `"value-weighted-layer"`, `"rollout"`, `"flow"`, `"gradient"`. Those of layers show one picture per layer;
            signed ones are coloured around 0, and of several under a cell the one of largest size shows.
        diverging: the colour map of lift, and of what has a sign: `"vik"` (white in the middle), `"berlin"` (black),
            or `"auto"`: whichever is nearer to the page.
        words: merge sub-words to words: weights are summed over the tokens of a key and averaged over those of a query.
            `query`, `key` and `window` then count words.
        hidden_keys: keys left out, each row renormalised over the rest; tokens of the text as it is, also while words
            are shown. Another stack has other keys, and none are hidden in it.
        heads: the heads of this layer that are drawn together in the line view; [] for just `head`. The other panels
            show `head`.
        aggregate: `"mean"` or `"max"` shows many heads as one in every panel but the grid, as `capture.aggregate` does;
            None shows heads as they are.
        over: which heads those are: `"heads"` of this layer, `"layer"` for all of this layer, `"layers"` for all of all
            layers.

    Raises:
        TypeError: an unknown trait was given, or no map. Otherwise, of maps, as `add_map`.
        traitlets.TraitError: a trait's value is out of range; the view stays as it was.
        FileNotFoundError: the front end has not been built.
    """

    # A path and not its text: anywidget then reloads the page's side when the bundle is rebuilt, if asked to.
    _esm = _BUNDLE if _BUNDLE.exists() else ""
    # That of ipywidgets 7, which Colab has, would be shown in the place of the bundle below, without what hosts need.
    _ipython_display_ = None

    text = t.Union([t.Unicode(), t.Tuple(t.Unicode(), t.Unicode())], default_value="").tag(sync=True)
    run = t.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        capture: AttentionCapture,
        *,
        live: Live | None = None,
        maps: Mapping[str, Any] | None = None,
        **traits: Any,  # noqa: ANN401 - traits check their own types
    ) -> None:
        # First, because ipywidgets closes even what was never finished.
        self._capture: AttentionCapture | None = capture
        self._own_layout: Any = None
        self._lenses: Lenses | None = Lenses(capture)
        self._head_before: int | None = None  # a measure of layers took its place
        self._in_words: bool | None = None  # what `query`, `key` and `window` count; None until all is set
        self._live = live
        self._ran: Text = "" if live is None else live.text
        self._arriving: Text | None = None
        self._runner = None if live is None else Runner(self._made, show=self._show_text, tell=self._tell)
        self._maps = AddedMaps()
        self._outputs = Outputs(live, self._runner, self._asked_about, self._take_map)
        methods = {"figure": self._answer_figure, "code": self._answer_code, "map": self._maps.answer}
        asked = {**commands(self._runner, self._outputs.stop), "module": _kernel_module, "about": self._answer_about}
        self._answerer = Answerer(capture, {**methods, **self._outputs.methods()}, asked)
        missing = [path.name for path in (_BUNDLE, _KERNEL_MODULE) if not path.exists()]
        if missing:
            raise FileNotFoundError(
                f"attnwidget's front end is missing: there is no {missing[0]} in the package's widget/static folder. "
                "In a checkout run `make build`; otherwise install attnwidget again."
            )
        for name in traits:
            if name not in SETTABLE:
                near = difflib.get_close_matches(name, SETTABLE, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"AttentionWidget has no trait {name!r}: {hint}It has {', '.join(SETTABLE)}.")
        if "panels" in traits:
            traits["panels"] = list(traits["panels"])
        elif isinstance(capture, Comparison):  # three heatmaps take a row of their own
            traits["panels"] = sorted(protocol.DEFAULT_PANELS, key="heatmap".__ne__)
        first_stack = next(iter(capture.stacks))
        shown = traits.get("stack", first_stack)
        for name, thing in ({} if maps is None else maps).items():
            self._maps.add(capture, shown if shown in capture.stacks else first_stack, self._ran, name, thing)
        super().__init__(**{"stack": first_stack, **traits})
        self._own_layout = None if "layout" in traits else self.layout
        _close_abandoned()
        _OPEN.add(self)
        self._in_words = self.words
        with self.hold_sync():
            if self.words or self.hidden_keys or self.measure in LENSES:
                self._show()
            else:
                self._describe(capture)
            if live is not None:
                self.text = live.text
                self.set_trait("run", _run_state("idle", live.text, seconds=live.seconds))
        self.on_msg(AttentionWidget._on_message)
        cells = cell_widgets()
        if cells is not None:
            cells.made(self)

    def close(self) -> None:
        """Take the view off the page, stop a run and let go of the capture."""
        if self._runner is not None:
            self._runner.close()
        super().close()
        if self._own_layout is not None:  # a model of its own, which would stay in the saved notebook
            self._own_layout.close()
        _OPEN.discard(self)
        self._answerer.close()
        self._outputs.close()
        self._capture = self._lenses = self._live = None

    @property
    def capture(self) -> AttentionCapture:
        """What is shown; in a live view, the capture of the text shown."""
        if self._capture is None:
            raise CaptureError("this view is closed, and holds no capture any more: run its cell again")
        return self._capture

    def __repr__(self) -> str:
        """One line: what is shown, and where the view stands."""
        if self._capture is None:
            return "AttentionWidget(closed)"
        place = f"stack={self.stack!r}, batch={self.batch}, layer={self.layer}, head={self.head}"
        return f"AttentionWidget({self._capture.model}, {place}, query={self.query}, key={self.key})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # noqa: ANN401 - ipywidgets' own signature
        cells = cell_widgets()
        if cells is not None:
            cells.shown(self)
        found = super()._repr_mimebundle_(**kwargs)
        if found is not None and self._capture is not None and not self._capture.closed:
            found[0].update(self._preview())
        return found

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the page has set: all of it, or none where something does not fit; then the page takes it back.

        Raises:
            traitlets.TraitError: something does not fit.
        """
        try:
            super().set_state(sync_data)
        except t.TraitError:
            self.send_state([name for name in sync_data if name in self.keys])
            raise

    def _on_message(self, content: object, _buffers: object) -> None:
        reply = self._answerer.answer(content)
        self.send(reply.content, reply.buffers)

    def _made(self, text: Text, stop: Stop) -> Prepared:
        """What takes long of showing a text."""
        if self._live is None or self._lenses is None:
            raise RuntimeError("a view without a text box runs nothing")
        capture = self._live.run(text, stop)
        hidden = follow_keys(self._lenses.capture, capture, self.stack, self.hidden_keys)
        lenses = Lenses(capture)
        looked = stack, words, measure = self._looked()
        shown = lenses.shown(stack, words=words, hidden=hidden, measure=measure)
        return Prepared(lenses, hidden, self._pack(shown), looked)

    def _looked(self) -> tuple[str, bool, str]:
        """How the view looks at its capture."""
        return self.stack, self.words, self.measure

    def _show_text(self, text: Text, made: Prepared, seconds: float) -> None:
        before = self._shown()
        with self.hold_sync():
            self._capture, self._arriving, self._ran = made.lenses.capture, text, text
            self._outputs.release()
            try:
                # Observers hear of it when all of it is there.
                with self.hold_trait_notifications():
                    self._lenses, self._in_words = made.lenses, None
                    self.hidden_keys = made.hidden
                    self._in_words = self.words
                    after = self._shown()
                    if before is not None and after is not None:
                        place = {name: getattr(self, name) for name in ("query", "key", "window")}
                        self.query, self.key, window = follow(before, after, self.batch, **place)
                        self.set_trait("window", window)
                    # Somebody may have looked another way since.
                    self._show(made.packed if made.looked == self._looked() else None)
                    self.text = text
                    self.set_trait("run", {**self.run, "seconds": seconds})
            except Exception:
                self.send_state()  # an observer failed: the page must get what the others hear of
                raise
            finally:
                self._arriving = None

    def _asked_about(self) -> tuple[Text, AttentionCapture, bool]:
        """The text shown, its capture as the model made it, and whether its words are merged."""
        return self._ran, self.capture, self.words

    def _take_map(self, name: str, found: Ablation | LogitAttribution) -> None:
        """What the panel "output" found of every head colours the grid."""
        with self.hold_sync():
            self.add_map(name, found)
            why = next((each["why"] for each in self.maps if each["name"] == name and "why" in each), "")
            if why:
                raise ValueError(f"the numbers of all heads are there, and do not colour the grid: {why}")
            self.colour_by = name

    @t.observe("panels")
    def _forget_output(self, _change: object) -> None:
        """What was kept for the panel is of no use without it."""
        if "output" not in self.panels:
            self._outputs.release()

    def _tell(self, state: State, text: Text, message: str) -> None:
        if self._capture is not None:
            self.set_trait("run", _run_state(state, text, message, self.run.get("seconds", 0.0)))

    @t.validate("text")
    def _check_text(self, proposal: Any) -> Text:  # noqa: ANN401 - traitlets' Bunch
        text: Text = proposal["value"]
        if self._runner is None and text:
            raise t.TraitError(
                f"text is {text!r:.60}: this view shows one capture; model.show(text) makes one whose text can be set"
            )
        if self._runner is None or self._capture is None or text in (self._arriving, self._ran):
            return text
        try:
            self._runner.now(text)
        except Exception as error:
            raise t.TraitError(f"text is not set: {words_of(error)}") from error
        return self._ran  # an observer may have set another one by now


def _close_abandoned() -> None:
    """Close views whose host has closed their channel: marimo does when their cell runs again, and tells nobody."""
    for view in list(_OPEN):
        if getattr(view.comm, "_closed", False):
            view.close()


def close_all() -> int:
    """Close every open view of this process: off the page, and their captures are let go of.

    Captures that a variable holds stay as they are.

    Returns:
        How many views there were.
    """
    views = list(_OPEN)
    for view in views:
        view.close()
    return len(views)


def _kernel_module(_: Mapping[str, Any]) -> dict[str, Any]:
    """What only a page with a kernel can use: asked for once, so that no saved notebook stores it."""
    return {"code": _KERNEL_MODULE.read_text(encoding="utf-8")}


def _run_state(state: State, text: Text, message: str = "", seconds: float = 0.0) -> dict[str, Any]:
    return {"state": state, "text": text, "message": message, "seconds": seconds}
