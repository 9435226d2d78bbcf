"""Attention within windows, put into the frame of the sequence that the windows were cut from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention import FramedAttention
from attnwidget.intercept.places import Places, Placing, source_after
from attnwidget.intercept.shadows import shadows

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from attnwidget.attention import Attention
    from attnwidget.intercept.shadows import Base, Shadow

PADDED = (
    "windows are filled up with padding that is looked at like any token: rows sum to less than 1, and "
    "cap.sink_share says what is missing"
)


_PAIR = 2


@dataclass(frozen=True, eq=False, slots=True)
class _Frame:
    """A sequence, and where the tokens of windows stand in it.

    Attributes:
        n_examples: of the sequence.
        length: of it.
        examples: (E,) the example each window lies in.
        places: (E, T) in the flattened batch, -1 for padding.
    """

    n_examples: int
    length: int
    examples: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, placing: Placing, axis: int | None) -> _Frame | None:
        """With one axis that counts examples, or none; None where a window holds tokens of two examples."""
        shape = placing.shape
        if placing.tokens.ndim != len("eht") or (placing.tokens != placing.tokens[:, :1]).any():
            return None  # heads of other tokens
        tokens = placing.tokens[:, 0]  # (E, T)
        inside = tokens >= 0
        if axis is None:
            return cls(1, int(np.prod(shape)), np.zeros(len(tokens), dtype=np.int64), tokens)
        if len(shape) < _PAIR or axis >= len(shape):
            return None
        count, after = shape[axis], int(np.prod(shape[axis + 1 :]))
        example = tokens // after % count
        first = np.where(inside, example, -1).max(axis=1, initial=-1)  # (E,)
        if (inside & (example != first[:, None])).any():
            return None
        length = int(np.prod(shape)) // count
        position = tokens // (after * count) * after + tokens % after
        return cls(count, length, first, np.where(inside, example * length + position, -1))


def framed(
    attention: Attention, query: torch.Tensor, key: torch.Tensor, places: Places, notes: list[str]
) -> Attention:
    """The same attention, in the frame of the whole sequence if its examples are windows of one.

    Args:
        attention: whose examples may be windows.
        query: (E, H, Tq, d), what it was made from.
        key: (E, Hkv, Tk, d).
        places: worked out before in this run.
        notes: what the capture should tell is added here.

    Returns:
        What was given, where its examples are no windows or their places cannot be told.
    """
    known = shadows()
    pair = known.get(query), known.get(key)
    if pair[0] is None or pair[1] is None:
        return attention
    return frame_shadows(attention, pair[0], pair[1], places, notes)


def frame_shadows(
    attention: Attention, query: Shadow, key: Shadow, places: Places, notes: list[str]
) -> Attention:
    """`framed`, with the shadows of queries (E, H, Tq, d) and keys (E, Hkv, Tk, d)."""
    best: tuple[_Frame, _Frame] | None = None
    looked_at = [(source_after(key, placing.hops), placing) for placing in places.placings(key)]
    for placing in places.placings(query):
        found = _frames(placing, source_after(query, placing.hops), looked_at)
        if found is None or found[0].n_examples >= attention.n_examples or not _fits(attention, *found):
            continue
        if best is None or found[0].n_examples < best[0].n_examples:
            best = found
    if best is None:
        return attention
    rows, columns = best
    result = FramedAttention(
        attention,
        rows.places,
        columns.places,
        n_examples=rows.n_examples,
        n_queries=rows.length,
        n_keys=columns.length,
    )
    if result.counts_padding:
        notes.append(PADDED)
    return result


def _fits(attention: Attention, rows: _Frame, columns: _Frame) -> bool:
    """Whether windows have the shape of what was recorded, each query stands in one of them, and keys once in one."""
    count = attention.n_examples
    if (rows.places.shape, columns.places.shape) != ((count, attention.n_queries), (count, attention.n_keys)):
        return False
    inside = rows.places[rows.places >= 0]
    ordered = np.sort(columns.places, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    return len(np.unique(inside)) == len(inside) and not twice.any()


def _frames(
    placing: Placing, base: Base | None, looked_at: list[tuple[Base | None, Placing]]
) -> tuple[_Frame, _Frame] | None:
    """Frames of queries and of keys, which are the same sequence or two of as many examples."""
    same = [other for found, other in looked_at if found is base]
    for other in same or [other for _, other in looked_at]:
        for axis in (0, 1, None):
            rows, columns = _Frame.of(placing, axis), _Frame.of(other, axis)
            if rows is None or columns is None or rows.n_examples != columns.n_examples:
                continue
            known = (rows.examples >= 0) & (columns.examples >= 0)
            if (rows.examples[known] == columns.examples[known]).all():
                return rows, columns
    return None
