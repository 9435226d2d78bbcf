"""Attention within windows, put into the frame of the sequence that the windows were cut from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention import FramedAttention
from attnwidget.intercept.calls import MODULE
from attnwidget.intercept.windows.movements import moved
from attnwidget.intercept.windows.places import Places, Placing, source_after
from attnwidget.intercept.windows.portions import Portion, positions
from attnwidget.intercept.windows.shadows import shadows

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from attnwidget.attention import Attention
    from attnwidget.intercept.windows.shadows import Base, Shadow

PADDED = (
    "windows are filled up with padding that is looked at like any token: rows sum to 1 less what goes there, "
    "1 - weights.sum(-1)"
)
APART = (
    f"rows of the weights of {MODULE} stand for other tokens in each head, as where heads pick their queries: they are "
    "numbered, in the order they ran"
)
_PAIR, _NDIM = 2, 4
_AXES = (0, None)
"""Of a sequence, the axis that may count examples; None where it has one example."""


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

    @property
    def is_all(self) -> bool:
        """Whether every token of the sequence stands somewhere, as often as any."""
        return int((self.places >= 0).sum()) == self.n_examples * self.length

    @property
    def is_in_order(self) -> bool:
        """Whether places are those of the sequence itself."""
        return np.array_equal(self.places, np.arange(self.n_examples * self.length).reshape(self.n_examples, -1))

    @property
    def is_once(self) -> bool:
        """Whether each token stands in one window."""
        inside = self.places[self.places >= 0]
        return len(np.unique(inside)) == len(inside)

    @classmethod
    def of(cls, placing: Placing, axis: int | None, places: Places) -> _Frame | None:
        """With one axis that counts examples, or none; None where a window holds tokens of two examples.

        Nor are as many as the examples that a model was given parts of a single one.
        """
        shape = placing.shape
        if placing.tokens.ndim != len("eht") or (placing.tokens != placing.tokens[:, :1]).any():
            return None  # heads of other tokens
        tokens = placing.tokens[:, 0]  # (E, T)
        inside = tokens >= 0
        if axis is None:
            is_batch = len(tokens) > 1 and len(tokens) in places.given
            if is_batch or not _varies_along_all(shape, tokens) or _are_runs(shape, tokens):
                return None
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


@dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """Frames of queries and keys.

    Attributes:
        rows: of queries.
        columns: of keys.
        hops: how many sequences lie between each and its frame.
        is_one: both are one sequence.
    """

    rows: _Frame
    columns: _Frame
    hops: tuple[int, int]
    is_one: bool

    @property
    def rank(self) -> tuple[int, bool]:
        """Lower is better: few examples, and one sequence for both."""
        return self.rows.n_examples, not self.is_one

    @property
    def is_whole(self) -> bool:
        """Whether all of both sequences is there."""
        return self.rows.is_all and self.columns.is_all

    @property
    def is_in_order(self) -> bool:
        """Whether examples and tokens are as they stand in their sequences."""
        return self.rows.is_in_order and self.columns.is_in_order


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """What was found for queries and keys that were moved in one way.

    Attributes:
        frame: they are windows, and this is where they stand.
        portion: they come from a sequence with as many examples.
        reason: why they are shown as windows, though they were cut from a sequence.
    """

    frame: FramedAttention | None = None
    portion: Pair | None = None
    reason: str | None = None


def _varies_along_all(shape: tuple[int, ...], tokens: NDArray[np.int64]) -> bool:
    """Whether windows hold tokens of several places along each axis: along an axis of examples they would not."""
    first = tokens.max(axis=1, keepdims=True, initial=0)
    step = 1
    for size in reversed(shape):
        moves = (tokens >= 0) & (tokens // step % size != first // step % size)
        if size > 1 and not moves.any():
            return False
        step *= size
    return True


def _are_runs(shape: tuple[int, ...], tokens: NDArray[np.int64]) -> bool:
    """Whether windows are runs along the first of several axes: then examples, cut into these before, are whole again.

    As frames of videos, (B * frames, T), that are put together, (B, frames * T).
    """
    is_all = len(shape) > 1 and tokens.size == np.prod(shape)
    return is_all and np.array_equal(tokens, np.arange(tokens.size).reshape(tokens.shape))


def _is_uncut(placing: Placing) -> bool:
    """Whether windows are parts of the sequence as its own axes have them: then it has been cut before."""
    tokens = placing.tokens[:, 0]
    tail = 1
    for size in reversed(placing.shape[1:]):
        if tail >= tokens.shape[1]:
            break
        tail *= size
    whole = np.arange(tokens.size).reshape(tokens.shape)
    return len(placing.shape) > 1 and tail == tokens.shape[1] and np.array_equal(tokens, whole)


def _cut(placed: tuple[Placing, ...]) -> tuple[Placing, ...]:
    """Sequences from before the windows were cut: one after which windows were whole is another shape of them."""
    whole = [number for number, placing in enumerate(placed) if _is_uncut(placing)]
    return placed[whole[-1] + 1 :] if whole else placed


def framed(attention: Attention, query: torch.Tensor, key: torch.Tensor, places: Places, notes: list[str]) -> Attention:
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
    if query.ndim != _NDIM:
        return attention
    return frame_shadows(attention, known.get(query), known.get(key), places, notes)


def framed_rows(
    attention: Attention, query: torch.Tensor, key: torch.Tensor, places: Places, notes: list[str]
) -> Attention:
    """`framed`, from what queries and keys are projected from, (Tq, E, C) and (Tk, E, C)."""
    known = shadows()
    pair = [
        moved((part.shape[1], 1, part.shape[0], part.shape[2]), _examples_first, (), shadow)
        if part.ndim == len("tec") and (shadow := known.get(part)) is not None
        else None
        for part in (query, key)
    ]
    return frame_shadows(attention, pair[0], pair[1], places, notes)


def _examples_first(codes: torch.Tensor) -> torch.Tensor:
    return codes.transpose(0, 1).unsqueeze(1)


def frame_shadows(
    attention: Attention, query: Shadow | None, key: Shadow | None, places: Places, notes: list[str]
) -> Attention:
    """`framed`, with the shadows of queries (E, H, Tq, d) and keys (E, Hkv, Tk, d)."""
    if query is None or key is None:
        cut = None if key is None else _cut_from(places, key, attention.n_examples, attention.n_keys)
        if cut is not None:
            notes.append(_told(attention, cut, "their queries are no tokens of that sequence"))
        return attention
    shape = attention.n_examples, attention.n_queries, attention.n_keys
    # Layers that cut alike differ in nothing that is worked out here.
    alike = shadows().key(query), shadows().key(key), *shape
    case = places.cases.get(alike)
    if case is None:
        case = places.cases[alike] = _case(attention, query, key, places)
    if case.frame is not None:
        result = case.frame.around(attention)
        if result.counts_padding:
            notes.append(PADDED)
        return result
    if case.reason is not None:
        notes.append(case.reason)
    if case.portion is not None:
        bases = source_after(query, case.portion.hops[0]), source_after(key, case.portion.hops[1])
        _note_portion(attention, case.portion, bases, places)
    return attention


def _case(attention: Attention, query: Shadow, key: Shadow, places: Places) -> Case:
    placed = places.placings(query)
    sources = [(source_after(key, placing.hops), placing) for placing in places.placings(key)]
    best: Pair | None = None
    for placing in _cut(placed):
        found = _pair(placing, source_after(query, placing.hops), sources, attention, places)
        # The farthest, which other layers come from too.
        if found is not None and (best is None or found.rank <= best.rank):
            best = found
    if best is None:
        return Case(reason=_why_not(query, attention, places))
    if best.rows.n_examples >= attention.n_examples and not best.is_whole:
        return Case(portion=best)
    if best.is_in_order:
        return Case()
    rows, columns = best.rows, best.columns
    frame = FramedAttention(
        attention,
        rows.places,
        columns.places,
        n_examples=rows.n_examples,
        n_queries=rows.length,
        n_keys=columns.length,
    )
    return Case(frame)


def _pair(
    placing: Placing,
    base: Base | None,
    sources: list[tuple[Base | None, Placing]],
    attention: Attention,
    places: Places,
) -> Pair | None:
    """Frames of queries and of keys, which are the same sequence or two of as many examples."""
    same = [(found, other) for found, other in sources if found is base]
    for _, other in same or sources:
        for axis in _AXES:
            rows, columns = _Frame.of(placing, axis, places), _Frame.of(other, axis, places)
            if rows is None or columns is None or rows.n_examples != columns.n_examples:
                continue
            if not _fits(attention, rows, columns):
                continue
            known = (rows.examples >= 0) & (columns.examples >= 0)
            agree = (rows.examples[known] == columns.examples[known]).all()
            if agree and (same or not _is_uncut(other)):
                return Pair(rows, columns, (placing.hops, other.hops), is_one=bool(same))
    return None


def _fits(attention: Attention, rows: _Frame, columns: _Frame) -> bool:
    """Whether windows have the shape of what was recorded, each query stands in one of them, and keys once in one."""
    count = attention.n_examples
    if (rows.places.shape, columns.places.shape) != ((count, attention.n_queries), (count, attention.n_keys)):
        return False
    ordered = np.sort(columns.places, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    return rows.is_once and not twice.any()


def _note_portion(attention: Attention, pair: Pair, bases: tuple[Base | None, Base | None], places: Places) -> None:
    """Write down that a call looked from a portion of its sequence: others may look from the rest."""
    lengths = pair.rows.length, pair.columns.length
    rows, columns = positions(pair.rows.places, lengths[0]), positions(pair.columns.places, lengths[1])
    if rows is not None and columns is not None and len(rows) < lengths[0]:
        places.portions[id(attention)] = Portion(attention, bases, *lengths, rows, columns)


def _why_not(query: Shadow, attention: Attention, places: Places) -> str | None:
    """Why windows are shown one by one, or rows are numbered; None where nothing says that examples are windows."""
    placed = places.placings(query)
    if placed and _are_picked(placed[0].tokens):
        return APART
    cut = _cut_from(places, query, attention.n_examples, attention.n_queries)
    if cut is None:
        return None
    why = "what they look at does not all come from that sequence" if cut.is_once else "some tokens stand in several"
    return _told(attention, cut, why)


def _are_picked(tokens: NDArray[np.int64]) -> bool:
    """Whether heads (E, H, T) have other tokens each, of the same ones: where these are none of others, heads count."""
    apart = (tokens != tokens[:, :1]).any()
    return bool(apart) and any(np.intersect1d(heads[0], head).size for heads in tokens for head in heads[1:])


def _cut_from(places: Places, shadow: Shadow, count: int, size: int) -> _Frame | None:
    """The sequence that so many windows of this size were cut from, as parts of its examples; None if they were not."""
    for placing in _cut(places.placings(shadow)):
        found = next((frame for axis in _AXES if (frame := _Frame.of(placing, axis, places)) is not None), None)
        if found is None or found.places.shape != (count, size) or found.n_examples >= count:
            continue
        if ((found.places >= 0).sum(axis=1) < found.length).all():  # else the same example several times
            return found
    return None


def tells_of(note: str, count: int) -> bool:
    """Whether a note says that so many examples are windows of a sequence, shown one by one."""
    return note.startswith(f"{count} windows of ")


def _told(attention: Attention, cut: _Frame, why: str) -> str:
    return (
        f"{attention.n_examples} windows of {attention.n_queries} x {attention.n_keys} tokens were cut from a sequence "
        f"of {cut.length}, and are shown one by one: {why}"
    )
