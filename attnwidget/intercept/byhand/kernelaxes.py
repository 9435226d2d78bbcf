"""Calls of `scaled_dot_product_attention` on tensors that do not have four axes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from attnwidget.attention.protocol import shape_text
from attnwidget.intercept.byhand.axes import Axes, Axis, Part, align, fresh, told_heads
from attnwidget.intercept.byhand.splitting import split_off
from attnwidget.intercept.byhand.trails import Layout, trails
from attnwidget.intercept.calls import MODULE

if TYPE_CHECKING:
    import torch

    from attnwidget.intercept.records import KernelCall

_MERGED, _WHOLE = 3, 4
ONE_HEAD = (
    f"what the first axis of the queries of {MODULE} counts was not seen: it is taken for examples, each of which has "
    "one head"
)
LAST_AXIS = (
    "which of {count} leading axes of the queries of {module} counts heads was not seen: the last is taken for it, "
    "and the others for examples"
)

ELSEWHERE = (
    "queries of {module} were split off from features along axis {axis}, and scaled_dot_product_attention counts "
    "heads along axis 1: heads and tokens or examples may have changed places, as where a transpose was forgotten"
)


def heads_elsewhere(query: torch.Tensor) -> str | None:
    """What to tell of queries of a kernel, (batch, heads, tokens, size), if heads were split off along another axis."""
    apart = split_off(query, -1) if query.ndim == _WHOLE else []
    return ELSEWHERE.format(axis=apart[0], module=MODULE) if apart and 1 not in apart else None


def with_four_axes(call: KernelCall, notes: list[str]) -> KernelCall:
    """The same call with (batch, heads, tokens, size) tensors.

    Batch and heads merged into one axis are told apart if they were seen to be merged; else a single leading axis
    counts examples, with one head. Of three leading axes or more, as where windows or groups of heads have one of their
    own, those count heads that were split off from the features, else the last.

    Args:
        call: with any number of axes.
        notes: what the capture should tell is added here.

    Raises:
        ValueError: what the axes count is not known.
    """
    query, key = call.query, call.key
    if query.ndim == key.ndim == _WHOLE:
        return call
    groups = None
    if query.ndim == key.ndim == call.value.ndim:
        groups = _apart(call, notes) if query.ndim > _WHOLE else _merged(call) or _examples_alone(call, notes)
    parts = None if groups is None else _aligned(call, *groups)
    if parts is None:
        raise ValueError(
            f"queries have shape {shape_text(query)} and keys {shape_text(key)}; "
            "expected 4-D (batch, heads, tokens, head size): add the missing axes with unsqueeze"
        )
    return parts


def _merged(call: KernelCall) -> tuple[Axes, Axis, Axis] | None:
    """The leading axis, and what of it counts examples and heads."""
    known = trails()
    for tensor in (call.query, call.key, call.value):
        trail = known.get(tensor)
        if isinstance(trail, Layout) and len(trail.axes) == _MERGED:
            lead = trail.axes[0]
            heads = told_heads(lead)
            if heads is not None:
                return (lead,), tuple(atom for atom in lead if atom not in heads), heads
    return None


def _examples_alone(call: KernelCall, notes: list[str]) -> tuple[Axes, Axis, Axis]:
    """One leading axis that counts examples, or none."""
    lead = fresh(call.output.shape[:-2])
    if any(lead):
        notes.append(ONE_HEAD)
    return lead, lead[0] if lead else (), ()


def _apart(call: KernelCall, notes: list[str]) -> tuple[Axes, Axis, Axis]:
    """The leading axes, and what of them counts examples and heads."""
    lead = fresh(call.query.shape[:-2])
    within: set[int] = set()
    for tensor in (call.value, call.key, call.query):
        within.update(number for number in split_off(tensor, -1) if number < len(lead))
        # Heads lie just outside the features they were split off from, unless the tensor was copied since.
        step = tensor.shape[-1] * tensor.stride(-1)
        beside = [number for number, own in enumerate(tensor.stride()[:-2]) if lead[number] and own == step]
        if len(beside) == 1 and not tensor.is_contiguous():
            within.update(beside)
    # Groups of heads share their keys.
    shared = [number for number in range(1, len(lead)) if lead[number] and _repeats(call.key, number)]
    within.update(number for last in shared for number in (last - 1, last) if number)
    if not within and sum(bool(axis) for axis in lead) > 1:
        notes.append(LAST_AXIS.format(module=MODULE, count=len(lead)))
    heads = tuple(atom for number, axis in enumerate(lead) for atom in axis if number in (within or {len(lead) - 1}))
    return lead, tuple(atom for axis in lead for atom in axis if atom not in heads), heads


def _repeats(tensor: torch.Tensor, axis: int) -> bool:
    """Whether a tensor is the same along an axis."""
    return tensor.shape[axis] == 1 or tensor.stride(axis) == 0


def _aligned(call: KernelCall, lead: Axes, examples: Axis, heads: Axis) -> KernelCall | None:
    (rows,), (keys,), (size,) = (
        fresh(shape) for shape in (call.query.shape[-2:-1], call.key.shape[-2:-1], call.query.shape[-1:])
    )
    (width,) = fresh(call.value.shape[-1:])

    def placed(tensor: torch.Tensor | None, *last: Axis) -> torch.Tensor | None:
        return None if tensor is None else align(Part.of(tensor, (*lead, *last)), (examples, heads, *last))

    query, key, value = placed(call.query, rows, size), placed(call.key, keys, size), placed(call.value, keys, width)
    output, mask, dropped = (
        placed(call.output, rows, width),
        placed(call.mask, rows, keys),
        placed(call.dropped, rows, keys),
    )
    if query is None or key is None or value is None or output is None or (call.mask is not None and mask is None):
        return None
    return replace(call, query=query, key=key, value=value, output=output, mask=mask, lse=None, dropped=dropped)
