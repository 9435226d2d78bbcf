"""From what a person writes (an index, a slice, a range) to checked positions."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attnwidget.attention.arrays import is_array, to_numpy

if TYPE_CHECKING:
    from attnwidget.attention.protocol import Index

Select: TypeAlias = slice | tuple[int, int] | Sequence[int] | NDArray[Any] | None
"""Positions along an axis: all (None), a slice, a range (start, stop), or a list of positions."""

_PAIR = 2


def check_index(what: str, value: object, count: int, where: str) -> int:
    """A position on an axis, or an IndexError that names the valid ones.

    Args:
        what: the axis, in the singular: "layer".
        value: what was passed.
        count: how many there are.
        where: whose they are: "stack 'self'".

    Returns:
        The position.
    """
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what} is {value!r}; expected an int from 0 to {count - 1}")
    try:
        index = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{what} is {value!r}; expected an int from 0 to {count - 1}") from None
    if not 0 <= index < count:
        raise IndexError(f"{what} {index} does not exist: {where} has {_plural(what)} 0 to {count - 1}")
    return index


def check_range(what: str, value: object, count: int, where: str) -> tuple[int, int]:
    """A non-empty range (start, stop) on an axis; all of it if None."""
    if value is None:
        return 0, count
    if isinstance(value, slice):
        checked = _slice(what, value, count, where)
        value = (checked.start, checked.stop)
    # A list is a list of positions elsewhere: as a range it would be mistaken.
    if not isinstance(value, tuple) or len(value) != _PAIR or not all(is_int(end) for end in value):
        raise TypeError(f"{_plural(what)} are {value!r}; expected a range (start, stop) or a slice")
    start, stop = (operator.index(end) for end in value)
    if not 0 <= start < stop <= count:
        raise IndexError(
            f"{_plural(what)} ({start}, {stop}) do not exist: {where} has {_plural(what)} 0 to {count - 1}; "
            f"expected 0 <= start < stop <= {count}"
        )
    return start, stop


def check_select(what: str, value: Select, count: int, where: str) -> Index:
    """Positions on an axis, checked."""
    if value is None:
        return slice(0, count)
    if isinstance(value, slice):
        return _slice(what, value, count, where)
    if isinstance(value, tuple):
        return slice(*check_range(what, value, count, where))
    positions = to_numpy(value) if is_array(value) else np.asarray(value)
    if positions.size == 0:
        positions = positions.astype(np.intp)
    if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
        raise TypeError(
            f"{_plural(what)} are {value!r}; expected a slice, a range (start, stop) or a list of ints"
            f"{'' if positions.ndim else f', for one {what} [{value}]'}"
        )
    bad = positions[(positions < 0) | (positions >= count)]
    if len(bad):
        raise IndexError(f"{what} {bad[0]} does not exist: {where} has {_plural(what)} 0 to {count - 1}")
    return positions.astype(np.intp)


def shifted(index: Index, offset: int) -> Index:
    """The same positions, counted from `offset` before the axis' start."""
    return slice(index.start + offset, index.stop + offset) if isinstance(index, slice) else index + offset


def _slice(what: str, value: slice, count: int, where: str) -> slice:
    if value.step not in (None, 1):
        raise IndexError(f"{_plural(what)} {value} have a step; expected step 1, or a list of positions")
    if any(end is not None and operator.index(end) < 0 for end in (value.start, value.stop)):
        raise IndexError(f"{_plural(what)} {value} count from the end; expected positions 0 to {count - 1}: {where}")
    start, stop, _ = value.indices(count)
    return slice(start, max(start, stop))


def check_size(what: str, size: object) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        ValueError: it is not.
    """
    if not is_int(size) or size < 1:  # type: ignore[operator]
        raise ValueError(f"{what} is {size!r}; expected an int of at least 1")


def is_int(value: object) -> bool:
    """Whether something is a whole number that can count or number things: True and False are not."""
    return hasattr(value, "__index__") and not isinstance(value, (bool, np.bool_))


def _plural(what: str) -> str:
    return "queries" if what == "query" else f"{what}s"
