"""A module that calls attention once for each portion of a sequence: its calls, joined into one layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention import FactoredAttention, FramedAttention, Mask, Probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import Attention
    from attnwidget.attention.protocol import Index
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import Record
    from attnwidget.intercept.shadows import Base


@dataclass(frozen=True, eq=False, slots=True)
class Portion:
    """What of a sequence one call looked from and at.

    Attributes:
        attention: of the call.
        bases: the sequences its queries and keys were cut from.
        length: of the queries' sequence.
        n_keys: of the keys' sequence.
        rows: [start, stop) of the queries in it, the same in every example.
        columns: likewise of the keys.
    """

    attention: Attention
    bases: tuple[Base | None, Base | None]
    length: int
    n_keys: int
    rows: tuple[int, int]
    columns: tuple[int, int]


def stretch(places: NDArray[np.int64], length: int) -> tuple[int, int] | None:
    """[start, stop) of places (B, T) in the flattened batch, if each example holds the same tokens in a row."""
    count, size = places.shape
    if not size:
        return None
    start = int(places[0, 0])
    expected = start + np.arange(size) + np.arange(count)[:, None] * length
    return (start, start + size) if start >= 0 and np.array_equal(places, expected) else None


def joined(records: Sequence[Record], keeper: Keeper) -> list[Record]:
    """The same calls, with those of one module that together look from the whole of a sequence made one.

    Args:
        records: in the order they ran.
        keeper: of the run.
    """
    portions = keeper.places.portions
    found: list[Record] = []
    start = 0
    while start < len(records):
        stop, reached, first = start, 0, portions.get(id(records[start].attention))
        while first is not None and stop < len(records):
            portion = portions.get(id(records[stop].attention))
            same = portion is not None and records[stop].module is records[start].module
            if portion is None or not same or portion.bases != first.bases or portion.rows[0] != reached:
                break
            reached, stop = portion.rows[1], stop + 1
            if reached == first.length:
                break
        parts = [portions[id(record.attention)] for record in records[start:stop]]
        whole = _join(parts, keeper) if first is not None and reached == first.length and len(parts) > 1 else None
        if whole is None:
            found.append(records[start])
            start += 1
        else:
            earlier = sum(record.module is records[start].module for record in found)
            found.append(replace(records[start], attention=whole, call=earlier))
            start = stop
    return found


def _join(portions: Sequence[Portion], keeper: Keeper) -> FactoredAttention | None:
    """One attention over the whole sequence; None where the factors of the calls do not make one."""
    calls = [portion.attention for portion in portions]
    factors = [call for call in calls if isinstance(call, FactoredAttention)]
    if len(factors) < len(calls) or len({(call.scale, call.softcap, call.k.shape[:2]) for call in factors}) > 1:
        return None
    if any(call.sinks is not None or call.mask is not None for call in factors):
        return None
    keys = _keys(portions, factors)
    if keys is None:
        return None
    lse = [call.known_lse for call in factors]
    known = [part for part in lse if part is not None]
    return FactoredAttention(
        keeper.keep(torch.cat([call.q for call in factors], dim=2)),
        keeper.keep(keys),
        torch.cat(known, dim=2) if len(known) == len(lse) else None,
        scale=factors[0].scale,
        softcap=factors[0].softcap,
        mask=_mask(portions),
        probe=_probe(portions),
    )


def _keys(portions: Sequence[Portion], factors: Sequence[FactoredAttention]) -> torch.Tensor | None:
    """(B, Hkv, n_keys, d); None where two calls have other keys for the same tokens."""
    first = factors[0].k
    whole = first.new_zeros((*first.shape[:2], portions[0].n_keys, first.shape[3]))
    filled = np.zeros(portions[0].n_keys, dtype=np.bool_)
    for portion, call in zip(portions, factors, strict=True):
        part = slice(*portion.columns)
        known = torch.from_numpy(np.flatnonzero(filled[part])).to(first.device)
        if len(known) and not torch.equal(whole[:, :, part][:, :, known], call.k[:, :, known]):
            return None
        whole[:, :, part] = call.k
        filled[part] = True
    return whole


def _mask(portions: Sequence[Portion]) -> Mask | None:
    """Each query sees the keys of its own call."""
    length, n_keys = portions[0].length, portions[0].n_keys
    if all(portion.columns == (0, n_keys) for portion in portions):
        return None
    ranges = np.zeros((1, 1, length, 1, 2), dtype=np.int32)
    for portion in portions:
        ranges[:, :, slice(*portion.rows)] = portion.columns
    return Mask(length, n_keys, ranges=ranges)


def _probe(portions: Sequence[Portion]) -> Probe | None:
    """What is left of values and outputs, over the whole."""
    probes = [portion.attention.probe for portion in portions]
    found = [probe for probe in probes if probe is not None]
    if len(found) < len(portions):
        return None
    first = found[0].values
    values = first.new_zeros((*first.shape[:2], portions[0].n_keys))
    rows: list[NDArray[np.intp]] = []
    for portion, probe in zip(portions, found, strict=True):
        values[:, :, slice(*portion.columns)] = probe.values
        rows.append(portion.rows[0] + _numbers(probe.rows, portion.rows[1] - portion.rows[0]))
    outputs = torch.cat([probe.outputs for probe in found], dim=2)
    return Probe(values, np.concatenate(rows), outputs, found[0].epsilon)


def _numbers(index: Index, size: int) -> NDArray[np.intp]:
    return np.arange(*index.indices(size)) if isinstance(index, slice) else index


def consistent(records: Sequence[Record]) -> Iterator[Record]:
    """The same layers, with windows left as they ran where the model itself goes on in them.

    Where a model cuts its input into windows once and for all, the first layer alone would be found to be cut from
    something, and stand apart from the others.
    """
    plain = {
        (type(record.module), _shape(record.attention))
        for record in records
        if not isinstance(record.attention, FramedAttention)
    }
    for record in records:
        attention = record.attention
        if isinstance(attention, FramedAttention) and (type(record.module), _shape(attention.windows)) in plain:
            yield replace(record, attention=attention.windows)
        else:
            yield record


def _shape(attention: Attention) -> tuple[int, int, int, int]:
    return attention.n_examples, attention.n_heads, attention.n_queries, attention.n_keys
