"""AttentionWidget: the view of one capture, as traits that Python reads, sets and observes."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t

from attnwidget.widget import embed, protocol
from attnwidget.widget.cells import cell_widgets
from attnwidget.widget.meta import describe
from attnwidget.widget.requests import Answerer

if TYPE_CHECKING:
    from attnwidget.attention import AttentionCapture, AttentionStack

_BUNDLE = Path(__file__).parent / "static" / "widget.js"


class AttentionWidget(anywidget.AnyWidget):
    """The view of one capture: head grid, heatmap, lines and running text, linked.

    Every control on screen is a trait here: read it, set it, or `observe` it. Indices are 0-based.

    Args:
        capture: what is shown.
        **traits: any trait below, to start with.

    Attributes:
        stack: name of the stack shown, one of `capture.stacks`.
        batch: the example of the batch.
        layer: the locked layer.
        head: the locked head.
        query: the locked query token; None when free.
        key: the locked key token; None when free.
        direction: how a focused token is read in the text: `"from"` shades what it looks at, `"to"` what looks at it.
        window: the part of the head that is shown, (q0, q1, k0, k1): queries [q0, q1) and keys [k0, k1); None for all
            of it.
        panels: which panels are shown, in order: any of `"grid"`, `"heatmap"`, `"lines"`, `"text"`.
        threshold: lines under this weight, in [0, 1], are not drawn.
        scale: from weight to colour: `"linear"`, `"sqrt"` or `"log"`.
        domain: the weights (low, high) at the ends of the colour map; None for each head's own range.
        colormap: one of `"oslo"`, `"cividis"`, `"magma"`, `"viridis"`.
        theme: `"auto"` follows the notebook, or `"light"`, `"dark"`.
        heads: the heads of this layer that are drawn together in the line view; [] for just `head`. The other panels
            show `head`.
        aggregate: `"mean"` or `"max"` shows many heads as one in every panel but the grid, as `capture.aggregate` does;
            None shows heads as they are.
        over: which heads those are: `"heads"` of this layer, `"layer"` for all of this layer, `"layers"` for all of all
            layers.

    Raises:
        TypeError: an unknown trait was given.
        traitlets.TraitError: a trait's value is out of range; the view stays as it was.
        FileNotFoundError: the front end has not been built.
    """

    # A path and not its text: anywidget then reloads the page's side when the bundle is rebuilt, if asked to.
    _esm = _BUNDLE if _BUNDLE.exists() else ""

    meta = t.Dict(read_only=True).tag(sync=True)
    embed = t.Bytes(read_only=True).tag(sync=True)

    stack = t.Unicode().tag(sync=True)
    batch = t.Int(0).tag(sync=True)
    layer = t.Int(0).tag(sync=True)
    head = t.Int(0).tag(sync=True)
    query = t.Int(None, allow_none=True).tag(sync=True)
    key = t.Int(None, allow_none=True).tag(sync=True)
    window = t.Tuple(t.Int(), t.Int(), t.Int(), t.Int(), default_value=None, allow_none=True).tag(sync=True)
    direction = t.Enum(protocol.DIRECTIONS, "from").tag(sync=True)
    panels = t.List(t.Enum(protocol.PANELS), list(protocol.PANELS)).tag(sync=True)
    threshold = t.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    scale = t.Enum(protocol.SCALES, "sqrt").tag(sync=True)
    domain = t.Tuple(t.Float(), t.Float(), default_value=None, allow_none=True).tag(sync=True)
    colormap = t.Enum(protocol.COLORMAPS, "oslo").tag(sync=True)
    theme = t.Enum(protocol.THEMES, "auto").tag(sync=True)
    heads = t.List(t.Int()).tag(sync=True)
    aggregate = t.Enum(protocol.AGGREGATES, None, allow_none=True).tag(sync=True)
    over = t.Enum(protocol.OVER, "layer").tag(sync=True)

    def __init__(self, capture: AttentionCapture, **traits: Any) -> None:  # noqa: ANN401 - traits check their own types
        # First, because ipywidgets closes even what was never finished.
        self._capture: AttentionCapture | None = capture
        self._answerer = Answerer(capture)
        if not _BUNDLE.exists():
            raise FileNotFoundError(
                f"attnwidget's front end is missing: there is no {_BUNDLE.name} in the package's widget/static folder. "
                "In a checkout run `make build`; otherwise install attnwidget again."
            )
        for name in traits:
            if name not in _SETTABLE:
                near = difflib.get_close_matches(name, _SETTABLE, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"AttentionWidget has no trait {name!r}: {hint}It has {', '.join(_SETTABLE)}.")
        if "panels" in traits:
            traits["panels"] = list(traits["panels"])
        first_stack = next(iter(capture.stacks))
        super().__init__(**{"stack": first_stack, **traits})
        with self.hold_sync():
            self.set_trait("meta", describe(capture))
            self.set_trait(
                "embed",
                embed.pack(capture, stack=self.stack, batch=self.batch, layer=self.layer, head=self.head),
            )
        self.on_msg(AttentionWidget._on_message)
        cells = cell_widgets()
        if cells is not None:
            cells.made(self)

    def close(self) -> None:
        """Take the view off the page and let go of the capture."""
        super().close()
        self._answerer.close()
        self._capture = None

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
        return super()._repr_mimebundle_(**kwargs)

    def _on_message(self, content: object, _buffers: object) -> None:
        reply = self._answerer.answer(content)
        self.send(reply.content, reply.buffers)

    def _shown(self) -> AttentionStack | None:
        return None if self._capture is None else self._capture.stacks.get(self.stack)

    @t.validate("stack")
    def _check_stack(self, proposal: Any) -> str:  # noqa: ANN401 - traitlets' Bunch
        name: str = proposal["value"]
        if self._capture is not None and name not in self._capture.stacks:
            raise t.TraitError(f"stack is {name!r}: this capture has {', '.join(map(repr, self._capture.stacks))}")
        return name

    @t.validate("batch", "layer", "head", "query", "key")
    def _check_index(self, proposal: Any) -> int | None:  # noqa: ANN401 - traitlets' Bunch
        name, value = proposal["trait"].name, proposal["value"]
        if isinstance(value, bool):
            raise t.TraitError(f"{name} is {value}: expected a whole number")
        stack = self._shown()
        if stack is None or value is None:
            return value  # type: ignore[no-any-return]
        count = {
            "batch": lambda: stack.n_examples,
            "layer": lambda: stack.n_layers,
            "head": lambda: stack.n_heads,
            "query": lambda: len(stack.query_tokens[self.batch]),
            "key": lambda: len(stack.key_tokens[self.batch]),
        }[name]()
        if not 0 <= value < count:
            raise t.TraitError(f"{name} is {value}: stack {stack.name!r} has {_PLURAL[name]} 0 to {count - 1}")
        return value  # type: ignore[no-any-return]

    @t.validate("window")
    def _check_window(self, proposal: Any) -> tuple[int, int, int, int] | None:  # noqa: ANN401 - traitlets' Bunch
        window: tuple[int, int, int, int] | None = proposal["value"]
        stack = self._shown()
        if window is None or stack is None:
            return window
        ends = len(stack.query_tokens[self.batch]), len(stack.key_tokens[self.batch])
        if not (0 <= window[0] < window[1] <= ends[0] and 0 <= window[2] < window[3] <= ends[1]):
            raise t.TraitError(
                f"window is {window}: expected (q0, q1, k0, k1) with 0 <= q0 < q1 <= {ends[0]} queries and "
                f"0 <= k0 < k1 <= {ends[1]} keys, or None"
            )
        return window

    @t.validate("panels")
    def _check_panels(self, proposal: Any) -> list[str]:  # noqa: ANN401 - traitlets' Bunch
        panels: list[str] = proposal["value"]
        if not panels or len(set(panels)) != len(panels):
            raise t.TraitError(f"panels is {panels}: expected one or more of {', '.join(protocol.PANELS)}, each once")
        return panels

    @t.validate("heads")
    def _check_heads(self, proposal: Any) -> list[int]:  # noqa: ANN401 - traitlets' Bunch
        heads: list[int] = proposal["value"]
        stack = self._shown()
        if stack is None:
            return heads
        known = all(type(head) is int and 0 <= head < stack.n_heads for head in heads)
        if not known or len(set(heads)) < len(heads):
            raise t.TraitError(
                f"heads is {heads}: expected some of the heads 0 to {stack.n_heads - 1} of stack {stack.name!r}, each "
                "once, or [] for just `head`"
            )
        return sorted(heads)

    @t.validate("threshold")
    def _check_threshold(self, proposal: Any) -> float:  # noqa: ANN401 - traitlets' Bunch
        threshold: float = proposal["value"]
        if math.isnan(threshold):
            raise t.TraitError("threshold is NaN: expected a weight from 0 to 1")
        return threshold

    @t.validate("domain")
    def _check_domain(self, proposal: Any) -> tuple[float, float] | None:  # noqa: ANN401 - traitlets' Bunch
        domain: tuple[float, float] | None = proposal["value"]
        if domain is not None and not 0 <= domain[0] < domain[1] <= 1:
            raise t.TraitError(f"domain is {domain}: expected (low, high) with 0 <= low < high <= 1, or None")
        return domain

    @t.observe("stack", "batch")
    def _keep_in_range(self, _change: object) -> None:
        """Another stack or example may be smaller: what no longer exists in it is released or moved to the last one."""
        stack = self._shown()
        if stack is None:
            return
        self.batch = min(self.batch, stack.n_examples - 1)
        self.layer = min(self.layer, stack.n_layers - 1)
        self.head = min(self.head, stack.n_heads - 1)
        self.heads = [head for head in self.heads if head < stack.n_heads]
        if self.window is not None:
            q0, q1, k0, k1 = self.window
            ends = len(stack.query_tokens[self.batch]), len(stack.key_tokens[self.batch])
            if q0 >= ends[0] or k0 >= ends[1]:
                self.set_trait("window", None)
            else:
                self.window = q0, min(q1, ends[0]), k0, min(k1, ends[1])
        if self.query is not None and self.query >= len(stack.query_tokens[self.batch]):
            self.query = None
        if self.key is not None and self.key >= len(stack.key_tokens[self.batch]):
            self.key = None


_PLURAL = {"batch": "examples", "layer": "layers", "head": "heads", "query": "queries", "key": "keys"}
_SETTABLE = tuple(
    "stack batch layer head query key window direction panels threshold scale domain colormap theme "  # noqa: SIM905
    "heads aggregate over layout".split()
)
