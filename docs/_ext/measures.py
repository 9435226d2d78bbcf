"""The directive `measures`: what `cap.patterns()` measures, each with its formula and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils.parsers.rst.directives.tables import ListTable
from docutils.statemachine import StringList

from attnwidget.analysis import MEASURES

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx


class Measures(ListTable):
    """A table with a row for each measure."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Write the rows as a list, which the table is then made of."""
        rows = [("measure", "what it is", "unit", "formula", "from")]
        rows += [(f"``{m.name}``", m.title, m.unit, f"``{m.formula}``", m.source) for m in MEASURES]
        lines = [f"{'  -' if place else '* -'} {cell}" for row in rows for place, cell in enumerate(row)]
        self.options = {"header-rows": 1, "widths": [12, 24, 8, 30, 26]}
        self.content = StringList(lines, source="attnwidget.analysis.MEASURES")
        return super().run()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("measures", Measures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
