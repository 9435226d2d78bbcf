"""A layer of runs that continue one another, as one attention: its pieces laid end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from attnwidget.attention import DenseAttention, FactoredAttention, FramedAttention, Probe
from attnwidget.attention.arrays import to_numpy
from attnwidget.attention.joining import StepMask, join_masks
from attnwidget.attention.maskparts import Tail, compact, cut, same_mask, take
from attnwidget.attention.protocol import positions_of
from attnwidget.attention.segmented import SegmentedAttention
from attnwidget.intercept.narrowing import kept
from attnwidget.intercept.passes.pieces import weights_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import Attention, Mask
    from attnwidget.attention.protocol import Floats
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.passes.lineage import Lineage
    from attnwidget.intercept.passes.pieces import Constants, Piece
    from attnwidget.intercept.passes.threads import Thread

_CHECKED = 24
"""Queries of each layer that can be checked against the output."""


class _Span(NamedTuple):
    """Rows, or keys, that a piece stands for: positions start to stop, the first of the piece's being at `origin`."""

    piece: Piece
    start: int
    stop: int
    origin: int

    @property
    def part(self) -> slice:
        """Of the piece."""
        return slice(self.start - self.origin, self.stop - self.origin)


@dataclass(eq=False)
class Stitcher:
    """Joins the layers of one module's runs. Layers that shared their masks share the joined one.

    Attributes:
        lineage: the sequences to show.
        keeper: of the capture.
    """

    lineage: Lineage
    keeper: Keeper

    def __post_init__(self) -> None:
        self._masks: dict[tuple[object, ...], tuple[Mask | None, list[Mask | Tail | None]]] = {}

    def join(self, thread: Thread) -> Attention:
        """One attention for a layer; its pieces are let go of.

        Args:
            thread: the layer's calls.

        Returns:
            Factors; in segments where keys changed on the way; weights where only they are known.

        Raises:
            ValueError: a pass did not call the layer, or one that changed keys was taken back.
        """
        rows = _spans(((piece, row, piece.place.n_rows) for piece, row in _placed(thread)), self.lineage.n_rows)
        held = {id(span.piece) for span in rows}
        if any(
            piece.whole is not None and id(piece) not in held for piece, row in _placed(thread) if row < rows[-1].stop
        ):
            raise ValueError("keys changed in a pass of which every token was taken back")
        growing = thread.kind == "growing"
        n_keys = thread.past + self.lineage.n_rows if growing else thread.pieces[0].place.used
        mask = self._mask(rows, n_keys)
        parts: list[FactoredAttention] = []
        starts = [place for place, span in enumerate(rows) if not place or span.piece.whole is not None]
        if rows[0].piece.q is None:
            # Of keys that changed, each row had values of its own.
            probe = None if thread.changed else self._probe(thread, rows, n_keys)
            joined: Attention = DenseAttention(self._weights(rows, n_keys), mask, probe)
            if self.keeper.terms.dtype is not None:
                joined = kept(joined, self.keeper)
        else:
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
                own = rows[start:stop]
                span = own[0].start, own[-1].stop
                probe = self._probe(thread, own, n_keys) if len(starts) == 1 else None
                keys = self._keys(thread, own[0].piece, n_keys)
                constants = _constants(thread, own[0].piece)
                parts.append(self._factors(own, keys, constants, cut(mask, span, (0, n_keys)), probe))
            joined = parts[0]
        if len(parts) > 1:
            joined = SegmentedAttention(parts, mask, self._probe(thread, rows[starts[-1] :], n_keys))
        thread.pieces.clear()
        return joined

    def _factors(
        self,
        rows: Sequence[_Span],
        keys: Sequence[_Span],
        constants: Constants,
        mask: Mask | None,
        probe: Probe | None,
    ) -> FactoredAttention:
        scale, softcap, sinks = constants
        q = [self._of(span.piece, span.piece.q)[:, :, span.part] for span in rows]
        # A piece that holds all keys, as its run saw them, stands at the beginning.
        held = [
            span.piece.k if span.piece.whole is None or place else span.piece.whole for place, span in enumerate(keys)
        ]
        k = [self._of(span.piece, part)[:, :, span.part] for span, part in zip(keys, held, strict=True)]
        lse = [self._of(span.piece, span.piece.lse)[:, :, span.part] for span in rows if span.piece.lse is not None]
        store = self.keeper.store
        with torch.inference_mode(False), torch.no_grad():
            return FactoredAttention(
                store.move(_laid(q)),
                store.move(_laid(k)),
                store.move(_laid(lse)) if len(lse) == len(rows) else None,
                scale=scale,
                softcap=softcap,
                sinks=sinks,
                mask=mask,
                probe=probe,
            )

    def _keys(self, thread: Thread, base: Piece, n_keys: int) -> list[_Span]:
        """Which piece holds which keys, as the rows from `base` on saw them."""
        if thread.kind != "growing":
            return [_Span(thread.pieces[0], 0, n_keys, 0)]
        later = thread.pieces[thread.pieces.index(base) :] if base.whole is not None else thread.pieces
        sizes = [(piece, piece.place.key, piece.place.n_keys) for piece in later]
        if base.whole is not None:
            sizes[0] = base, 0, base.place.used
        return _spans(sizes, n_keys)

    def _weights(self, rows: Sequence[_Span], n_keys: int) -> Floats:
        parts = [self._of(span.piece, span.piece.weights)[:, :, span.part] for span in rows]  # (F, H, n, columns)
        whole = np.zeros((*parts[0].shape[:2], rows[-1].stop, n_keys), np.float32)
        for span, part in zip(rows, parts, strict=True):
            columns = slice(span.piece.place.offset, min(span.piece.place.offset + part.shape[3], n_keys))
            whole[:, :, span.start : span.stop, columns] = part[..., : columns.stop - columns.start]
        return whole

    def _probe(self, thread: Thread, rows: Sequence[_Span], n_keys: int) -> Probe | None:
        """What to check some rows by, where every piece that has a say in them left something."""
        keys = self._keys(thread, rows[0].piece, n_keys)
        values, marks = [], []
        for place, span in enumerate(keys):
            probe = span.piece.probe
            held = to_numpy(probe.values) if probe is not None else None
            held = held if place or span.piece.whole is None else span.piece.values
            if held is None:
                return None
            values.append(self._of(span.piece, held)[:, :, span.part])
        # A pass may have met its values after they were repeated for groups of heads.
        n_heads = min(part.shape[1] for part in values)
        values = [part[:, :: part.shape[1] // n_heads] for part in values]
        if any(part.shape[1] != n_heads for part in values):
            return None
        for span in rows:
            probe = span.piece.probe
            if probe is None:
                return None
            checked = positions_of(probe.rows, span.piece.place.n_rows)
            mine = np.flatnonzero((checked >= span.part.start) & (checked < span.part.stop))
            outputs = self._of(span.piece, to_numpy(probe.outputs))
            marks += [(span.origin + int(checked[row]), outputs[:, :, row], probe) for row in mine]
        picked = [marks[place] for place in np.unique(np.linspace(0, len(marks) - 1, _CHECKED).astype(int))]
        return Probe(
            np.concatenate(values, axis=2),
            np.array([row for row, _, _ in picked]),
            np.stack([output for _, output, _ in picked], axis=2),
            max(probe.epsilon for _, _, probe in picked),
            max(probe.kept for _, _, probe in picked),
        )

    def _mask(self, rows: Sequence[_Span], n_keys: int) -> Mask | None:
        masks = [span.piece.mask for span in rows]
        key = (
            n_keys,
            *((id(mask), span.start, span.stop, span.piece.place) for mask, span in zip(masks, rows, strict=True)),
        )
        if key not in self._masks:
            steps = [self._step(span, n_keys) for span in rows]
            joined = join_masks(steps, n_rows=self.lineage.n_rows, n_keys=n_keys, ends=self.lineage.ends)
            # Some layers made masks of their own and the same: they are told from each other no longer.
            joined = next((other for other, _ in self._masks.values() if same_mask(joined, other)), joined)
            self._masks[key] = joined, masks  # kept, so that no other gets the place in memory that it is known by
        return self._masks[key][0]

    def _step(self, span: _Span, n_keys: int) -> StepMask:
        place, mask = span.piece.place, span.piece.mask
        columns = min(place.used, n_keys - place.offset)
        if (span.part.start, span.part.stop, columns) != (0, place.n_rows, place.used):
            whole = mask.whole() if isinstance(mask, Tail) else mask
            mask = compact(cut(whole, (span.part.start, span.part.stop), (0, columns)))
        examples = self.lineage.examples.get(span.piece.run.number)
        picked = mask if examples is None else take(mask, examples)
        return StepMask(span.start, span.stop - span.start, place.offset, columns, picked)

    def _of(self, piece: Piece, part: Any) -> Any:  # noqa: ANN401 - a tensor or an array, and the like comes out
        """The shown examples of something that a piece holds for all of its own."""
        examples = self.lineage.examples.get(piece.run.number)
        if examples is None or part.shape[0] <= examples.max():  # one for all examples
            return part
        return part[torch.from_numpy(examples).to(part.device) if isinstance(part, torch.Tensor) else examples]


def repeated(attention: Attention, examples: NDArray[np.intp]) -> Attention:
    """The attention of some examples, in this order, some of them more than once."""
    if isinstance(attention, FramedAttention):
        return _repeated_windows(attention, examples)
    masks = attention.mask if attention.mask is None else take(attention.mask, examples)
    mask = masks.whole() if isinstance(masks, Tail) else masks
    probe = attention.probe
    if probe is not None:
        values = probe.values if len(probe.values) < attention.n_examples else probe.values[examples]
        probe = Probe(values, probe.rows, probe.outputs[examples], probe.epsilon, probe.kept)
    if not isinstance(attention, FactoredAttention):
        rows = 0, attention.n_queries
        return DenseAttention(weights_of(attention, rows, attention.n_keys)[examples], mask, probe)
    index = torch.from_numpy(examples).to(attention.q.device)
    with torch.inference_mode(False), torch.no_grad():
        q, k, lse = (
            part if part is None or part.shape[0] < attention.n_examples else part[index]
            for part in (attention.q, attention.k, attention.known_lse)
        )
    assert q is not None  # noqa: S101 - for the type checker
    assert k is not None  # noqa: S101 - for the type checker
    return FactoredAttention(
        q, k, lse, scale=attention.scale, softcap=attention.softcap, sinks=attention.sinks, mask=mask, probe=probe
    )


def _repeated_windows(attention: FramedAttention, examples: NDArray[np.intp]) -> FramedAttention:
    query_places, key_places = attention.places
    owner = query_places.max(axis=1) // attention.n_queries  # of each window; -1 of those where no query stands
    windows = [np.flatnonzero(owner == example) for example in examples]
    shift = np.concatenate(
        [
            np.full(len(own), number - example)
            for number, (example, own) in enumerate(zip(examples, windows, strict=True))
        ]
    )
    own = np.concatenate(windows)
    queries, keys = query_places[own], key_places[own]
    return FramedAttention(
        repeated(attention.windows, own),
        np.where(queries >= 0, queries + shift[:, None] * attention.n_queries, -1),
        np.where(keys >= 0, keys + shift[:, None, None, None] * attention.n_keys, -1),
        n_examples=len(examples),
        n_queries=attention.n_queries,
        n_keys=attention.n_keys,
    )


def _constants(thread: Thread, piece: Piece) -> Constants:
    """Those of a piece, which writes them down only where they are others than before."""
    known = [one.constants for one in thread.pieces[: thread.pieces.index(piece) + 1] if one.constants is not None]
    return known[-1]


def _placed(thread: Thread) -> Iterator[tuple[Piece, int]]:
    """The pieces, and the rows where they begin."""
    stop = 0
    for piece in thread.pieces:
        run, row, n_rows = piece.run, piece.row, piece.place.n_rows
        if row is None:  # a layer that has no keys of its own to tell by stands where the others do
            row = run.row if n_rows == run.n_rows else run.first if n_rows == run.total_rows else stop
        row = stop if row is None else row
        yield piece, row
        stop = row + n_rows


def _spans(pieces: Iterable[tuple[Piece, int, int]], total: int) -> list[_Span]:
    """Which piece holds which positions up to a total: of two that hold the same, the later."""
    spans: list[_Span] = []
    for piece, start, count in pieces:
        while spans and spans[-1].stop > start:
            last = spans.pop()
            if last.start < start:
                spans.append(last._replace(stop=start))
        if count:
            spans.append(_Span(piece, start, start + count, start))
    spans = [span._replace(stop=min(span.stop, total)) for span in spans if span.start < total]
    held = [(span.start, span.stop) for span in spans]
    if [start for start, _ in held] + [total] != [0, *(stop for _, stop in held)]:
        raise ValueError(f"it was not called in all of them, and holds positions {held} of {total}")
    return spans


def _laid(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tensors end to end along their tokens, in a storage of their own."""
    if len(parts) > 1:
        return torch.cat(list(parts), dim=2)
    part = parts[0]
    own = part.untyped_storage().nbytes() == part.numel() * part.element_size()
    return part if own else part.clone(memory_format=torch.contiguous_format)
