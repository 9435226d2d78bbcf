"""Which layers, or heads, a person wants: counted from 0, or from the end."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing import TypeGuard

Given: TypeAlias = "int | slice | Iterable[int]"


@dataclass(frozen=True)
class Picks:
    """Some of so many, whose number may not be known yet.

    Attributes:
        given: one or more numbers, or a slice.

    Examples:
        >>> Picks.of("layers", slice(-2, None)).among(12), Picks.of("layers", [7, -1, 7]).among(12)
        ((10, 11), (7, 11))
    """

    given: slice | tuple[int, ...]

    @classmethod
    def of(cls, what: str, given: Given) -> Picks:
        """Read what a person passes.

        Args:
            what: what it is called: "layers", "heads".
            given: a number, a slice, a range or numbers.

        Raises:
            TypeError: none of these.
            ValueError: it picks nothing, whatever there is.
        """
        if isinstance(given, slice):
            ends = [None if end is None else _number(what, end) for end in (given.start, given.stop, given.step)]
            if ends[2] is not None and ends[2] <= 0:
                raise ValueError(f"{what} is {given}; expected a step of 1 or more: they are shown in their own order")
            return cls(slice(*ends))
        numbers = tuple(_number(what, one) for one in given) if _is_several(given) else (_number(what, given),)
        if not numbers:
            raise ValueError(f"{what} is empty; expected at least one number, or None for all of them")
        return cls(numbers)

    def among(self, count: int) -> tuple[int, ...]:
        """The numbers that are picked of so many, ascending, each once; those that do not exist are left out."""
        if isinstance(self.given, slice):
            return tuple(range(count)[self.given])
        found = {number + count if number < 0 else number for number in self.given}
        return tuple(sorted(number for number in found if 0 <= number < count))

    def missing(self, count: int) -> int | None:
        """The first given number that none of so many has; None if all exist."""
        if isinstance(self.given, slice):
            return None
        return next((number for number in self.given if not -count <= number < count), None)

    def may_hold(self, number: int, seen: int) -> bool:
        """Whether a number may be picked, where it is known only that there are at least so many."""
        least = max(seen, number + 1)
        if not isinstance(self.given, slice):
            return any(one == number or (one < 0 and number - one >= least) for one in self.given)
        start, stop, step = self.given.start or 0, self.given.stop, self.given.step or 1
        if stop is not None and stop < 0:
            least = max(least, number - stop + 1)
        counts = [least] if start >= 0 else [*range(least, least + step), *_from(max(least, -start), step)]
        return any(number in range(count)[self.given] for count in counts)

    @property
    def counts_from_end(self) -> bool:
        """Whether it takes the number of all to say which are picked."""
        if isinstance(self.given, slice):
            return (self.given.start or 0) < 0 or (self.given.stop or 0) < 0
        return any(number < 0 for number in self.given)

    @property
    def text(self) -> str:
        """As a person would write it: "[3, 7]", "2:", "-1"."""
        if not isinstance(self.given, slice):
            return str(self.given[0]) if len(self.given) == 1 else str(list(self.given))
        start, stop, step = (
            "" if end is None else str(end) for end in (self.given.start, self.given.stop, self.given.step)
        )
        return f"slice {start}:{stop}" + (f":{step}" if step else "")


def _from(count: int, step: int) -> range:
    """Counts from one on, until what a start from the end picks repeats itself."""
    return range(count, count + step + 1)


def _is_several(given: object) -> TypeGuard[Iterable[int]]:
    return isinstance(given, Iterable) and not isinstance(given, (str, bytes))


def _number(what: str, value: object) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{what} is or holds {type(value).__name__} {value!r:.60}; expected an int, a list of ints, a slice or a "
            "range, counted from 0 or from the end (-1)"
        ) from None
