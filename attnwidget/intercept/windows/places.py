"""The places of queries and keys in the sequences they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from attnwidget.intercept.windows.shadows import (
    PADDING,
    UNKNOWN,
    Base,
    LostError,
    base_of,
    codes,
    shadows,
    token_shape,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from attnwidget.intercept.windows.framing import Case
    from attnwidget.intercept.windows.portions import Portion
    from attnwidget.intercept.windows.shadows import Shadow

Channels: TypeAlias = tuple[int, ...]
_CHANNELS = ((-1,), (1,), (1, -1), (-2, -1))
"""Axes that count channels and heads and not tokens, as models have them, simplest first."""


@dataclass(frozen=True, eq=False, slots=True)
class Placing:
    """Where queries or keys stand in a sequence that the model had before it cut it.

    Attributes:
        hops: how many such sequences lie between.
        shape: lengths of the axes of that sequence that count tokens.
        tokens: (...) the number of each query's token, counted over these axes; -1 for padding.
    """

    hops: int
    shape: tuple[int, ...]
    tokens: NDArray[np.int64]


class Places:
    """Places worked out before: layers that cut alike share them.

    Attributes:
        cases: what was found for queries and keys, by their movements and shapes.
        portions: calls over a portion of a sequence, by the `id` of their attention, which they hold.
        given: how many examples the model may have been given: the lengths of the first axes of its arguments.
    """

    def __init__(self) -> None:
        self.cases: dict[tuple[int, ...], Case] = {}
        self.portions: dict[int, Portion] = {}
        self.given: set[int] = set()
        self._found: dict[tuple[int, bool], tuple[Placing, ...]] = {}
        self._before: dict[tuple[int, Channels], tuple[torch.Tensor, Channels] | None] = {}

    def placings(self, shadow: Shadow, *, heads: bool = True) -> tuple[Placing, ...]:
        """Every sequence that queries or keys can be placed in, the nearest first.

        Args:
            shadow: of queries or keys (..., d).
            heads: they are (E, H, T, d), and heads come from the same tokens.

        Returns:
            Nothing if they cannot be told to come from tokens of any.
        """
        key = shadows().key(shadow), heads
        if key not in self._found:
            self._found[key] = tuple(self._placings(shadow, heads=heads))
        return self._found[key]

    def _placings(self, shadow: Shadow, *, heads: bool) -> Iterator[Placing]:
        base = base_of(shadow)
        if base is None:
            return
        found = (_first(base, shadow, (1, -1)) if heads else None) or _first(base, shadow, (-1,))
        hops = 0
        while found is not None and base is not None:
            tokens, channels = found
            yield Placing(hops, token_shape(base.shape, channels), tokens.numpy())
            earlier = self._earlier(base, channels)
            found = None
            if earlier is not None:
                back, before = earlier
                found = torch.where(tokens < 0, tokens, back[tokens.clamp(min=0)]), before
            base, hops = source_after(base, 1), hops + 1

    def _earlier(self, base: Base, channels: Channels) -> tuple[torch.Tensor, Channels] | None:
        """(tokens of a base,) the number of each in the base before it, and the channels of that one."""
        if base.source is None:
            return None
        key = shadows().key(base), channels
        if key not in self._before:
            before = base_of(base.source)
            tried = () if before is None else _channels(before)
            found = ((back, earlier) for earlier in tried if (back := _back(base, earlier, channels)) is not None)
            self._before[key] = next(found, None)
        return self._before[key]


def source_after(shadow: Shadow, hops: int) -> Base | None:
    """The sequence that lies so many before."""
    base = base_of(shadow)
    for _ in range(hops):
        base = None if base is None or base.source is None else base_of(base.source)
    return base


def _back(base: Base, earlier: Channels, channels: Channels) -> torch.Tensor | None:
    """(tokens of a base,) the number of each in the base before; None if several make one."""
    assert base.source is not None  # noqa: S101 - the caller has looked; this is for the type checker
    if base.axis is None:
        found = _one_per_row(base.source, earlier, channels)
    else:
        rows = _one_per_row(base.source, earlier, (base.axis,))
        found = None if rows is None else _same_along(rows.unsqueeze(base.axis).expand(base.shape), channels)
    return None if found is None else found.reshape(-1)


def _first(base: Base, shadow: Shadow, axes: tuple[int, ...]) -> tuple[torch.Tensor, Channels] | None:
    """Tokens (...) of a tensor (..., d), the same along these axes, with the first channels that make them so."""
    for channels in _channels(base):
        rows = _one_per_row(shadow, channels, axes)
        if rows is not None:
            heads = len(axes) > 1
            return (rows.unsqueeze(1) if heads else rows), channels
    return None


def _channels(base: Base) -> Iterator[Channels]:
    """Sets of axes of a base that may count channels and heads."""
    count, seen = len(base.shape), set()
    # Of fewer axes first: a row of an image may pass for its channels, together with these.
    for channels in sorted(_CHANNELS, key=lambda channels: (len(channels), base.channel not in channels)):
        axes = tuple(sorted({axis % count for axis in channels}))
        if count - len(axes) >= len(axes) and axes not in seen:
            seen.add(axes)
            yield axes


def _one_per_row(shadow: Shadow, channels: Channels, axes: tuple[int, ...]) -> torch.Tensor | None:
    """The token that each row of a tensor comes from, if it comes from one; rows are seen along these axes."""
    try:
        numbers = codes(shadow, channels)
    except (LostError, RuntimeError, IndexError):
        return None
    rows = _same_along(numbers, axes)
    return None if rows is None or bool((rows == UNKNOWN).any()) else rows


def _same_along(numbers: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor | None:
    """Without axes along which there is one number, padding apart; None if there are several."""
    # One at a time, where nothing is stored along it, costs nothing.
    for axis in sorted((axis % numbers.ndim for axis in axes), reverse=True):
        if numbers.stride(axis) == 0 or numbers.shape[axis] == 1:
            numbers = numbers.select(axis, 0)
            continue
        high = numbers.amax(axis)
        other = (numbers != high.unsqueeze(axis)) & (numbers != PADDING)
        if other.any():
            return None
        numbers = high
    return numbers
