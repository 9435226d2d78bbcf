"""What leaves the notebook."""

from attnwidget.export.page import MAX_BYTES, StaticView, static_view, write_page

__all__ = ["MAX_BYTES", "StaticView", "static_view", "write_page"]
