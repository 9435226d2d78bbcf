"""What functions do to weights, after the softmax and before the values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from attnwidget.intercept.byhand.axes import Axes, Axis, Part, alike, grown, leaves
from attnwidget.intercept.byhand.trails import Weights
from attnwidget.intercept.calls import MODULE, tell

if TYPE_CHECKING:
    import torch

    from attnwidget.intercept.byhand.steps import Step

PARTLY = (
    f"{MODULE} multiplied a part of its weights with values, and that part is shown: where it goes on with the others, "
    "piece by piece, they are not in this capture"
)
PICKED = "its scores were sorted, or the largest picked, and of which keys the weights are is not known"
SEVERAL = "its weights are a combination of several softmaxes, and no weights themselves"


def same(step: Step, weights: Weights, position: int, result: torch.Tensor) -> Weights:
    """Cast or copied."""
    weights = replace(weights, axes=grown(weights.axes, result.shape))
    if weights.clean is None:
        return weights
    again = step.again(position, weights.clean.tensor)
    return replace(weights, clean=Part.of(again, grown(weights.clean.axes, again.shape)))


def meets_apart(weights: Weights) -> None:
    """Note that weights of a single key, which was cut off from the others, are used for themselves, if they are."""
    keys, left = leaves(weights.keys), {id(atom) for axis in weights.axes for atom in leaves(axis)}
    if keys and not any(id(atom) in left for atom in keys):
        weights.call.meets_apart = True
        if weights.call.is_known:
            tell(PARTLY)


def changed(step: Step, weights: Weights, position: int, result: torch.Tensor) -> Weights | None:
    """Changed value by value: by a mask, a gate, or another softmax."""
    if weights.is_log:
        return None
    meets_apart(weights)
    before = step.args[position]
    if before is result:  # nothing may hold on to itself
        weights = replace(weights, is_touched=True)
    elif weights.source is None:
        weights = replace(weights, source=weights.clean or Part.of(before, weights.axes))
    others = [trail for trail in step.known.values() if isinstance(trail, Weights) and trail.call is not weights.call]
    for other in others:
        other.call.is_known = True  # goes with this one
        lost = other.clean is not None or weights.clean is not None  # weights before dropout cannot be blended again
        weights = replace(weights, is_blend=True, oddity=SEVERAL if lost else weights.oddity)
    return same(step, weights, position, result)


def scattered(weights: Weights, dim: object, result: torch.Tensor) -> Weights | None:
    """Put among other keys, which are given no weight."""
    axes = alike(weights.axes, result.shape)
    lost = weights.clean is not None or weights.source is not None or weights.whole is not None
    if axes is None or not isinstance(dim, int) or lost or leaves(weights.axes[dim]) != leaves(weights.keys):
        return None
    grows = [new is not old for new, old in zip(axes, weights.axes, strict=True)]
    if sum(grows) > grows[dim]:
        return None
    oddity = None if weights.oddity == PICKED else weights.oddity
    return replace(weights, axes=axes, keys=axes[dim], oddity=oddity, is_touched=True)


def mixed(weights: Weights, before: torch.Tensor, axes: Axes, summed: Axis) -> Weights | None:
    """Multiplied with parameters, as talking heads mix heads (Shazeer et al. 2020); not so if that sums over keys."""
    keys = leaves(weights.keys)
    if any(atom in keys or atom.side is not None for atom in leaves(summed)):
        return None
    source = weights.source or weights.clean or Part.of(before, weights.axes)
    return replace(weights, axes=axes, clean=None, source=source, is_mixed=True)


def dropped(step: Step, weights: Weights) -> Weights:
    """Dropout that drops: weights are those before it."""
    clean = weights.clean or Part.of(step.args[0] if step.saved is None else step.saved, weights.axes)
    return replace(weights, clean=clean)


def reshaped(step: Step, weights: Weights, axes: Axes, number: int | None = None) -> Weights:
    """Seen in another shape; or one of the pieces it was cut into."""
    keys = leaves(weights.keys)
    cut = [axis for axis in axes if any(atom.source is not None and atom.source[0] in keys for atom in axis)]
    clean, whole = weights.clean, weights.whole
    if cut and whole is None:
        whole = clean or Part.of(step.args[0], weights.axes)
    if clean is not None:
        again = step.again(0, clean.tensor)
        clean = Part.of(again if number is None else again[number], axes)
    return replace(weights, axes=axes, keys=cut[0] if cut else weights.keys, clean=clean, whole=whole)
