"""What a product of two tensors has become other than by a softmax that is followed, where it meets values.

Attention by sigmoids, by squares, by sparsemax, by exponentials that are divided only afterwards, or by a softmax over
all pairs at once: it is no softmax that could be shown, and must not be passed over in silence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attnwidget.intercept.byhand.axes import leaves
from attnwidget.intercept.byhand.trails import Exponentials, Scores, SoftmaxCall, Weights
from attnwidget.intercept.calls import watch_softmax
from attnwidget.intercept.sdpa import CURRENT

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attnwidget.intercept.byhand.products import Product
    from attnwidget.intercept.byhand.trails import Trail

_BATCHED = 3


def note_otherwise(trail: Trail | None, read: Product, *, left: bool) -> None:
    """Tell of a product whose one factor is no softmax, and looks like the weights of attention all the same.

    Layers that are no attention are written as products too, of weights that are no parameters but were made of them:
    unpacked, normed or picked. Those have no batch, or the shape of what their module holds. And an index of tokens,
    which chooses what attention may look at, sums products over heads: what it multiplies them with has no features.

    Args:
        trail: of one factor, which is followed.
        read: the product.
        left: whether it is the left one.
    """
    if isinstance(trail, Weights) and len({atom.side for atom in leaves(trail.keys)}) > 1:
        is_loose, may_be_parameters = False, False
    elif isinstance(trail, Exponentials):
        is_loose, may_be_parameters = trail.scores.is_loose, False
    elif isinstance(trail, Scores) and (trail.is_bent or trail.outer is not None) and _is_batched(trail, read):
        is_loose, may_be_parameters = trail.is_loose, True
    else:
        return
    if CURRENT.get() is not None:  # transformers' interface: its own route asks whether it is explained
        return
    labels, other = (read.left_labels, read.right) if left else (read.right_labels, read.left)
    if len(labels) != len(trail.axes):
        return
    known = dict(zip(labels, trail.axes, strict=True))
    atoms = [atom for label in read.summed for atom in leaves(known[label])]
    sides = {atom.side for atom in atoms}
    features = [size for label, size in read.sizes(left=not left).items() if label not in known]
    if atoms and math.prod(features) > 1 and (is_loose or (len(sides) == 1 and None not in sides)):
        call = SoftmaxCall(from_product=True, is_other=True)
        watch_softmax(call, unless=(lambda module: _holds(module, other)) if may_be_parameters else None)


def _is_batched(scores: Scores, read: Product) -> bool:
    factors = () if scores.product is None else tuple(part.tensor for part in scores.product)
    return all(tensor.ndim >= _BATCHED for tensor in (*factors, read.left, read.right))


def _holds(module: nn.Module, tensor: torch.Tensor) -> bool:
    """Whether a tensor has the shape of pieces of a parameter, as experts that were picked have."""
    shape = tuple(tensor.shape[-2:])
    return any(
        part.ndim >= _BATCHED and shape in (tuple(part.shape[-2:]), tuple(part.shape[:-3:-1]))
        for part in module.parameters(recurse=False)
    )
