"""What leaves the notebook: figures, numbers, and the line that shows the same view again.

Figures need matplotlib (`pip install "attnwidget[figures]"`); the rest needs nothing.
"""

from attnwidget.export.code import python_line
from attnwidget.export.figure import save_figure
from attnwidget.export.numbers import Numbers, numbers_of, save_csv
from attnwidget.export.shown import Shown

__all__ = ["Numbers", "Shown", "numbers_of", "python_line", "save_csv", "save_figure"]
