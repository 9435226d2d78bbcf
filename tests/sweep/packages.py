"""timm and torchvision, which are installed apart from everything else, for the model types that need them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch
from transformers.utils import import_utils

PLACE = Path(sys.prefix) / "packages"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[torch.library.Library] = []


def bring_in() -> bool:
    """Let this process import them from now on.

    Returns:
        False if they are not installed there.
    """
    if not (PLACE / "timm").exists():
        return False
    if str(PLACE) not in sys.path:
        sys.path.insert(0, str(PLACE))
        # The registry's torchvision asks for schemas of operators that it has no CPU build of; none is used.
        library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _kept.append(library)
        importlib.invalidate_caches()
        for known in vars(import_utils).values():
            if hasattr(known, "cache_clear"):
                known.cache_clear()
    return True
