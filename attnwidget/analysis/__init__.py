"""Numbers drawn from attention: what heads do."""

from attnwidget.analysis.definitions import MEASURES, Measure
from attnwidget.analysis.finding import Finding, find_patterns
from attnwidget.analysis.patterns import HeadPattern, Patterns

__all__ = ["MEASURES", "Finding", "HeadPattern", "Measure", "Patterns", "find_patterns"]
