"""Watches one run of a model: who called attention, with which q, k, mask and scale. See README.md beside this file."""

from attnwidget.intercept.session import capture

__all__ = ["capture"]
