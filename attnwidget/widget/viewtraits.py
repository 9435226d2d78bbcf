"""The traits of a view: what may be set, and what is refused with which words."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import traitlets as t

from attnwidget.analysis import PAIR_MEASURES
from attnwidget.analysis.measured import LENSES, why_not
from attnwidget.attention import Comparison
from attnwidget.widget import protocol
from attnwidget.widget.finder import FINDS, MOVED, finds
from attnwidget.widget.lenses import key_count

if TYPE_CHECKING:
    from attnwidget.attention import AttentionCapture, AttentionStack

SETTABLE = (
    *("stack", "batch", "layer", "head"),
    *("query", "key", "window", "direction"),
    *("panels", "threshold", "threshold_kind"),
    *("scale", "domain", "colormap"),
    *("sort", "ascending", "like", "filter", "colour_by"),
    *("heads", "aggregate", "over"),
    *("measure", "diverging", "words", "hidden_keys"),
    *("ablation", "metric", "token"),
    *("components", "theme", "layout"),
)
"""Every trait that a person sets, and the page with them; `AttentionWidget` describes them."""
_NOT_COMPARED = {
    "words": "the tokens of two texts make no words together; compare aw.compare(a.in_words(), b.in_words()) instead",
    "measure": "a comparison shows weights and their difference; `lift` of the capture has the other numbers",
}
_PLURAL = {"batch": "examples", "layer": "layers", "head": "heads", "query": "queries", "key": "keys"}


_SIGNED = {name for name, measure in PAIR_MEASURES.items() if measure.signed}
_BELOW_ONE = ("weight", "rollout", "flow")


def _fits(domain: tuple[float, float] | None, measure: str) -> bool:
    if domain is None:
        return True
    low, high = domain
    if not math.isfinite(low) or not math.isfinite(high):
        return False
    if measure == "lift":
        return 0 < low < 1 < high and math.isclose(low * high, 1, rel_tol=1e-6)
    if measure in _SIGNED:
        return low < 0 and math.isclose(-low, high, rel_tol=1e-6)
    return 0 <= low < high and (high <= 1 or measure not in _BELOW_ONE)


def _fitting(measure: str) -> str:
    """Which domains fit."""
    if measure == "lift":
        return "(1 / c, c) with c > 1, as far below chance as above it"
    if measure in _SIGNED:
        return "(-c, c) with c > 0, as far below 0 as above it"
    return "(low, high) with 0 <= low < high" + (" <= 1" if measure in _BELOW_ONE else "")


class ViewTraits(t.HasTraits):
    """The part of `AttentionWidget` that says which values its traits may have, and keeps them in range."""

    _capture: AttentionCapture | None
    _in_words: bool | None

    stack = t.Unicode().tag(sync=True)
    batch = t.Int(0).tag(sync=True)
    layer = t.Int(0).tag(sync=True)
    head = t.Int(0).tag(sync=True)
    query = t.Int(None, allow_none=True).tag(sync=True)
    key = t.Int(None, allow_none=True).tag(sync=True)
    window = t.Tuple(t.Int(), t.Int(), t.Int(), t.Int(), default_value=None, allow_none=True).tag(sync=True)
    direction = t.Enum(protocol.DIRECTIONS, "from").tag(sync=True)
    panels = t.List(t.Enum(protocol.PANELS), list(protocol.DEFAULT_PANELS)).tag(sync=True)
    threshold = t.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    threshold_kind = t.Enum(protocol.THRESHOLD_KINDS, "weight").tag(sync=True)
    scale = t.Enum(protocol.SCALES, "sqrt").tag(sync=True)
    domain = t.Tuple(t.Float(), t.Float(), default_value=None, allow_none=True).tag(sync=True)
    colormap = t.Enum(protocol.COLORMAPS, "oslo").tag(sync=True)
    theme = t.Enum(protocol.THEMES, "auto").tag(sync=True)
    components = t.Enum(protocol.COMPONENTS, "size").tag(sync=True)
    ablation = t.Enum(protocol.ABLATIONS, "zero").tag(sync=True)
    metric = t.Enum(protocol.METRICS, "loss").tag(sync=True)
    token = t.Int(None, allow_none=True).tag(sync=True)
    sort = t.Unicode(None, allow_none=True).tag(sync=True)
    ascending = t.Bool(False).tag(sync=True)
    like = t.Tuple(t.Int(), t.Int(), default_value=None, allow_none=True).tag(sync=True)
    filter = t.Tuple(t.Unicode(), t.Float(), default_value=None, allow_none=True).tag(sync=True)
    colour_by = t.Unicode(None, allow_none=True).tag(sync=True)
    measure = t.Enum(protocol.MEASURES, "weight").tag(sync=True)
    diverging = t.Enum(protocol.DIVERGING, "auto").tag(sync=True)
    words = t.Bool(False).tag(sync=True)
    hidden_keys = t.List(t.Int()).tag(sync=True)
    heads = t.List(t.Int()).tag(sync=True)
    aggregate = t.Enum(protocol.AGGREGATES, None, allow_none=True).tag(sync=True)
    over = t.Enum(protocol.OVER, "layer").tag(sync=True)

    @abstractmethod
    def _shown(self) -> AttentionStack | None:
        """The stack as it is shown."""

    @abstractmethod
    def _weights(self) -> AttentionStack | None:
        """Its weights, without the keys that are hidden and in words."""

    @t.validate("stack")
    def _check_stack(self, proposal: Any) -> str:  # noqa: ANN401 - traitlets' Bunch
        name: str = proposal["value"]
        if self._capture is not None and name not in self._capture.stacks:
            raise t.TraitError(f"stack is {name!r}: this capture has {', '.join(map(repr, self._capture.stacks))}")
        return name

    @t.validate("words", "measure")
    def _check_comparable(self, proposal: Any) -> Any:  # noqa: ANN401 - traitlets' Bunch
        name, value = proposal["trait"].name, proposal["value"]
        if value not in (False, "weight") and isinstance(self._capture, Comparison):
            raise t.TraitError(f"{name} is {value!r}: {_NOT_COMPARED[name]}")
        if value in LENSES and (weights := self._weights()) is not None and (why := why_not(weights, value)):
            raise t.TraitError(f"{name} is {value!r}: {why}")
        return value

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

    @t.validate("token")
    def _check_token(self, proposal: Any) -> int | None:  # noqa: ANN401 - traitlets' Bunch
        token: int | None = proposal["value"]
        if isinstance(token, bool) or (token is not None and token < 0):
            raise t.TraitError(f"token is {token}: expected its number in the vocabulary, from 0, or None")
        return token

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

    @t.validate("hidden_keys")
    def _check_hidden(self, proposal: Any) -> list[int]:  # noqa: ANN401 - traitlets' Bunch
        hidden: list[int] = proposal["value"]
        stack = None if self._capture is None else self._capture.stacks.get(self.stack)
        if stack is None:
            return hidden
        count = key_count(stack)
        odd = any(isinstance(key, bool) or not 0 <= key < count for key in hidden)
        if odd or len(set(hidden)) != len(hidden):
            raise t.TraitError(
                f"hidden_keys is {hidden}: expected keys of stack {stack.name!r}, 0 to {count - 1}, each at most once"
            )
        return sorted(hidden)

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
            raise t.TraitError("threshold is NaN: expected a number from 0 to 1")
        return threshold

    @t.validate("domain")
    def _check_domain(self, proposal: Any) -> tuple[float, float] | None:  # noqa: ANN401 - traitlets' Bunch
        domain: tuple[float, float] | None = proposal["value"]
        if not _fits(domain, self.measure):
            raise t.TraitError(f"domain is {domain}: expected {_fitting(self.measure)}, or None")
        return domain

    @t.validate("sort", "colour_by")
    def _check_measure(self, proposal: Any) -> str | None:  # noqa: ANN401 - traitlets' Bunch
        name: str | None = proposal["value"]
        if name is not None and name not in (known := self._known()):
            raise t.TraitError(f"{proposal['trait'].name} is {name!r}: expected one of {', '.join(known)}, or None")
        return name

    def _known(self) -> list[str]:
        """Measures of this capture, and maps of this stack."""
        known = (*FINDS, MOVED) if self._capture is None else finds(self._capture)
        shown = self._shown()
        if shown is not None and shown.reading is not None and not shown.reading.per_head:
            return [FINDS[0][0]]
        return [*(name for name, _, _ in known), *self._map_names()]

    @abstractmethod
    def _map_names(self) -> list[str]:
        """Names of maps of this stack."""

    def _release_unknown(self) -> None:
        """What is sorted, filtered or coloured by something that is not there any more is so no longer."""
        known = self._known()
        for trait in ("sort", "colour_by"):
            if getattr(self, trait) not in (None, *known):
                self.set_trait(trait, None)
        if self.filter is not None and self.filter[0] not in known:
            self.set_trait("filter", None)

    @t.validate("filter")
    def _check_filter(self, proposal: Any) -> tuple[str, float] | None:  # noqa: ANN401 - traitlets' Bunch
        chosen: tuple[str, float] | None = proposal["value"]
        known = self._known()
        if chosen is not None and (chosen[0] not in known or not math.isfinite(chosen[1])):
            raise t.TraitError(
                f"filter is {chosen}: expected (measure, at least), with a measure of {', '.join(known)}, or None"
            )
        return chosen

    @t.validate("like")
    def _check_like(self, proposal: Any) -> tuple[int, int] | None:  # noqa: ANN401 - traitlets' Bunch
        head: tuple[int, int] | None = proposal["value"]
        stack = self._shown()
        if head is None or stack is None:
            return head
        if not (0 <= head[0] < stack.n_layers and 0 <= head[1] < stack.n_heads):
            raise t.TraitError(
                f"like is {head}: expected (layer, head) of stack {stack.name!r}, which has layers 0 to "
                f"{stack.n_layers - 1} and heads 0 to {stack.n_heads - 1}, or None"
            )
        return head

    @t.observe("measure")
    def _drop_domain(self, _change: object) -> None:
        """A range of one measure says nothing about another."""
        if not _fits(self.domain, self.measure):
            self.set_trait("domain", None)

    @t.observe("stack", "batch")
    def _keep_in_range(self, change: Any) -> None:  # noqa: ANN401 - traitlets' Bunch
        """Another stack or example may be smaller: what no longer exists in it is released or moved to the last one."""
        stack = self._shown()
        if stack is None:
            return
        self.batch = min(self.batch, stack.n_examples - 1)
        self.layer = min(self.layer, stack.n_layers - 1)
        self.head = min(self.head, stack.n_heads - 1)
        if self.like is not None and (self.like[0] >= stack.n_layers or self.like[1] >= stack.n_heads):
            self.set_trait("like", None)
        self._release_unknown()
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
        if change is not None and change["name"] == "stack" and self._in_words is not None:
            self.hidden_keys = []  # they are tokens of another text
