"""Which axis of weights counts queries: told by the two products that they stand between."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from attnwidget.intercept.byhand.axes import Side, leaves, length

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from attnwidget.intercept.byhand.axes import Axis
    from attnwidget.intercept.records import HandCall

_ACROSS = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}
_EXAMPLES_AND_HEADS = 2


def queries_of(call: HandCall, axes: Mapping[str, Axis]) -> tuple[str | None, bool]:
    """The label of queries (None: there is one, without an axis), and whether the products told it for certain.

    In the first product, queries are what the factor without the keys has alone, and so are heads that share their
    keys. In the second, they are what the weights have alone, the innermost of these where there are several, and so
    are heads that share their values. The first is asked first: values may come for each query, as those of relative
    positions do (Shaw et al. 2018). These lack what queries and keys have in common, examples and heads.

    Args:
        call: weights, and the product that uses them.
        axes: of the weights, by label.
    """
    product = call.product
    other = product.right_labels if call.weights_left else product.left_labels
    sizes = product.sizes(left=not call.weights_left)
    leading = [label for label in call.labels if label not in product.summed]
    alone = [label for label in leading if label not in other]
    beside = _beside_keys(call.labels, product.summed)
    # A single query has no axis that a factor could be known by, and mostly stands before the keys.
    if alone and alone[-1] == beside and not axes[beside]:
        return beside, True
    is_single = beside is not None and beside not in alone and not axes[beside]
    side = _side_of(axes, product.summed)
    asking = [label for label in leading if side and _side_of(axes, [label]) is _ACROSS[side]]
    shared = [label for label in leading if axes[label] and _side_of(axes, [label]) is None]
    of_tokens = all(sizes.get(label, 1) > 1 for label in shared)
    if asking and not (is_single and not of_tokens):
        long = _as_long_as_keys(asking, axes, product.summed)
        if long is not None:
            return long
        mine = [label for label in asking if label in alone]
        # Both have an axis that the other lacks: heads may share their keys there, and have values of their own.
        return (mine[-1], mine[-1] == asking[-1]) if mine and shared and of_tokens else (asking[-1], True)
    if is_single and (not alone or (axes[alone[-1]] and _side_of(axes, alone[-1:]) is None)):
        return beside, True
    is_told = side is None or len(shared) <= _EXAMPLES_AND_HEADS or sum(bool(axes[label]) for label in alone) == 1
    return (alone[-1] if alone else None), is_told


def unfolded(rows: Axis, keys: Axis) -> tuple[Axis, Axis, bool]:
    """Queries and heads, where one axis has both, and whether that was told for certain.

    Where all heads share their keys (Shazeer 2019, Fast transformer decoding), one product of matrices serves all of
    them: the heads stand beside the queries in one axis, outside or inside. Scores are seen with two axes on the way,
    and queries are mostly as many as keys. Rows and columns of an image, merged too, are as many as keys together.

    Args:
        rows: what the axis of queries counts.
        keys: what that of the keys does.
    """
    rows, keys = leaves(rows), leaves(keys)
    if len(rows) <= 1 or len(keys) > 1 or length(rows) == length(keys):
        return rows, (), True
    like = [atom for atom in rows if atom.size == length(keys)]
    if len(like) != 1:
        return rows, (), False
    return (like[0],), tuple(atom for atom in rows if atom is not like[0]), True


def _as_long_as_keys(asking: Sequence[str], axes: Mapping[str, Axis], summed: Sequence[str]) -> tuple[str, bool] | None:
    """Of several axes of one factor, where the keys have none of these: queries are mostly as many as keys."""
    n_keys = prod(length(axes[label]) for label in summed)
    lengths = {label: length(axes[label]) for label in asking}
    if len(asking) < _EXAMPLES_AND_HEADS or lengths[asking[-1]] == n_keys:
        return None
    like = [label for label in asking if lengths[label] == n_keys]
    return (like[0], True) if len(like) == 1 else None


def _side_of(axes: Mapping[str, Axis], labels: Iterable[str]) -> Side | None:
    """Which factor of the first product axes come from alone; None for what both have, and where they differ."""
    sides = {atom.side for label in labels for atom in axes[label]}
    return sides.pop() if len(sides) == 1 else None


def _beside_keys(labels: Sequence[str], summed: Sequence[str]) -> str | None:
    """The axis that queries mostly have: before the keys, where these are the last, else after them."""
    place = next(number for number, label in enumerate(labels) if label in summed)
    beside = place - 1 if place == len(labels) - 1 else place + 1
    return labels[beside] if 0 <= beside < len(labels) and labels[beside] not in summed else None
