"""`aw.gathered`: all heads of a tensor-parallel model, on one rank."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import distributed

from attnwidget.attention import AttentionCapture, AttentionStack, CaptureError
from attnwidget.intercept.spread import SPREAD
from attnwidget.ranks.heads import JoinedHeads, RemoteHeads, StackFacts
from attnwidget.ranks.talking import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Facts = Mapping[str, StackFacts]
    """What a rank tells of its stacks, by name."""


@contextmanager
def gathered(cap: AttentionCapture, *, rank: int | None = None) -> Iterator[AttentionCapture | None]:
    """A capture of a tensor-parallel model with all of its heads, on one rank, while the others answer.

    Every rank captured its own heads. All of them open this block. One of them is given a capture with all heads, in
    order; what is looked at there is computed on the rank whose head it is, and only that travels. The others wait in
    the first line of the block and answer, until that rank leaves it; they are then given None.

    Where heads are not spread over ranks, the capture itself is given to that rank: code that runs under torchrun also
    runs without.

    Args:
        cap: of this rank, of the same run as those of the others.
        rank: which rank looks; the first of those that share the heads if None (0, if there is one model).

    Yields:
        The capture with all heads, on the rank that looks; None on the others.

    Raises:
        CaptureError: the captures of the ranks do not belong together; a rank is gone.
        ValueError: `rank` is none of those that share the heads.

    Examples:
        >>> cap = model.capture("The cat sat on the mat")  # doctest: +SKIP
        >>> with gathered(cap) as whole:  # doctest: +SKIP
        ...     if whole is not None:
        ...         print(whole.weights(layer=3).shape)
    """
    ranks = _ranks(cap)
    together = distributed.is_available() and distributed.is_initialized()
    looker = rank if rank is not None else ranks[0] if ranks else 0
    if ranks and looker not in ranks:
        raise ValueError(f"rank is {looker}; expected one of those that share the heads: {', '.join(map(str, ranks))}")
    if not ranks:
        yield cap if not together or distributed.get_rank() == looker else None
        return
    if not distributed.is_gloo_available():
        raise CaptureError("ranks exchange weights over gloo, which this build of torch lacks")
    channel = Channel(ranks)
    # Every rank finds the same, so that none waits for one that has left.
    facts = _checked(dict(zip(ranks, channel.everybodys(_told(cap)), strict=True)))
    if distributed.get_rank() != looker:
        channel.serve(looker, cap.stacks)
        yield None
        return
    try:
        whole = AttentionCapture([_join(stack, facts, channel) for stack in cap.stacks.values()], model=cap.model)
        whole.notes = tuple(note for note in cap.notes if not note.startswith(SPREAD))
        yield whole
    finally:
        channel.release()


def _ranks(cap: AttentionCapture) -> tuple[int, ...]:
    """The ranks that share heads; every layer that is spread must be so over the same."""
    found = {info.ranks for stack in cap.stacks.values() for info in stack.infos if info.ranks}
    if len(found) > 1:
        raise CaptureError(f"layers are spread over different ranks: {', '.join(map(str, sorted(found)))}")
    return found.pop() if found else ()


def _told(cap: AttentionCapture) -> Facts | str:
    """What this rank tells the others, who wait for it: of its layers, or what went wrong."""
    try:
        return {name: StackFacts.of(stack) for name, stack in cap.stacks.items()}
    except Exception as error:  # noqa: BLE001 - whatever it is, all ranks raise it
        return f"{type(error).__name__}: {error}"


def _checked(told: Mapping[int, Facts | str]) -> dict[int, Facts]:
    """What the ranks told, if it is of one run of one model."""
    facts: dict[int, Facts] = {}
    for rank, one in told.items():
        if isinstance(one, str):
            raise CaptureError(f"rank {rank} cannot read its capture ({one})")
        facts[rank] = one
    (first, known), *others = facts.items()
    for rank, other in others:
        for what, here, there in _differences(known, other):
            raise CaptureError(
                f"{what} {there} on rank {rank} and {here} on rank {first}; expected captures of the same run of the "
                "same model on all ranks"
            )
    for name, stack in known.items():
        for number, layer in enumerate(stack.layers):
            marks = {one[name].layers[number].mark for one in facts.values()}
            if not layer.ranks and len(marks) > 1:
                raise CaptureError(
                    f"layer {number} of stack {name!r} is not spread over ranks, as far as its parameters tell, and "
                    "computed something else on each; expected the same input on all ranks"
                )
    return facts


def _differences(one: Facts, other: Facts) -> Iterator[tuple[str, Any, Any]]:
    if list(one) != list(other):
        yield "stacks are", list(one), list(other)
        return
    for name in one:
        mine, theirs = one[name], other[name]
        if len(mine.layers) != len(theirs.layers):
            yield f"layers of stack {name!r} are", len(mine.layers), len(theirs.layers)
            return
        for number, (layer, twin) in enumerate(zip(mine.layers, theirs.layers, strict=True)):
            if layer.shape != twin.shape:
                yield f"(examples, queries, keys) of layer {number} of stack {name!r} are", layer.shape, twin.shape
            if layer.ranks != twin.ranks:
                yield f"layer {number} of stack {name!r} is spread over ranks", layer.ranks, twin.ranks
        if mine.tokens != theirs.tokens:
            yield f"tokens of stack {name!r} begin with", mine.text, theirs.text


def _join(stack: AttentionStack, facts: Mapping[int, Facts], channel: Channel) -> AttentionStack:
    layers: list[Any] = []
    for number, (layer, info) in enumerate(zip(stack.layers, stack.infos, strict=True)):
        told = {rank: facts[rank][stack.name].layers[number] for rank in channel.ranks}
        if not info.ranks or len({one.mark for one in told.values()}) == 1:  # every rank has all of them
            layers.append(layer)
            continue
        parts = [
            layer
            if rank == distributed.get_rank()
            else RemoteHeads(one, partial(channel.ask, rank, stack.name, number))
            for rank, one in told.items()
        ]
        layers.append(JoinedHeads(layer, parts, list(told.values())))
    return stack.with_layers(layers)
