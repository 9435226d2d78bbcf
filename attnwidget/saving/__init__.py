"""Captures in files: numbers and text, no code."""

from attnwidget.saving.files import load, save

__all__ = ["load", "save"]
