"""What the axes of weights count: examples, heads, queries and keys, told by the products that they stand between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.intercept.byhand.asking import queries_of, unfolded
from attnwidget.intercept.byhand.axes import leaves, told_heads
from attnwidget.intercept.byhand.splitting import mark_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.intercept.byhand.axes import Axis
    from attnwidget.intercept.byhand.handframes import Frame
    from attnwidget.intercept.records import HandCall

_PAIR = 2


def frame_of(call: HandCall) -> tuple[Frame, bool]:
    """What counts examples, heads, queries and keys, from the product with values; and whether that was told.

    Summed over: keys. For queries see `queries_of`. What is left leads: examples and heads (see `_heads_of`).
    """
    labels, product = call.labels, call.product
    values, other = (product.right, product.right_labels) if call.weights_left else (product.left, product.left_labels)
    trailed = dict(zip(labels, call.trail.axes, strict=True))
    mark_values(values, other, [label for label in other if label not in labels], trailed)
    axes = {label: leaves(axis) for label, axis in trailed.items()}
    keys = tuple(atom for label in labels if label in product.summed for atom in axes[label])
    queries, asked = queries_of(call, axes)
    leading = [label for label in labels if label not in product.summed and label != queries]
    if all(label in other for label in leading):
        leading.sort(key=other.index)  # scores may have any order: values more often have examples first
    rows, folded, unfolds = unfolded(() if queries is None else axes[queries], keys)
    heads, told = _heads_of(leading, axes, call)
    examples = tuple(atom for label in leading for atom in axes[label] if atom not in heads)
    return (examples, heads + folded, rows, keys), asked and unfolds and told


def _heads_of(leading: list[str], axes: Mapping[str, Axis], call: HandCall) -> tuple[Axis, bool]:
    """Which atoms of the leading axes count heads, and whether anything told; the others count examples.

    Of a single axis those that a tensor on the way told apart from the batch; nobody told: none, unless two were merged
    into it. Of several, in this order: what was told to count heads, with what values share; axes that values do not
    have, or repeat, as where groups of heads share keys and values, with those beside them; the one that lies just
    outside the features; the last.
    """
    if len(leading) == 1:
        atoms = axes[leading[0]]
        told = told_heads(atoms)
        is_told = any(atom.is_head is not None for atom in atoms) or (told is None and len(atoms) <= 1)
        return (atoms[1:] if told is None else told), is_told
    shared = [label for label in leading[1:] if axes[label] and _is_shared(label, call)]
    if any(atom.is_head for label in leading for atom in axes[label]):
        atoms = tuple(atom for label in leading for atom in axes[label] if atom.is_head is not False)
        beside = [atom for label in shared for atom in axes[label]]
        return tuple(atom for atom in atoms if atom.is_head or atom in beside), True
    if shared:
        return tuple(atom for label in leading[1:] for atom in axes[label]), True
    named = [label for label in leading if axes[label]]
    possible = [label for label in named if not all(atom.is_head is False for atom in axes[label])]
    if named and len(possible) <= 1 and len(possible) < len(named):
        return (), True  # what is left besides tokens that were put into groups are examples
    split_off = [label for label in possible if all(atom.beside_features for atom in axes[label])]
    if len(split_off) == 1 and (len(named) > 1 or split_off[0] == leading[-1]):
        return axes[split_off[0]], True
    while len(leading) > _PAIR and any(not axes[label] for label in leading):
        leading.remove(next(label for label in reversed(leading) if not axes[label]))
    heads = axes[leading[-1]] if leading else ()
    return heads, not heads


def _is_shared(label: str, call: HandCall) -> bool:
    """Whether values are the same along an axis of the weights: they lack it, or repeat along it."""
    product = call.product
    values, labels = (product.right, product.right_labels) if call.weights_left else (product.left, product.left_labels)
    if label not in labels:
        return True
    axis = labels.index(label)
    return values.shape[axis] == 1 or values.stride(axis) == 0
