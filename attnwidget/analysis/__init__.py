"""Numbers drawn from attention: what heads do."""

from attnwidget.analysis.contributions import Candidate, Candidates, LogitAttribution
from attnwidget.analysis.definitions import MEASURES, Measure
from attnwidget.analysis.effects import Ablation, Effect
from attnwidget.analysis.finding import Finding, find_patterns
from attnwidget.analysis.measuring import measure_pairs
from attnwidget.analysis.moments import Moments
from attnwidget.analysis.pairmeasures import PAIR_MEASURES, PairMeasure
from attnwidget.analysis.patterns import HeadPattern, Patterns
from attnwidget.analysis.sinks import Sink, Sinks, find_sinks, sinks_of_head
from attnwidget.analysis.surveyed import Failure, HeadSurvey, Survey, SurveyTable

__all__ = [
    "MEASURES",
    "PAIR_MEASURES",
    "Ablation",
    "Candidate",
    "Candidates",
    "Effect",
    "Failure",
    "Finding",
    "HeadPattern",
    "HeadSurvey",
    "LogitAttribution",
    "Measure",
    "Moments",
    "PairMeasure",
    "Patterns",
    "Sink",
    "Sinks",
    "Survey",
    "SurveyTable",
    "find_patterns",
    "find_sinks",
    "measure_pairs",
    "sinks_of_head",
]
