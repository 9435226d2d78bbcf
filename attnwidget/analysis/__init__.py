"""Numbers drawn from attention: what heads do."""

from attnwidget.analysis.definitions import MEASURES, Measure
from attnwidget.analysis.patterns import HeadPattern, Patterns, find_patterns
from attnwidget.analysis.sinks import Sink, Sinks, find_sinks, sinks_of_head

__all__ = [
    "MEASURES",
    "HeadPattern",
    "Measure",
    "Patterns",
    "Sink",
    "Sinks",
    "find_patterns",
    "find_sinks",
    "sinks_of_head",
]
