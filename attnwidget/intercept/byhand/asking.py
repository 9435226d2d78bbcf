"""Which axis of weights counts queries: told by the two products that they stand between."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from attnwidget.intercept.byhand.axes import Side, leaves, length
from attnwidget.intercept.byhand.splitting import counts_heads
from attnwidget.intercept.byhand.trails import Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from attnwidget.intercept.byhand.axes import Axis
    from attnwidget.intercept.byhand.trails import Scores
    from attnwidget.intercept.records import HandCall

_ACROSS = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}
_EXAMPLES_AND_HEADS = 2


def queries_of(call: HandCall, axes: Mapping[str, Axis]) -> tuple[str | None, bool]:
    """The label of queries (None: there is one, without an axis), and whether the products told it for certain.

    In the first product, queries are what the factor without the keys has alone, and so are heads that share their
    keys. In the second, they are what the weights have alone, the innermost of these where there are several, and so
    are heads that share their values. The first is asked first: values may come for each query, as those of relative
    positions do (Shaw et al. 2018). These lack what queries and keys have in common, examples and heads. What was told
    to count heads counts no queries.

    Args:
        call: weights, and the product that uses them.
        axes: of the weights, by label.
    """
    product = call.product
    other = product.right_labels if call.weights_left else product.left_labels
    sizes = product.sizes(left=not call.weights_left)
    leading = [label for label in call.labels if label not in product.summed]
    rows = [label for label in leading if not (counts_heads(axes[label]) or _has_shared_heads(axes[label]))]
    alone = [label for label in rows if label not in other]
    beside = _beside_keys([label for label in call.labels if label in rows or label in product.summed], product.summed)
    # A single query has no axis that a factor could be known by, and mostly stands before the keys.
    if alone and alone[-1] == beside and not axes[beside]:
        return beside, not any(axes[label] for label in alone)
    is_single = beside is not None and beside not in alone and not axes[beside]
    side = _side_of(axes, product.summed)
    asking = [label for label in rows if side and _side_of(axes, [label]) is _ACROSS[side]]
    shared = [label for label in leading if axes[label] and _side_of(axes, [label]) is None]
    of_tokens = all(sizes.get(label, 1) > 1 for label in shared)
    if asking and not (is_single and not of_tokens):
        return _of_several(asking, alone, call, axes, is_shared=bool(shared) and of_tokens)
    # All that the queries have alone was told to count heads.
    is_lost = not alone and any(axes[label] and label not in other for label in leading)
    if is_single and (not alone or (axes[alone[-1]] and _side_of(axes, alone[-1:]) is None)):
        return beside, not is_lost
    if is_lost:
        return None, False
    if not any(axes[label] for label in alone) and beside in leading and _is_told_beside(beside, leading, axes):
        return beside, False
    is_told = side is None or len(shared) <= _EXAMPLES_AND_HEADS or sum(bool(axes[label]) for label in alone) == 1
    return (alone[-1] if alone else None), is_told


def _is_told_beside(beside: str, leading: Sequence[str], axes: Mapping[str, Axis]) -> bool:
    """Whether an axis counts queries that have keys and values of their own each, as neighbours or edges of a graph.

    Then both products have it. It stands beside the keys, and examples and heads before it.
    """
    own = [atom.is_head for atom in leaves(axes[beside])]
    told = [atom.is_head for label in leading if label != beside for atom in leaves(axes[label])]
    if not own or True in own:
        return False
    n_leading = sum(bool(axes[label]) for label in leading)
    return True in told or (n_leading > _EXAMPLES_AND_HEADS and False not in own)


def _of_several(
    asking: Sequence[str], alone: Sequence[str], call: HandCall, axes: Mapping[str, Axis], *, is_shared: bool
) -> tuple[str, bool]:
    """Which of the axes that one factor of the first product has alone counts queries, and whether that was told.

    Told by their number, which mostly is that of the keys; or by a mask, which mostly is the same for all heads.
    """
    if len(asking) == 1:
        return asking[0], True
    n_keys = prod(length(axes[label]) for label in call.product.summed)
    like = [label for label in asking if length(axes[label]) == n_keys]
    masked = _masked(asking, call.trail.scores, axes)
    for told in (like, masked):
        if len(told) == 1:
            return told[0], True
    mine = [label for label in asking if label in alone]
    # Both have an axis that the other lacks: heads may share their keys there, and have values of their own.
    return mine[-1] if mine and is_shared else asking[-1], False


def _masked(asking: Sequence[str], scores: Scores | None, axes: Mapping[str, Axis]) -> list[str]:
    """Which axes some mask differs along."""
    found = []
    for added in () if scores is None else scores.added:
        if isinstance(added, Forbidden):
            sized = zip(reversed(added.part.axes), reversed(added.part.tensor.shape), strict=False)
            atoms = [atom for axis, size in sized if size > 1 for atom in leaves(axis)]
            found += [label for label in asking if any(atom in atoms for atom in leaves(axes[label]))]
    return list(dict.fromkeys(found))


def _has_shared_heads(axis: Axis) -> bool:
    """Whether an axis counts heads that queries and keys both have, perhaps with examples: no queries then."""
    return any(atom.is_head and atom.side is None for atom in leaves(axis))


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
    told = tuple(atom for atom in rows if atom.is_head and atom.side is not None)
    if told and not any(atom.is_head for atom in keys):  # else heads are tokens of their own, on both sides
        return tuple(atom for atom in rows if atom not in told), told, True
    if len(rows) <= 1 or len(keys) > 1 or length(rows) == length(keys):
        return rows, (), True
    like = [atom for atom in rows if atom.size == length(keys)]
    if len(like) != 1:
        return rows, (), False
    return (like[0],), tuple(atom for atom in rows if atom is not like[0]), True


def _side_of(axes: Mapping[str, Axis], labels: Iterable[str]) -> Side | None:
    """Which factor of the first product axes come from alone; None for what both have, and where they differ."""
    sides = {atom.side for label in labels for atom in axes[label]}
    return sides.pop() if len(sides) == 1 else None


def _beside_keys(labels: Sequence[str], summed: Sequence[str]) -> str | None:
    """The axis that queries mostly have: before the keys, where these are the last, else after them."""
    place = next(number for number, label in enumerate(labels) if label in summed)
    beside = place - 1 if place == len(labels) - 1 else place + 1
    return labels[beside] if 0 <= beside < len(labels) and labels[beside] not in summed else None
