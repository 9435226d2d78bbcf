"""The panels that figures are made of, by the names that the view gives them.

A new one is a module with a `Painter`, and a line in `PANELS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from attnwidget.export.panels.detail import draw_detail
from attnwidget.export.panels.graph import draw_graph
from attnwidget.export.panels.grid import draw_grid
from attnwidget.export.panels.heatmap import draw_heatmap
from attnwidget.export.panels.lines import draw_lines
from attnwidget.export.panels.text import draw_text

if TYPE_CHECKING:
    from attnwidget.export.drawing import Painter

__all__ = ["PANELS", "Panel"]


class Panel(NamedTuple):
    """How a panel is called on the figure, and what draws it."""

    title: str
    paint: Painter


PANELS: dict[str, Panel] = {
    "grid": Panel("Layers × heads", draw_grid),
    "heatmap": Panel("Queries × keys", draw_heatmap),
    "lines": Panel("Query → key", draw_lines),
    "graph": Panel("Graph", draw_graph),
    "text": Panel("Text", draw_text),
    "detail": Panel("Query · key", draw_detail),
}
