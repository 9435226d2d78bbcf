"""From the recorded calls of one run to named stacks of layers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attnwidget.attention import AttentionStack, AttentionWarning, CaptureError, LayerInfo, Tokens
from attnwidget.attention.finite import with_nan
from attnwidget.attention.tokens import TokenNames, each_tokens
from attnwidget.intercept.losses import settle_losses
from attnwidget.intercept.nothing import nothing_seen
from attnwidget.intercept.roles import name_roles
from attnwidget.intercept.unseen import unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from attnwidget.attention.stack import Span
    from attnwidget.intercept.passes.outcome import Outcome
    from attnwidget.intercept.recorder import Recorder
    from attnwidget.intercept.records import Record


@dataclass(frozen=True)
class Axis:
    """Names of the tokens along an axis, per example, and what of it is not padding."""

    tokens: tuple[Tokens, ...]
    spans: tuple[Span, ...] | None = None


@dataclass(frozen=True)
class Naming:
    """Names for what is looked from and at.

    Attributes:
        queries: tokens of the sequence; of the decoder in an encoder-decoder.
        keys: tokens of the other sequence: the encoder's, where there is one.
        roles: tokens for one stack only, by its name; None: numbered.
    """

    queries: Axis | None = None
    keys: Axis | None = None
    roles: dict[str, Axis | None] = field(default_factory=dict)

    @classmethod
    def from_names(
        cls,
        tokens: TokenNames | Sequence[TokenNames] | None,
        key_tokens: TokenNames | Sequence[TokenNames] | None,
    ) -> Naming:
        """From what a person passes."""
        return cls(name_axis(tokens), name_axis(key_tokens))


def names_of_run(names: Naming, outcome: Outcome | None) -> Naming:
    """Names as a person gave them; of a generation, tokens that a sequence had no more are cut off."""
    if outcome is None or (outcome.ends == outcome.n_rows).all():
        return names
    queries = names.queries or Axis((Tokens.numbered(outcome.n_rows),))
    axis = Axis(queries.tokens, tuple((0, int(end)) for end in outcome.ends))
    return Naming(axis, names.keys, {"encoder": names.keys or names.queries, **names.roles})


def name_axis(names: TokenNames | Sequence[TokenNames] | None) -> Axis | None:
    """One list of names for all examples, or one per example."""
    if names is None:
        return None
    return Axis(each_tokens(names))


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
    stacks = []
    for role, shaped in groups.items():
        for number, group in enumerate(shaped):
            # Layers with other heads or lengths cannot share a grid: they are stacks of their own.
            name = role if number == 0 else f"{role}-{number + 1}"
            if number:
                recorder.notes[_apart(name, group, shaped[0])] = None
            stacks.append(_stack(name, role, group, naming, aside=len(groups) > 1 or number > 0))
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


def _stack(name: str, role: str, group: list[Record], naming: Naming, *, aside: bool) -> AttentionStack:
    n_examples, _, n_queries, n_keys, extra = _shape(group[0])
    queries, keys = _axes(role, n_queries, n_keys - len(extra), naming, aside=aside)
    if extra:
        known = keys or (queries if n_queries == n_keys - len(extra) else None)
        keys = _followed(known or Axis((Tokens.numbered(n_keys - len(extra)),)), extra)
    infos = [_info(record) for record in group]
    try:
        return AttentionStack(
            name,
            [record.attention for record in group],
            query_tokens=_each(queries, n_examples),
            key_tokens=_each(keys, n_examples),
            query_spans=None if queries is None else queries.spans,
            key_spans=None if keys is None else keys.spans,
            infos=infos,
            carried=[record.carrying.carried_by(record.attention) for record in group if record.carrying is not None],
        )
    except ValueError as error:
        raise CaptureError(
            f"{error}. The first layer of this stack is {group[0].path or 'the module itself'}, with {n_examples} "
            f"examples, {n_queries} queries and {n_keys} keys"
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


def _axes(role: str, n_queries: int, n_keys: int, naming: Naming, *, aside: bool) -> tuple[Axis | None, Axis | None]:
    """Names for queries and keys; None for keys that are the queries, or where nobody gave names."""
    if role in naming.roles:
        return naming.roles[role], None
    if role == "cross":
        return naming.queries, naming.keys
    if role == "encoder":
        return naming.keys or naming.queries, None
    if not aside:
        return naming.queries, naming.keys if n_queries != n_keys else None
    # A tower over something else (patches, frames), or a layer that sums the sequence up: names only where they fit.
    queries = _if_fits(naming.queries, n_queries)
    if n_queries == n_keys:
        return queries, None
    return queries, _if_fits(naming.keys, n_keys) or _if_fits(naming.queries, n_keys)


def _if_fits(axis: Axis | None, length: int) -> Axis | None:
    return axis if axis is not None and len(axis.tokens[0]) == length else None


def _followed(axis: Axis, extra: tuple[str, ...]) -> Axis:
    """Keys that the module adds after those of the tokens, which padding before them cannot be cut from."""
    tokens = tuple(names.followed_by(extra) for names in axis.tokens)
    if axis.spans is None:
        return Axis(tokens)
    return Axis(tokens, tuple((start, len(names)) for names, (start, _) in zip(tokens, axis.spans, strict=True)))


def _each(axis: Axis | None, n_examples: int) -> tuple[Tokens, ...] | None:
    if axis is None:
        return None
    return axis.tokens * n_examples if len(axis.tokens) == 1 else axis.tokens
