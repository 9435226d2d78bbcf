"""Directives `measures` and `pair-measures`: what is measured of heads and of pairs, with formulas and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils.parsers.rst.directives.tables import ListTable
from docutils.statemachine import StringList

from attnwidget.analysis import MEASURES, PAIR_MEASURES

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx


class Measures(ListTable):
    """A table with a row for each measure of `cap.patterns()`."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Write the rows as a list, which the table is then made of."""
        lines = [f"{'  -' if place else '* -'} {cell}" for row in self.rows() for place, cell in enumerate(row)]
        self.options = {"header-rows": 1, "widths": [12, 24, 8, 30, 26]}
        self.content = StringList(lines, source="attnwidget.analysis")
        return super().run()

    def rows(self) -> list[tuple[str, ...]]:
        """The headings, and a row for each."""
        rows = [("measure", "what it is", "unit", "formula", "from")]
        return rows + [(f"``{m.name}``", m.title, m.unit, f"``{m.formula}``", m.source) for m in MEASURES]


class PairMeasures(Measures):
    """A table with a row for each measure of `cap.measure()`."""

    def rows(self) -> list[tuple[str, ...]]:
        """The headings, and a row for each."""
        rows = [("measure", "what it is", "of each", "formula", "from")]
        rows += [
            (f"``{m.name}``", f"{m.title}, {m.range}", m.per, f"``{m.formula}``", m.source)
            for m in PAIR_MEASURES.values()
        ]
        return rows


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("measures", Measures)
    app.add_directive("pair-measures", PairMeasures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
