"""Whether the weights of layers are numbers, told of all layers together."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from attnwidget.attention.factored import FactoredAttention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention.protocol import Attention


def with_nan(layers: Sequence[Attention]) -> list[int]:
    """The layers that hold weights which are not numbers, though the mask allows them; see `has_nan` of each.

    To ask a device is to wait for it: of layers that are there, that is done once for all of them.
    """
    asked: dict[tuple[torch.device, torch.dtype], list[tuple[int, torch.Tensor]]] = defaultdict(list)
    for number, layer in enumerate(layers):
        for part in layer.telling if isinstance(layer, FactoredAttention) else ():
            asked[part.device, part.dtype].append((number, part))
    sizes: dict[int, list[float]] = defaultdict(list)
    # The type of q and k was met before that of lse.
    for parts in asked.values():
        # One operation for all of them, as gradients are clipped (torch.nn.utils.get_total_norm).
        largest = torch.stack(torch._foreach_norm([part for _, part in parts], math.inf))  # noqa: SLF001
        for (number, _), size in zip(parts, largest.tolist(), strict=True):
            sizes[number].append(size)
    return [
        number
        for number, layer in enumerate(layers)
        if not (number in sizes and isinstance(layer, FactoredAttention) and layer.is_told(sizes[number]))
        and layer.has_nan()
    ]
