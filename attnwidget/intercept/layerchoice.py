"""Which layers are kept while nobody knows yet how many there are, nor which stack each is in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from attnwidget.attention import CaptureError
from attnwidget.attention.layertable import starred
from attnwidget.intercept.narrowing import left_out
from attnwidget.intercept.roles import name_roles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from attnwidget.intercept.picks import Picks
    from attnwidget.intercept.records import Record
    from attnwidget.intercept.terms import Terms

    Shape = tuple[object, ...]


class LayerChoice:
    """Counts layers as they run, each within its stack as far as stacks are known by then.

    Stacks are told by all that ran, so that this is a guess, and nearly always right; `settle` looks at the end.

    Args:
        picks: which layers.
    """

    def __init__(self, picks: Picks) -> None:
        self._picks = picks
        self._first: list[Record] = []  # one for each kind of layer, and the stack that it is in
        self._stacks: list[str] = []
        self._kinds: dict[tuple[str, int], int] = {}
        self._members: dict[tuple[int, Shape], list[int]] = defaultdict(list)
        self._modules: dict[int, list[int]] = defaultdict(list)  # ids of those that ran, by kind
        self._module_of: dict[int, int] = {}
        self._held: set[int] = set()
        self._has_portions = False

    def keeps(self, record: Record, number: int, *, in_loop: bool, is_portion: bool) -> bool:
        """Whether to keep a layer that ran for the first time.

        Args:
            record: of it.
            number: among all records.
            in_loop: other runs will follow, in which keys grow.
            is_portion: it looks from a portion of a sequence. Such calls are one layer, which shows at the end: all of
                them are kept until then.
        """
        kind, module = self._kind(record), id(record.module)
        if module not in self._modules[kind]:
            self._modules[kind].append(module)
        self._module_of[number] = module
        if is_portion:
            self._has_portions = True
            return True
        shape = shape_of(record, in_loop=in_loop)
        self._members[kind, shape].append(number)
        if self._may_hold(number, kind, self._stack_of(kind, shape)):
            self._held.add(number)
            return True
        return False

    def surplus(self, record: Record, *, in_loop: bool) -> Iterator[int]:
        """Numbers of records that were kept and are not wanted, now that this one has run after them."""
        if not self._picks.counts_from_end:
            return
        kind = self._kind(record)
        members = self._stack_of(kind, shape_of(record, in_loop=in_loop))
        for number in members:
            if number in self._held and not self._may_hold(number, kind, members):
                self._held.discard(number)
                yield number

    def _may_hold(self, number: int, kind: int, members: Sequence[int]) -> bool:
        """Whether one of the layers of a stack may be picked, as far as is known by now.

        Beside calls from portions, which will be layers like it, it is counted by modules too.
        """
        if self._picks.may_hold(members.index(number), len(members)):
            return True
        modules = self._modules[kind]
        module = self._module_of[number]
        return self._has_portions and module in modules and self._picks.may_hold(modules.index(module), len(modules))

    def _kind(self, record: Record) -> int:
        key = starred(record.path), bool(getattr(record.module, "is_cross_attention", False))
        if key not in self._kinds:
            self._kinds[key] = len(self._first)
            self._first.append(replace(record, attention=left_out(record.attention)))
            self._stacks = name_roles(self._first)
        return self._kinds[key]

    def _stack_of(self, kind: int, shape: Shape) -> list[int]:
        alike = [other for other, stack in enumerate(self._stacks) if stack == self._stacks[kind]]
        return sorted(number for other in alike for number in self._members.get((other, shape), ()))


def shape_of(record: Record, *, in_loop: bool) -> Shape:
    """What layers of one stack have in common: where runs follow, not how many keys they have by then."""
    attention = record.attention
    n_heads = attention.n_heads if record.n_heads is None else record.n_heads
    return (
        attention.n_examples,
        n_heads,
        attention.n_queries,
        None if in_loop else attention.n_keys,
        record.extra_keys,
    )


class Settled(NamedTuple):
    """What is kept.

    Attributes:
        records: with their stacks and numbers; None in the place of one that is not wanted.
        notes: what the capture should tell.
    """

    records: list[Record | None]
    notes: list[str]


def settle(records: Sequence[Record], terms: Terms, *, in_loop: bool) -> Settled:
    """Tell each layer its stack and its number there.

    Args:
        records: of everything that ran, in order, those included of which nothing was kept.
        terms: which layers and heads were asked for.
        in_loop: several runs were made.

    Raises:
        CaptureError: a layer or head was asked for that none has, or one that was not kept.
    """
    stacks: dict[tuple[str, Shape], list[int]] = defaultdict(list)
    roles = name_roles(records)
    for number, record in enumerate(records):
        stacks[roles[number], shape_of(record, in_loop=in_loop)].append(number)
    _check(records, stacks, terms)
    settled: list[Record | None] = [None] * len(records)
    notes = []
    for (role, _), members in stacks.items():
        wanted = range(len(members)) if terms.layers is None else terms.layers.among(len(members))
        some = [(index, members[index]) for index in wanted if records[members[index]].heads != ()]
        for index, number in some:
            if records[number].is_left_out:
                raise CaptureError(
                    f"layer {index} of stack {role!r} ({records[number].path}) was asked for, and that it is this one "
                    "shows only after the run, when what it computed is gone: leave layers= out"
                )
            settled[number] = replace(records[number], stack=role, number=index)
        if not some:
            notes.append(f"{_given(terms)}: of stack {role!r} nothing is kept ({_size(records, members)})")
    if records and not any(settled):
        raise CaptureError(f"{_given(terms)} picks nothing of what ran: {_there(stacks, records)}")
    return Settled(settled, notes)


def _check(records: Sequence[Record], stacks: dict[tuple[str, Shape], list[int]], terms: Terms) -> None:
    most = max((len(members) for members in stacks.values()), default=0)
    if most and terms.layers is not None and (missing := terms.layers.missing(most)) is not None:
        raise CaptureError(
            f"layers is {terms.layers.text}, and layer {missing} does not exist: {_there(stacks, records)}; layers "
            "count from 0 within each stack, in the order they run"
        )
    heads = max((record.n_heads or record.attention.n_heads for record in records), default=0)
    if heads and terms.heads is not None and (missing := terms.heads.missing(heads)) is not None:
        raise CaptureError(
            f"heads is {terms.heads.text}, and head {missing} does not exist: {_there(stacks, records)}; heads count "
            "from 0 within each layer"
        )


def _given(terms: Terms) -> str:
    words = {"layers": terms.layers, "heads": terms.heads}
    return " and ".join(f"{what}={picks.text}" for what, picks in words.items() if picks is not None)


def _there(stacks: dict[tuple[str, Shape], list[int]], records: Sequence[Record]) -> str:
    return ", ".join(f"stack {role!r} has {_size(records, members)}" for (role, _), members in stacks.items())


def _size(records: Sequence[Record], members: Sequence[int]) -> str:
    first = records[members[0]]
    return f"layers 0 to {len(members) - 1} of heads 0 to {(first.n_heads or first.attention.n_heads) - 1}"
