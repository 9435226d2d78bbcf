"""The view: traits, requests, and what travels with the widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnwidget.widget.display import display_bundle
    from attnwidget.widget.widget import AttentionWidget

__all__ = ["AttentionWidget", "display_bundle"]

# Loaded when first asked for: pages and figures read how weights are encoded from here, and the view draws figures.
_ROOMS = {"AttentionWidget": "attnwidget.widget.widget", "display_bundle": "attnwidget.widget.display"}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'attnwidget.widget' has no attribute {name!r}: it offers {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_ROOMS[name]), name)
