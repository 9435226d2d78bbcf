"""See what a transformer looks at: exact attention of any PyTorch model, inside the notebook.

Examples:
    >>> import attnwidget as aw
    >>> model = aw.AttentionModel.from_pretrained("bert-base-uncased")
    >>> cap = model.capture("The cat sat on the mat")
    >>> cap.weights(layer=3, head=5).shape
    (8, 8)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnwidget.analysis.survey import survey
    from attnwidget.attention import (
        AttentionCapture,
        AttentionStack,
        AttentionWarning,
        CaptureError,
        Comparison,
        DenseAttention,
        FactoredAttention,
        Tokens,
        compare,
    )
    from attnwidget.attention.limits import limits
    from attnwidget.compat.outputs import from_output
    from attnwidget.compat.transformer_lens import from_transformer_lens
    from attnwidget.intercept import capture
    from attnwidget.model import AttentionModel
    from attnwidget.ranks import gathered
    from attnwidget.saving import load
    from attnwidget.smallworld import demo
    from attnwidget.widget import AttentionWidget, close_all

    __version__: str

__all__ = [
    "AttentionCapture",
    "AttentionModel",
    "AttentionStack",
    "AttentionWarning",
    "AttentionWidget",
    "CaptureError",
    "Comparison",
    "DenseAttention",
    "FactoredAttention",
    "Tokens",
    "__version__",
    "capture",
    "close_all",
    "compare",
    "demo",
    "from_output",
    "from_transformer_lens",
    "gathered",
    "limits",
    "load",
    "survey",
]

# Loaded when first asked for: importing this package must load neither torch, transformers nor ipywidgets.
_ROOMS = {
    "AttentionCapture": "attnwidget.attention",
    "AttentionModel": "attnwidget.model",
    "AttentionStack": "attnwidget.attention",
    "AttentionWarning": "attnwidget.attention",
    "AttentionWidget": "attnwidget.widget",
    "CaptureError": "attnwidget.attention",
    "Comparison": "attnwidget.attention",
    "DenseAttention": "attnwidget.attention",
    "FactoredAttention": "attnwidget.attention",
    "Tokens": "attnwidget.attention",
    "capture": "attnwidget.intercept",
    "close_all": "attnwidget.widget",
    "compare": "attnwidget.attention",
    "demo": "attnwidget.smallworld",
    "from_output": "attnwidget.compat.outputs",
    "from_transformer_lens": "attnwidget.compat.transformer_lens",
    "gathered": "attnwidget.ranks",
    "limits": "attnwidget.attention.limits",
    "load": "attnwidget.saving",
    "survey": "attnwidget.analysis.survey",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("attnwidget")
    if name not in _ROOMS:
        raise AttributeError(f"module 'attnwidget' has no attribute {name!r}: it offers {', '.join(__all__)}")
    from importlib import import_module

    value: object = getattr(import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
