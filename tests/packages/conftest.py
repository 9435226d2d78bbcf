"""Packages installed apart from everything else; torchvision is made to import beside a CPU build of torch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(sys.prefix) / "packages"))

# The registry's torchvision is built for another torch: its compiled operators do not load, and its Python side asks
# for their schemas. None of them takes part in attention.
LIBRARY = torch.library.Library("torchvision", "DEF")
for schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    LIBRARY.define(schema)
