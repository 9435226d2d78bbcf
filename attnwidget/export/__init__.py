"""What leaves the notebook: pages, figures, numbers, and the line that shows the same view again.

Figures need matplotlib (`pip install "attnwidget[figures]"`); the rest needs nothing.
"""

from attnwidget.export.code import python_line
from attnwidget.export.figure import save_figure
from attnwidget.export.numbers import Numbers, numbers_of, save_csv
from attnwidget.export.page import MAX_BYTES, StaticView, static_view, write_page
from attnwidget.export.preview import preview_png, preview_text
from attnwidget.export.shown import Shown

__all__ = [
    "MAX_BYTES",
    "Numbers",
    "Shown",
    "StaticView",
    "numbers_of",
    "preview_png",
    "preview_text",
    "python_line",
    "save_csv",
    "save_figure",
    "static_view",
    "write_page",
]
