"""Captures in files: numbers and text, no code."""

from attnwidget.saving.about import FileAbout, about
from attnwidget.saving.files import load, save

__all__ = ["FileAbout", "about", "load", "save"]
