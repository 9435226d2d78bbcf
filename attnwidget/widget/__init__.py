"""The view: traits, requests, and what travels with the widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnwidget.widget.display import display_bundle
    from attnwidget.widget.widget import AttentionWidget, close_all

__all__ = ["AttentionWidget", "close_all", "display_bundle"]

_ROOMS = {
    "AttentionWidget": "attnwidget.widget.widget",
    "close_all": "attnwidget.widget.widget",
    "display_bundle": "attnwidget.widget.display",
}


def __getattr__(name: str) -> object:
    # Looked up late: what is exported reads the wire's codes without a widget, and the widget exports.
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: it offers {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_ROOMS[name]), name)
