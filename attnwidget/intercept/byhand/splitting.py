"""Which axes of queries, keys and values count heads: those that were split off from the features of a projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.intercept.byhand.axes import fresh, leaves, length, mark
from attnwidget.intercept.byhand.trails import Layout, trails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from attnwidget.intercept.byhand.axes import Axes, Axis
    from attnwidget.intercept.byhand.products import Product

_ROWS = 2


def split_off(tensor: torch.Tensor, features: int, *, certain: bool = False) -> list[int]:
    """Axes that lie within the same row as the features, in the tensor that this one is a view of.

    A projection puts out a row for each token: its heads are parts of a row, tokens and examples are other rows. A
    convolution puts out channels, which lie outside of the tokens of an example. A copy tells nothing of that, nor does
    any tensor in inference mode, where torch does not note what is a view of what.

    Args:
        tensor: queries, keys or values.
        features: the axis that counts these.
        certain: leave out what may be told of examples too.

    Returns:
        Their numbers, from 0.
    """
    base = tensor._base  # noqa: SLF001 - torch offers no other name for it
    if base is None or base.ndim < _ROWS or not base.is_contiguous():
        return []
    rows = [(1, base.shape[-1])]
    # Of one example of channels, or of a product of matrices that was folded into one: its channels may count examples.
    may_be_folded = base.ndim > _ROWS and base.shape[0] == 1
    if base.ndim > _ROWS and not (may_be_folded and certain):
        rows.append((base.stride(1), base.stride(0)))
    for unit, end in rows:
        found = _within(tensor, features % tensor.ndim, unit, end)
        if found and not (may_be_folded and unit > 1 and len(found) > 1):
            return found
    return []


def _within(tensor: torch.Tensor, features: int, unit: int, end: int) -> list[int]:
    """Axes beside the features that step by whole units and stay before an end, as the features do."""
    sizes, steps = tensor.shape, tensor.stride()
    left = end - unit - steps[features] * (sizes[features] - 1)
    if left <= 0 or steps[features] < unit:
        return []
    found = []
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        if axis != features and size > 1 and step >= unit and step * (size - 1) <= left:
            found.append(axis)
            left -= step * (size - 1)
    return found


def mapped(before: torch.Tensor, result: torch.Tensor) -> Axes | None:
    """Axes of what a linear map makes of heads one by one; None where what went in had none."""
    apart = split_off(before, -1)
    if not apart or before.ndim != result.ndim:
        return None
    axes = fresh(result.shape)
    for number, axis in enumerate(axes[:-1]):
        mark(axis, is_head=number in apart)
    return axes


def has_whole_rows(tensor: torch.Tensor, features: int = -1) -> bool:
    """Whether the features of a tensor are whole rows of what a linear map put out: heads are no parts of these."""
    base = tensor._base  # noqa: SLF001 - as above
    return base is not None and base.ndim == _ROWS and base.shape[-1] == tensor.shape[features]


def mark_factors(
    factors: Sequence[tuple[Sequence[str], torch.Tensor]], features: Sequence[str], known: Mapping[str, Axis]
) -> None:
    """Write down which axes count heads, as far as queries and keys tell.

    Where all that one of them has alone lies within its rows, these rows hold tokens. If it is so of the other too,
    both were no projections, and what they share lies outside: examples. If heads were told beside, these are queries,
    unless there is a single query besides.

    Args:
        factors: labels of the axes, and the tensor.
        features: labels of what is summed over.
        known: what the axes count, by label.
    """
    inside = [_inside(labels, tensor, features, certain=True) for labels, tensor in factors]
    if not any(inside):
        inside = [_inside(labels, tensor, features, certain=False) for labels, tensor in factors]
    shared = set(factors[0][0]) & set(factors[1][0]) - set(features)
    alone = [[label for label in labels if label not in (*shared, *features)] for labels, _ in factors]
    odd = [
        all(known[label] for label in own) and bool(own) and within.issuperset(own)
        for own, within in zip(alone, inside, strict=True)
    ]
    told = shared & (inside[0] | inside[1])
    for (labels, tensor), within, is_odd in zip(factors, inside, odd, strict=True):
        if all(odd):
            for label in shared - told:
                mark(leaves(known[label]), is_head=False)
            continue
        for label in within & shared if is_odd and told else within:
            mark(leaves(known[label]), is_head=True)
        _mark_laid_out(tensor, labels, known)


def mark_values(
    values: torch.Tensor, labels: Sequence[str], features: Sequence[str], known: Mapping[str, Axis]
) -> None:
    """Likewise, as far as values tell; of labels that are not known, nothing."""
    told = any(atom.is_head for axis in known.values() for atom in leaves(axis))
    for label in _inside(labels, values, features, certain=told):
        mark(leaves(known.get(label, ())), is_head=True)
    _mark_laid_out(values, labels, known)


def _inside(labels: Sequence[str], tensor: torch.Tensor, features: Sequence[str], *, certain: bool) -> set[str]:
    """Labels of axes that were split off beside the features."""
    if len(features) != 1 or _counts_something_else(tensor, labels.index(features[0])):
        return set()
    return {labels[number] for number in split_off(tensor, labels.index(features[0]), certain=certain)}


def _counts_something_else(tensor: torch.Tensor, features: int) -> bool:
    """Whether a tensor is a product with parameters, and its features are not what these put out."""
    trail = trails().get(tensor)
    if not isinstance(trail, Layout) or not trail.learned or len(trail.axes) != tensor.ndim:
        return False
    learned = leaves(trail.learned)
    return not any(atom in learned for atom in leaves(trail.axes[features]))


def _mark_laid_out(tensor: torch.Tensor, labels: Sequence[str], known: Mapping[str, Axis]) -> None:
    """What was seen as the tensor was put together."""
    trail = trails().get(tensor)
    if not isinstance(trail, Layout) or len(trail.axes) != len(labels):
        return
    for label, axis in zip(labels, trail.axes, strict=True):
        own, theirs = leaves(known.get(label, ())), leaves(axis)
        if len(own) == 1 < len(theirs) and own[0].size == length(theirs) and own[0].source is None:
            rest = own[0]
            for atom in theirs[:-1]:
                _, rest = rest.split(atom.size)
            own = leaves(own)
        if [atom.size for atom in own] == [atom.size for atom in theirs]:
            for atom, other in zip(own, theirs, strict=True):
                if other.is_head is not None:
                    mark((atom,), is_head=other.is_head)


def of_projection(read: Product, *, learned_left: bool) -> Layout | None:
    """What a projection puts out, where its parameters have an axis for heads, or one that may count something else.

    Of a parameter's axes that come through, the last counts features, and others heads: (H, D, d) with (B, T, D), as
    (D, H, d) or, shared with what is projected, (H, d, c) with (B, T, H, d). A single one counts features too if it is
    the last of the result; else it may count tokens, as where keys are made fewer: (T, k) with (B, T, D) to (B, k, D).

    Args:
        read: the product.
        learned_left: its left factor is the parameter.
    """
    mine, theirs = read.sizes(left=learned_left), read.sizes(left=not learned_left)
    labels, learned = (read.left_labels, read.left) if learned_left else (read.right_labels, read.right)
    kept = [label for label, step in zip(labels, learned.stride(), strict=True) if label in read.labels and step]
    kept = [label for label in kept if mine[label] > 1]
    if not kept or kept == [read.labels[-1]]:
        return None
    axes = fresh([max(mine.get(label, 1), theirs.get(label, 1)) for label in read.labels])
    if len(kept) == 1:
        return Layout(axes, learned=axes[read.labels.index(kept[0])])
    for label, axis in zip(read.labels, axes, strict=True):
        if label != kept[-1]:  # features, of which heads may be split off yet
            mark(axis, is_head=label in kept)
    return Layout(axes)


def counts_heads(axis: Axis) -> bool:
    """Whether an axis was told to count heads, and nothing else."""
    atoms = leaves(axis)
    return bool(atoms) and all(atom.is_head for atom in atoms)
