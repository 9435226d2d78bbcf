"""A softmax written by hand within windows: which axes count windows, and where their tokens stand in the sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch

from attnwidget.intercept.byhand.axes import Axis, Part, align, leaves
from attnwidget.intercept.windows.framing import frame_shadows
from attnwidget.intercept.windows.shadows import Moved, base_of, shadows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Attention
    from attnwidget.intercept.byhand.axes import Atom
    from attnwidget.intercept.byhand.trails import Scores
    from attnwidget.intercept.windows.places import Places

Frame: TypeAlias = tuple[Axis, Axis, Axis, Axis]


class _Alignment:
    """`align`, equal to others that do the same."""

    def __init__(self, axes: Sequence[Axis], groups: Sequence[Axis]) -> None:
        self.axes, self.groups = tuple(axes), tuple(groups)
        names: dict[int, int] = {}

        def named(atom: Atom) -> tuple[object, ...]:
            source = atom.source
            cut = None if source is None else (named(source[0]), *source[1:])
            return names.setdefault(id(atom), len(names)), atom.size, cut

        self._key = tuple(
            tuple(tuple(named(atom) for atom in leaves(axis)) for axis in part) for part in (axes, groups)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alignment) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        found = align(Part.of(codes, self.axes), self.groups)
        assert found is not None  # noqa: S101 - it was made once; this is for the type checker
        return found


def with_windows(scores: Scores, frame: Frame, places: Places) -> tuple[Frame, bool]:
    """The same axes, with those that count windows moved from heads to examples, and heads out of examples.

    An axis along which queries and keys come from other tokens counts windows or examples; one along which both come
    from the same tokens counts heads. That is read off where they were cut from a sequence; where it is not known, and
    along an axis where they differ (queries picked by each head), what is given is kept.

    Returns:
        The axes, and whether that was known.
    """
    leading = leaves(frame[0]) + leaves(frame[1])
    keys = _moves(scores, leading, frame[3], frame, places, keys=True)
    if keys is None or not any(keys):  # queries alone may have been picked by each head
        return frame, False
    queries = _moves(scores, leading, frame[2], frame, places, keys=False) or keys
    moving = [
        key if key == query else number < len(leaves(frame[0]))
        for number, (key, query) in enumerate(zip(keys, queries, strict=True))
    ]
    examples = tuple(atom for atom, moves in zip(leading, moving, strict=True) if moves)
    heads = tuple(atom for atom, moves in zip(leading, moving, strict=True) if not moves)
    return (examples, heads, *frame[2:]), True


def _moves(scores: Scores, leading: Axis, rows: Axis, frame: Frame, places: Places, *, keys: bool) -> list[bool] | None:
    """Along which of the leading axes queries, or keys, come from other tokens; None where it cannot be told."""
    shadow = _query_shadow(scores, (*((atom,) for atom in leading), rows, scores.summed), frame, keys=keys)
    found = places.placings(shadow, heads=False) if shadow is not None else ()
    if len(found) <= 1 or len(leading) != found[-1].tokens.ndim - 1:
        return None
    tokens = found[-1].tokens
    return [bool((tokens != tokens.take([0], axis=axis)).any()) for axis in range(len(leading))]


def framed_by_hand(attention: Attention, scores: Scores, frame: Frame, places: Places, notes: list[str]) -> Attention:
    """The same attention, in the frame of the whole sequence if its examples are windows of one."""
    batch, heads, rows, keys = frame
    query = _query_shadow(scores, (batch, heads, rows, scores.summed), frame)
    key = _query_shadow(scores, (batch, heads, keys, scores.summed), frame, keys=True)
    return frame_shadows(attention, query, key, places, notes)


def _query_shadow(scores: Scores, groups: tuple[Axis, ...], frame: Frame, *, keys: bool = False) -> Moved | None:
    """The shadow of queries, or keys, with these axes."""
    if scores.product is None or not shadows().captures:
        return None
    wanted = {id(atom) for atom in leaves(frame[3 if keys else 2])}
    for part in scores.product:
        shadow = shadows().get(part.tensor)
        base = None if shadow is None else base_of(shadow)
        here = {id(atom) for axis in part.axes for atom in leaves(axis)}
        if shadow is None or base is None or not wanted & here:
            continue
        blank = Part.of(torch.empty(part.tensor.shape, device="meta"), part.axes)
        aligned = align(blank, groups)
        if aligned is not None:
            return Moved(tuple(aligned.shape), base, _Alignment(part.axes, groups), (), (shadow,))
    return None
