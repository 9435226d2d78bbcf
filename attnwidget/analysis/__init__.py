"""Numbers drawn from attention: what heads do."""

from attnwidget.analysis.definitions import MEASURES, Measure
from attnwidget.analysis.patterns import HeadPattern, Patterns, find_patterns

__all__ = ["MEASURES", "HeadPattern", "Measure", "Patterns", "find_patterns"]
