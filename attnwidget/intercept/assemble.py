"""From the recorded calls of one run to named stacks of layers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from attnwidget.attention import AttentionStack, AttentionWarning, CaptureError, LayerInfo
from attnwidget.attention.finite import with_nan
from attnwidget.intercept.counting import counted
from attnwidget.intercept.losses import settle_losses
from attnwidget.intercept.naming import Naming, Shape, axes_of
from attnwidget.intercept.nothing import nothing_seen
from attnwidget.intercept.roles import name_roles
from attnwidget.intercept.unseen import unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from attnwidget.attention import Tokens
    from attnwidget.intercept.naming import Axis
    from attnwidget.intercept.passes.outcome import Outcome
    from attnwidget.intercept.recorder import Recorder
    from attnwidget.intercept.records import Record


def assemble(recorder: Recorder, naming: Naming | Callable[[Outcome | None], Naming]) -> list[AttentionStack]:
    """Build the stacks.

    Args:
        recorder: after the run.
        naming: of the tokens, or what makes it from what generate() returned.

    Returns:
        Stacks in the order they ran.

    Raises:
        CaptureError: nothing was seen, or something went wrong on the way.
    """
    if recorder.problem is not None:
        raise recorder.problem
    settle_losses(recorder)
    if not recorder.records:
        raise CaptureError(nothing_seen(recorder))
    naming = naming if isinstance(naming, Naming) else naming(recorder.outcome)
    groups: dict[str, list[list[Record]]] = {}
    roles = [record.stack or role for record, role in zip(recorder.records, name_roles(recorder.records), strict=True)]
    for record, role in zip(recorder.records, roles, strict=True):
        shaped = groups.setdefault(role, [])
        for group in shaped:
            if _shape(group[0]) == _shape(record):
                group.append(record)
                break
        else:
            shaped.append([record])
    stacks, named = [], False
    for role, shaped in groups.items():
        for number, group in enumerate(shaped):
            # Layers with other heads or lengths cannot share a grid: they are stacks of their own.
            name = role if number == 0 else f"{role}-{number + 1}"
            if number:
                recorder.notes[_apart(name, group, shaped[0])] = None
            n_examples, _, n_queries, n_keys, extra = _shape(group[0])
            shape = Shape(name, role, n_examples, n_queries, n_keys - len(extra), extra)
            axes = axes_of(shape, naming, recorder.notes, aside=len(groups) > 1 or number > 0)
            named |= any(axis is not None and axis.is_given for axis in axes)
            stacks.append(_stack(shape, group, *axes))
    if not named and naming.queries is not None and naming.queries.is_given:
        there = ", ".join(f"{stack.name!r} has {stack.size_text()}" for stack in stacks)
        raise CaptureError(
            f"tokens hold {len(naming.queries.tokens[0])} names, and no stack has as many tokens: {there}. Expected "
            "one name per position of one of them, special tokens and padding included"
        )
    lengths = None if recorder.outcome is not None else recorder.lengths
    recorder.notes.update(dict.fromkeys(counted(stacks, lengths, recorder.notes)))
    _tell_unseen(recorder)
    _tell_broken(stacks)  # last: a device is waited for, which meanwhile works on
    return stacks


def _apart(name: str, group: list[Record], first: list[Record]) -> str:
    here, there = (
        f"{record.path or 'the module'} attends with {heads} heads over {queries} x {keys} tokens"
        for record in (group[0], first[0])
        for _, heads, queries, keys, _ in (_shape(record),)
    )
    return f"{here}, {there}: stack {name!r} holds the layers like the former"


def _tell_unseen(recorder: Recorder) -> None:
    notes, doubts = unseen(recorder.modules, recorder.seen, recorder.ran)
    recorder.notes.update(dict.fromkeys(notes + doubts))
    if doubts:
        warnings.warn(
            f"{'; '.join(doubts)}. They may run a kernel that Python cannot see into; what was captured of the other "
            "modules is shown",
            AttentionWarning,
            stacklevel=4,
        )


def _tell_broken(stacks: Sequence[AttentionStack]) -> None:
    for stack in stacks:
        broken = with_nan(stack.layers)
        if broken:
            path = stack.infos[broken[0]].path
            warnings.warn(
                f"{len(broken)} of {stack.n_layers} layers of stack {stack.name!r} hold weights that are not numbers; "
                f"the first is layer {broken[0]}{path and f' ({path})'}. They are shown as not known. Likely reasons: "
                "activations that overflow (load the model in bfloat16 or float32 instead of float16), or parameters "
                "or a mask with NaN or infinity among them",
                AttentionWarning,
                stacklevel=5,
            )


def _shape(record: Record) -> tuple[int, int, int, int, tuple[str, ...]]:
    attention = record.attention
    return attention.n_examples, attention.n_heads, attention.n_queries, attention.n_keys, record.extra_keys


def _stack(shape: Shape, group: list[Record], queries: Axis | None, keys: Axis | None) -> AttentionStack:
    infos = [_info(record) for record in group]
    try:
        return AttentionStack(
            shape.name,
            [record.attention for record in group],
            query_tokens=_each(queries, shape.n_examples),
            key_tokens=_each(keys, shape.n_examples),
            query_spans=None if queries is None else queries.spans,
            key_spans=None if keys is None else keys.spans,
            infos=infos,
            carried=[record.carrying.carried_by(record.attention) for record in group if record.carrying is not None],
        )
    except ValueError as error:
        raise CaptureError(
            f"{error}. The first layer of this stack is {group[0].path or 'the module itself'}, with "
            f"{shape.n_examples} examples, {shape.n_queries} queries and {shape.n_keys + len(shape.extra)} keys"
        ) from error


def _info(record: Record) -> LayerInfo:
    some_heads = record.heads is not None and len(record.heads) != record.n_heads
    return LayerInfo(
        record.path,
        type(record.module).__name__,
        record.implementation,
        record.call,
        ranks=record.ranks,
        number=record.number,
        picked=(record.heads or ()) if some_heads else (),
        n_heads=(record.n_heads or 0) if some_heads else 0,
    )


def _each(axis: Axis | None, n_examples: int) -> tuple[Tokens, ...] | None:
    if axis is None:
        return None
    return axis.tokens * n_examples if len(axis.tokens) == 1 else axis.tokens
