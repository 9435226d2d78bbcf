"""What mattered: the same text again with some attention changed, and what heads add to the output."""

from attnwidget.interventions.asking import Interventions

__all__ = ["Interventions"]
