"""The view: traits, requests, and what travels with the widget."""

from attnwidget.widget.display import display_bundle
from attnwidget.widget.widget import AttentionWidget

__all__ = ["AttentionWidget", "display_bundle"]
