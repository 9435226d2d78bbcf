"""Attention as data: any weight of any head, exact, from factors or from stored arrays.

Nothing here knows models, widgets or transformers. Only `FactoredAttention` needs torch, and it is loaded when asked
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.attention.capture import AttentionCapture
from attnwidget.attention.carried import Carried
from attnwidget.attention.combining import combine_masks, without_bias
from attnwidget.attention.comparing import Comparison, compare
from attnwidget.attention.dense import DenseAttention
from attnwidget.attention.errors import AttentionWarning, CaptureError
from attnwidget.attention.framed import FramedAttention
from attnwidget.attention.generation import Generation
from attnwidget.attention.layertable import ranges
from attnwidget.attention.lift import LiftAttention
from attnwidget.attention.marginals import Marginals
from attnwidget.attention.masks import Mask
from attnwidget.attention.memo import MaskMemo
from attnwidget.attention.oneframe import lacking
from attnwidget.attention.pairdetail import PairDetail
from attnwidget.attention.pooling import Tile
from attnwidget.attention.probe import Probe
from attnwidget.attention.protocol import Attention
from attnwidget.attention.recognise import recognise_mask
from attnwidget.attention.refining import Refinement
from attnwidget.attention.stack import AttentionStack, LayerInfo
from attnwidget.attention.tokens import Tokens
from attnwidget.attention.verify import Verification

if TYPE_CHECKING:
    from attnwidget.attention.factored import FactoredAttention

__all__ = [
    "Attention",
    "AttentionCapture",
    "AttentionStack",
    "AttentionWarning",
    "CaptureError",
    "Carried",
    "Comparison",
    "DenseAttention",
    "FactoredAttention",
    "FramedAttention",
    "Generation",
    "LayerInfo",
    "LiftAttention",
    "Marginals",
    "Mask",
    "MaskMemo",
    "PairDetail",
    "Probe",
    "Refinement",
    "Tile",
    "Tokens",
    "Verification",
    "combine_masks",
    "compare",
    "lacking",
    "ranges",
    "recognise_mask",
    "without_bias",
]


def __getattr__(name: str) -> object:
    if name == "FactoredAttention":
        from attnwidget.attention.factored import FactoredAttention

        return FactoredAttention
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}: it offers {', '.join(__all__)}")
