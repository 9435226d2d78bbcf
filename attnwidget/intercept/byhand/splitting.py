"""Which axes of queries, keys and values count heads: those that were split off from the features of a projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.intercept.byhand.axes import fresh, leaves, mark
from attnwidget.intercept.byhand.trails import Layout, trails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from attnwidget.intercept.byhand.axes import Axes, Axis
    from attnwidget.intercept.byhand.products import Product


def split_off(tensor: torch.Tensor, features: int) -> list[int]:
    """Axes that lie within the same row as the features, in the tensor that this one is a view of.

    A projection puts out a row for each token: its heads are parts of a row, tokens and examples are other rows. A copy
    tells nothing of that, nor does any tensor in inference mode, where torch does not note what is a view of what.

    Args:
        tensor: queries, keys or values.
        features: the axis that counts these.

    Returns:
        Their numbers, from 0.
    """
    features %= tensor.ndim
    base = tensor._base  # noqa: SLF001 - torch offers no other name for it
    if base is None or not base.ndim or not base.is_contiguous():
        return []
    sizes, steps, left = tensor.shape, tensor.stride(), base.shape[-1] - 1
    left -= steps[features] * (sizes[features] - 1)
    if left <= 0 or not steps[features]:
        return []
    found = []
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        if axis != features and size > 1 and 0 < step * (size - 1) <= left:
            found.append(axis)
            left -= step * (size - 1)
    return found


def mark_heads(tensor: torch.Tensor, labels: Sequence[str], features: Sequence[str], known: Mapping[str, Axis]) -> None:
    """Write down which axes count heads, as far as a factor of a product tells.

    Args:
        tensor: queries, keys or values.
        labels: of its axes.
        features: those of them that count features.
        known: what the axes count, by label; others are left alone.
    """
    if len(features) == 1:
        for number in split_off(tensor, labels.index(features[0])):
            mark(leaves(known.get(labels[number], ())), is_head=True)
    trail = trails().get(tensor)
    if isinstance(trail, Layout) and len(trail.axes) == len(labels):
        for label, axis in zip(labels, trail.axes, strict=True):
            own, theirs = leaves(known.get(label, ())), leaves(axis)
            if [atom.size for atom in own] == [atom.size for atom in theirs]:
                for atom, other in zip(own, theirs, strict=True):
                    if other.is_head is not None:
                        mark((atom,), is_head=other.is_head)


def of_projection(read: Product, *, learned_left: bool) -> Axes | None:
    """Axes of what a projection puts out, where its parameters have an axis for heads; None where they have none.

    Of a parameter's axes that come through, the last counts features, and others heads: (H, D, d) with (B, T, D), as
    (D, H, d) or, shared with what is projected, (H, d, c) with (B, T, H, d).

    Args:
        read: the product.
        learned_left: its left factor is the parameter.
    """
    mine, theirs = read.sizes(left=learned_left), read.sizes(left=not learned_left)
    heads = [label for label, size in mine.items() if size > 1 and label in read.labels][:-1]
    if not heads:
        return None
    axes = fresh([max(mine.get(label, 1), theirs.get(label, 1)) for label in read.labels])
    for label, axis in zip(read.labels, axes, strict=True):
        mark(axis, is_head=label in heads)
    return axes


def counts_heads(axis: Axis) -> bool:
    """Whether an axis was told to count heads, and nothing else."""
    atoms = leaves(axis)
    return bool(atoms) and all(atom.is_head for atom in atoms)
