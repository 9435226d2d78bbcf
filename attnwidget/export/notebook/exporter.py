"""The exporter that nbconvert finds under the name attnwidget_html."""

from __future__ import annotations

from pathlib import Path

from nbconvert.exporters import HTMLExporter
from traitlets import default

from attnwidget.export.notebook.views import ViewsPreprocessor

_TEMPLATES = Path(__file__).parent / "templates"


class NotebookExporter(HTMLExporter):
    """A notebook as one page, in which the views of attnwidget work offline, linked and as they were saved.

    The page asks the network for nothing on our account: what nbconvert loads for widgets and formulas is left out
    where no other widget and no formula needs it.
    """

    export_from_notebook = "HTML with attention views"

    @default("template_name")
    def _template_name_default(self) -> str:
        return "attnwidget"

    @default("extra_template_basedirs")
    def _extra_template_basedirs_default(self) -> list[str]:
        return [str(Path.cwd()), str(_TEMPLATES)]

    def _init_preprocessors(self) -> None:
        super()._init_preprocessors()
        # The last one: --execute runs the notebook in another, and what it leaves is looked at here.
        self.register_preprocessor(ViewsPreprocessor(scripts=not self.sanitize_html, enabled=True, parent=self))
