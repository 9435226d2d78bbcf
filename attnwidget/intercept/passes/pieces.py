"""What one run adds to a layer: new rows, new keys, and where they belong in the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from attnwidget.attention import FactoredAttention, Mask
from attnwidget.attention.maskparts import Tail, compact, cut
from attnwidget.intercept.narrowing import rounded, rounding_of
from attnwidget.intercept.passes.marks import ROUNDING, apart_in_place, marks_of
from attnwidget.intercept.store import MEMORY

if TYPE_CHECKING:
    from attnwidget.attention import Attention, Probe
    from attnwidget.attention.protocol import Bools, Floats
    from attnwidget.intercept.keeping import Keeper, Lender
    from attnwidget.intercept.passes.runs import Run

    Span = tuple[int, int]
    Constants: TypeAlias = tuple[float, float | None, torch.Tensor | None]


@dataclass(frozen=True)
class Place:
    """Where a call's rows and keys belong.

    Attributes:
        rows: which of its rows are new, (start, stop).
        fresh: which of its columns are new keys.
        key: position of the first new key.
        offset: position of the key in its first column.
        used: columns that stand for keys; the rest of a static cache is not written yet.
    """

    rows: Span
    fresh: Span
    key: int
    offset: int
    used: int

    @property
    def n_rows(self) -> int:
        """New rows."""
        return self.rows[1] - self.rows[0]

    @property
    def n_keys(self) -> int:
        """New keys."""
        return self.fresh[1] - self.fresh[0]


@dataclass(eq=False)
class Piece:
    """What one run added.

    Attributes:
        run: which.
        row: of the whole, where its first row belongs; None where only the run as a whole knows.
        place: of its rows and keys.
        q: (B, H, n, d) new queries, or None where only weights are known.
        k: (B, Hkv, n', d) new keys.
        lse: (B, H, n), where a kernel gave it.
        weights: (B, H, n, columns) where only weights are known.
        mask: of the new rows over the columns that are used.
        probe: values of the new keys, and outputs of some of the new rows.
        whole: every key as this run saw it, where earlier ones were no longer what they had been.
        values: of the probe, likewise of every key.
        constants: scale, soft cap and sinks, where this piece is the first that has them.
    """

    run: Run
    row: int | None
    place: Place
    q: torch.Tensor | None
    k: torch.Tensor | None
    lse: torch.Tensor | None
    weights: Floats | None
    mask: Mask | Tail | None
    probe: Probe | None
    whole: torch.Tensor | None = None
    values: Floats | None = None
    constants: Constants | None = None


def first_piece(attention: Attention, run: Run) -> Piece:
    """A first call, as it is kept; weights are taken from it when another call follows, which mostly none does."""
    n, m = attention.n_queries, attention.n_keys
    place = Place((0, n), (0, m), 0, 0, m)
    if isinstance(attention, FactoredAttention):
        q, k, lse = attention.q, attention.k, attention.known_lse
        constants = attention.scale, attention.softcap, attention.sinks
        return Piece(run, 0, place, q, k, lse, None, attention.mask, attention.probe, constants=constants)
    return Piece(run, 0, place, None, None, None, None, attention.mask, attention.probe)


def later_piece(
    attention: Attention, place: Place, row: int | None, run: Run, keeper: Keeper, lender: Lender, *, whole: bool
) -> Piece:
    """What is new in a call whose tensors are only lent.

    Args:
        attention: the call.
        place: of its rows and keys.
        row: where its rows belong, if that is known.
        run: of the call.
        keeper: of the capture.
        lender: that the call was built with.
        whole: keep all keys, as this call saw them.

    Returns:
        Copies of what is new.
    """
    rows, fresh = slice(*place.rows), slice(*place.fresh)
    mask = run.part(attention.mask, place.rows, place.used)
    piece = Piece(run, row, place, None, None, None, None, mask, _probe(place, keeper, lender))
    if isinstance(attention, FactoredAttention):
        lse = attention.known_lse
        piece.q = keeper.keep_factor(attention.q[:, :, rows])
        piece.k = keeper.keep_factor(attention.k[:, :, fresh]) if place.n_keys else None
        rounding = rounding_of(attention.q, piece.q, *(() if piece.k is None else (attention.k, piece.k)))
        piece.probe = rounded(piece.probe, rounding)
        piece.lse = None if lse is None or rounding else keeper.keep(lse[:, :, rows])
        if whole:
            piece.whole = keeper.keep_factor(attention.k[:, :, : place.used])
            sinks = None if attention.sinks is None else keeper.keep(attention.sinks)
            piece.constants = attention.scale, attention.softcap, sinks
    else:
        size = attention.n_examples * attention.n_heads * place.n_rows * place.used
        keeper.store.count(np.dtype(np.float32).itemsize * size, MEMORY)
        piece.weights = weights_of(attention, place.rows, place.used)
        piece.mask = piece.mask or (implied_mask(piece.weights) if place.n_keys else None)
    if whole and lender.value is not None and lender.output is not None:
        probe = keeper.probe(lender.value[:, :, : place.used], lender.output[:, :, :1])
        piece.values = None if probe is None else probe.values
    return piece


def _probe(place: Place, keeper: Keeper, lender: Lender) -> Probe | None:
    if lender.value is None or lender.output is None:
        return None
    # Values of the new keys; where there are none, those of the first run hold, and one stands in.
    fresh = slice(*place.fresh) if place.n_keys else slice(0, 1)
    return keeper.probe(lender.value[:, :, fresh], lender.output[:, :, slice(*place.rows)])


def weights_of(attention: Attention, rows: Span, used: int) -> Floats:
    """Weights of some rows, (B, H, n, used), a copy."""
    heads = slice(0, attention.n_heads)
    return np.stack(
        [attention.weights(example, heads, slice(*rows), slice(0, used)) for example in range(attention.n_examples)]
    )


def implied_mask(weights: Floats) -> Mask | None:
    """Causal, where no row (of some before the last key) gives any weight to keys behind its own; else not known."""
    n, m = weights.shape[2:]
    return None if n == 1 or np.triu(weights, m - n + 1).any() else Mask(n, m, highest=m - n)


def part_of_mask(mask: Mask | None, rows: Span, used: int) -> Mask | Tail | None:
    """The mask of new rows over the columns in use, in its smallest form."""
    return compact(cut(mask, rows, (0, used)))


def sees(attention: Attention, rows: Span, keys: Span) -> bool:
    """Whether any of these rows may look at any of these keys; where no mask says so, whether any does."""
    heads = slice(0, attention.n_heads)
    question = attention.weights if attention.mask is None and attention.head_size is None else attention.allowed
    return (
        rows[0] < rows[1]
        and keys[0] < keys[1]
        and any(
            bool(question(example, heads, slice(*rows), slice(*keys)).any()) for example in range(attention.n_examples)
        )
    )


def looks_behind(piece: Piece, row: int, key: int) -> bool:
    """Whether rows of a piece before some row of the whole look at keys from some key on."""
    place, first = piece.place, key - piece.place.offset
    rows = min(place.n_rows, row - (piece.row or 0))
    if rows <= 0 or first >= place.used:
        return False
    if piece.weights is not None and piece.mask is None:
        return bool(piece.weights[:, :, :rows, max(first, 0) :].any())
    mask = piece.mask.whole() if isinstance(piece.mask, Tail) else piece.mask
    if mask is None:
        return True
    where = slice(0, 1 if mask.bits is None else mask.bits.shape[1]), slice(0, rows), slice(max(first, 0), place.used)
    examples = max([1, *(len(part) for part in (mask.keys, mask.rows, mask.bits, mask.ranges) if part is not None)])
    return any(bool(mask.allowed(example, *where).any()) for example in range(examples))


def visible_keys(attention: Attention) -> int:
    """Keys up to the last one that any row may look at: behind it, a static cache has room for those to come."""
    n, m = attention.n_queries, attention.n_keys
    low, high = min(n, m), m  # the answer lies between: no fewer keys than queries
    while low < high:
        middle = (low + high) // 2 if high < m else m - 1
        if sees(attention, (0, n), (middle, m)):
            low = middle + 1
        else:
            high = middle
    return low


def seen_keys(attention: Attention, rows: Span, count: int) -> Bools | None:
    """(B, count): which of the first keys any of these rows may look at; None for all of them."""
    if attention.mask is None:
        return None
    heads = slice(0, attention.n_heads)
    seen = np.zeros((attention.n_examples, count), np.bool_)
    for example in range(attention.n_examples):
        seen[example] = attention.allowed(example, heads, slice(*rows), slice(0, count)).any(axis=(0, 1))
    return seen


def constants_of(attention: Attention) -> tuple[object, ...]:
    """What else a layer's weights are made with."""
    if not isinstance(attention, FactoredAttention):
        return ()
    sinks = None if attention.sinks is None else tuple(attention.sinks.detach().float().cpu().tolist())
    return attention.scale, attention.softcap, sinks


def same_rows(attention: Attention, first: Attention) -> bool:
    """Whether the queries of a call are those of an earlier one."""
    if attention.n_queries != first.n_queries or attention.n_examples != first.n_examples:
        return False
    if isinstance(attention, FactoredAttention) and isinstance(first, FactoredAttention):
        far = apart_in_place(marks_of(attention.q), marks_of(first.q))
        return bool(far.max() <= max(ROUNDING, 2 * torch.finfo(first.q.dtype).eps) ** 2)
    everything = slice(0, first.n_heads), slice(0, first.n_queries), slice(0, first.n_keys)
    return all(
        np.allclose(attention.weights(example, *everything), first.weights(example, *everything), atol=ROUNDING)
        for example in range(first.n_examples)
    )
