"""From what a person passes (text, ids, tensors) to what a model takes, and what its tokens are called."""

from attnwidget.inputs.prepare import Prepared, prepare

__all__ = ["Prepared", "prepare"]
