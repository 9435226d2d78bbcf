"""Captures whose heads are spread over several processes, seen whole by one of them. See README.md beside this file."""

from attnwidget.ranks.gathering import gathered

__all__ = ["gathered"]
