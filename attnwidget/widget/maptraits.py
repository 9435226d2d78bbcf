"""Maps of numbers per head in a view: added and taken away from Python, and told to the page."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import traitlets as t

from attnwidget.widget.finder import ABOUT
from attnwidget.widget.viewtraits import ViewTraits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.attention import AttentionCapture
    from attnwidget.widget.addedmaps import AddedMaps
    from attnwidget.widget.live import Text


class MapTraits(ViewTraits):
    """The part of `AttentionWidget` that has maps."""

    _maps: AddedMaps
    _ran: Text

    maps = t.List(t.Dict(), read_only=True).tag(sync=True)

    @property
    @abstractmethod
    def capture(self) -> AttentionCapture:
        """What is shown."""

    def add_map(
        self,
        name: str,
        values: Any,  # noqa: ANN401 - arrays of any kind, and more
        *,
        title: str | None = None,
        unit: str = "",
        about: str = "",
        spread: Any = None,  # noqa: ANN401 - an array of any kind
        stack: str | None = None,
    ) -> None:
        """Add a map of one number per head, by which the grid can sort, filter and colour heads under this name.

        What had this name before goes. A map of the whole model is cut to the layers and heads that the capture has
        kept. In a live view maps stay when another text is shown, and say that they are of another run.

        Args:
            name: by which `sort`, `filter` and `colour_by` take it. Each measure of a survey has a map "name:measure".
            values: (L, H) numbers of a NumPy array, a tensor or lists, NaN where there is none; or what
                `model.ablate`, `model.logit_attribution` or `aw.survey` gave, or a table of a survey, with titles of
                their own. With a number below 0, or of a change, they are coloured on either side of 0.
            title: in words; None: the name, or that of the thing.
            unit: of the numbers.
            about: what it is, where it comes from, what it cannot show.
            spread: (L, H), printed as ± beside the values.
            stack: of which the heads are; None: that of the thing, or the one shown.

        Raises:
            TypeError: values are nothing of the kind, or the name is no text.
            ValueError: the shape does not fit the stack, the capture has no such stack, or the name is that of a
                measure or of another map.
            CaptureError: the view is closed.
        """
        words = {"title": title, "unit": unit, "about": about, "spread": spread, "stack": stack}
        self._maps.add(self.capture, self.stack, self._ran, name, values, **words)
        self._tell_maps()

    def remove_map(self, name: str) -> None:
        """Take away what `add_map` or `maps` added under this name; of a survey, all of it.

        Raises:
            KeyError: nothing was added under it.
        """
        self._maps.remove(name)
        self._tell_maps()

    def _tell_maps(self) -> None:
        if self._capture is not None:
            self._release_unknown()
            shown = self._shown()
            whole = shown is not None and shown.reading is not None and not shown.reading.per_head
            why = "what is shown belongs to layers, and has no heads" if whole else ""
            told = self._maps.described(self._capture)
            self.set_trait("maps", [{**each, "why": why} if why else each for each in told])

    def _answer_about(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"about": {**ABOUT, **self._maps.about(str(params.get("stack")), self._ran)}}

    def _map_names(self) -> list[str]:
        return [] if self._capture is None else self._maps.names(self._capture, self.stack)
