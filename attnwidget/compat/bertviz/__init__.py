"""BertViz's three functions, with its arguments and this package's view: change the import, and the notebook runs.

    from attnwidget.compat.bertviz import head_view, model_view
    from attnwidget.compat.bertviz.neuron_view import show

Signatures are those of BertViz 1.4.1. docs/coming-from.md has both sides, and what differs.
"""

from attnwidget.compat.bertviz.head_view import head_view
from attnwidget.compat.bertviz.model_view import model_view

__all__ = ["head_view", "model_view"]
