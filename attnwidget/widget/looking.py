"""What a view shows of its capture: without some keys, in words, by another measure; what the page hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets as t

from attnwidget.analysis.measured import LENSES, why_not
from attnwidget.attention import Comparison
from attnwidget.widget import embed
from attnwidget.widget.maptraits import MapTraits
from attnwidget.widget.meta import choices, describe

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from attnwidget.attention import AttentionCapture, AttentionStack
    from attnwidget.widget.lenses import Lenses
    from attnwidget.widget.requests import Answerer

_HASTE = 8
"""Words and hidden keys are toggled, and waited for: so many times fewer weights are packed, the page asks for more."""


class Looking(MapTraits):
    """The part of `AttentionWidget` that looks at a capture through its lenses."""

    _answerer: Answerer
    _lenses: Lenses | None
    _head_before: int | None

    meta = t.Dict(read_only=True).tag(sync=True)
    embed = t.Bytes(read_only=True).tag(sync=True)

    if TYPE_CHECKING:  # of ipywidgets, which comes after this class

        def hold_sync(self) -> AbstractContextManager[None]:
            """One message for all that changes."""
            ...

    def _shown(self) -> AttentionStack | None:
        """The stack as it is shown."""
        return None if self._lenses is None else self._through(self._lenses).stacks.get(self.stack)

    def _weights(self) -> AttentionStack | None:
        """The weights of the stack, without the keys that are hidden and in words."""
        if self._lenses is None:
            return None
        return self._lenses.weights(self.stack, words=self.words, hidden=self.hidden_keys).stacks.get(self.stack)

    def _through(self, lenses: Lenses) -> AttentionCapture:
        return lenses.shown(self.stack, words=self.words, hidden=self.hidden_keys, measure=self.measure)

    def _show(self, packed: bytes | None = None, *, haste: int = 1) -> None:
        """Have the page show what is to be shown now, in one message; the answers to what it asked before it drops.

        Args:
            packed: the `embed` trait, where it has been made already.
            haste: so many times fewer weights are packed, for a view that is waited for.
        """
        lenses = self._lenses
        if lenses is None:
            return
        with self.hold_sync():
            if self.stack not in lenses.capture.stacks:
                self.stack = next(iter(lenses.capture.stacks))
            if self._lacks_measure():
                return
            capture = self._through(lenses)
            self._answerer.show(capture)
            self._keep_in_range(None)
            self._describe(capture, packed, haste=haste)

    def _describe(self, capture: AttentionCapture, packed: bytes | None = None, *, haste: int = 1) -> None:
        if self._lenses is None:
            return
        meta = self._lenses.described(describe(capture), self.stack, words=self.words, hidden=self.hidden_keys)
        if not isinstance(capture, Comparison) and (weights := self._weights()) is not None:
            meta["pair_measures"] = choices(weights)
        self.set_trait("meta", {**meta, "capture": self._answerer.number})
        self.set_trait("embed", self._pack(capture, haste=haste) if packed is None else packed)
        self._tell_maps()

    def _pack(self, capture: AttentionCapture, *, haste: int = 1) -> bytes:
        name = self.stack if self.stack in capture.stacks else next(iter(capture.stacks))
        batch = min(self.batch, capture.stacks[name].n_examples - 1)
        measure = "weight" if self.measure in LENSES else self.measure
        reading = capture.stacks[name].reading
        if reading is not None and reading.name == "value-weighted-layer":
            haste *= reading.base.n_heads  # each number is made from the weights of all of them
        return embed.pack(
            capture, stack=name, batch=batch, layer=self.layer, head=self.head, measure=measure, haste=haste
        )

    @t.observe("words", "hidden_keys")
    def _look_again(self, _change: object) -> None:
        """What is locked stays locked, as a word or as its first token."""
        lenses = self._lenses
        if self._in_words is None or lenses is None or lenses.capture.closed:
            return
        with self.hold_sync():
            if self.words != self._in_words:
                self._in_words = self.words
                for side in ("query", "key"):
                    place = getattr(self, side)
                    moved = lenses.moved(self.stack, self.batch, side, place, to_words=self.words)
                    self.set_trait(side, moved)
                self.set_trait("window", None)
            self._show(haste=_HASTE)

    @t.observe("measure")
    def _measure_anew(self, change: Any) -> None:  # noqa: ANN401 - traitlets' Bunch
        """Another measure in the place of weights. Where it belongs to layers, the head is kept for later."""
        if self._in_words is None or not {change["old"], change["new"]} & set(LENSES):
            return
        with self.hold_sync():
            head = self.head
            self._show(haste=_HASTE)
            if self.head != head:
                self._head_before = head
            elif self._head_before is not None and (shown := self._shown()) and shown.n_heads > self._head_before:
                # One that was chosen together with the measure stays.
                self.head, self._head_before = head or self._head_before, None

    @t.observe("stack")
    def _measure_stack(self, _change: object) -> None:
        """The stack shown now by the same measure."""
        if self._in_words is not None and self.measure in LENSES:
            self._show(haste=_HASTE)

    def _lacks_measure(self) -> bool:
        """Show weights, which everything has, where there is no measure like the one shown so far."""
        weights = self._weights()
        if self.measure not in LENSES or weights is None or not why_not(weights, self.measure):
            return False
        self.measure = "weight"
        return True
