"""`jupyter nbconvert --to attnwidget_html`: a notebook as one page in which our views work offline.

Needs nbconvert, which brings it in by its entry point; nothing else of ours imports this.
"""

from attnwidget.export.notebook.exporter import NotebookExporter

__all__ = ["NotebookExporter"]
