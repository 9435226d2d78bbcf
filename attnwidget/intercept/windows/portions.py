"""A module that calls attention once for each portion of a sequence: its calls, joined into one layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention import FactoredAttention, FramedAttention, Mask, Probe
from attnwidget.attention.protocol import positions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import Attention
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import Record
    from attnwidget.intercept.windows.shadows import Base

    Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Portion:
    """What of a sequence one call looked from and at.

    Attributes:
        attention: of the call.
        bases: the sequences its queries and keys were cut from.
        length: of the queries' sequence.
        n_keys: of the keys' sequence.
        rows: (Tq,) positions of the queries in it, the same in every example.
        columns: (Tk,) likewise of the keys.
    """

    attention: Attention
    bases: tuple[Base | None, Base | None]
    length: int
    n_keys: int
    rows: Numbers
    columns: Numbers


def positions(places: Numbers, length: int) -> Numbers | None:
    """(T,) positions, from places (B, T) in the flattened batch; None if examples differ or hold padding."""
    found = places - np.arange(len(places))[:, None] * length
    same = len(found) and (found >= 0).all() and (found < length).all() and (found == found[:1]).all()
    return found[0] if same else None


def joined(records: Sequence[Record], keeper: Keeper) -> list[Record]:
    """The same calls, with those of one module that together look from the whole of a sequence made one.

    Args:
        records: in the order they ran.
        keeper: of the run.
    """
    found: list[Record] = []
    start = 0
    while start < len(records):
        portions = _together(records[start:], keeper.places.portions)
        whole = _join(portions, keeper) if len(portions) > 1 else None
        if whole is None:
            found.append(records[start])
            start += 1
        else:
            earlier = sum(record.module is records[start].module for record in found)
            found.append(replace(records[start], attention=whole, call=earlier))
            start += len(portions)
    return found


def _together(records: Sequence[Record], known: dict[int, Portion]) -> list[Portion]:
    """Portions of the first records that make a whole; none if they do not."""
    first = known.get(id(records[0].attention))
    if first is None:
        return []
    seen = np.zeros(first.length, dtype=np.bool_)
    found = []
    for record in records:
        portion = known.get(id(record.attention))
        if portion is None or record.module is not records[0].module or portion.bases != first.bases:
            return []
        if seen[portion.rows].any():
            return []
        seen[portion.rows] = True
        found.append(portion)
        if seen.all():
            return found
    return []


def _join(portions: Sequence[Portion], keeper: Keeper) -> Attention | None:
    """One attention over the whole sequence; None where the factors of the calls do not make one."""
    calls = [portion.attention for portion in portions]
    factors = [call for call in calls if isinstance(call, FactoredAttention)]
    if len(factors) < len(calls) or len({(call.scale, call.softcap, call.k.shape[:2]) for call in factors}) > 1:
        return None
    if any(call.sinks is not None or call.mask is not None for call in factors):
        return None
    order = _key_order(portions)
    if order is None:
        return None
    slots = np.full(portions[0].n_keys, -1, dtype=np.int64)
    slots[order] = np.arange(len(order))
    stretches = [slots[portion.columns] for portion in portions]  # where each call's keys lie in that order
    keys = _keys(stretches, factors, len(order))
    if keys is None:
        return None
    rows = np.concatenate([portion.rows for portion in portions])
    lse = [part for call in factors if (part := call.known_lse) is not None]
    whole = FactoredAttention(
        keeper.keep(torch.cat([call.q for call in factors], dim=2)),
        keeper.keep(keys),
        torch.cat(lse, dim=2) if len(lse) == len(factors) else None,
        scale=factors[0].scale,
        softcap=factors[0].softcap,
        mask=_mask(portions, stretches, len(order)),
        probe=_probe(portions, stretches, len(order)),
    )
    in_order = np.array_equal(rows, np.arange(len(rows))) and np.array_equal(order, np.arange(portions[0].n_keys))
    if in_order:
        return whole
    numbers = np.arange(whole.n_examples)[:, None]
    return FramedAttention(
        whole,
        rows + numbers * len(rows),
        order + numbers * portions[0].n_keys,
        n_examples=whole.n_examples,
        n_queries=len(rows),
        n_keys=portions[0].n_keys,
    )


def _key_order(portions: Sequence[Portion]) -> Numbers | None:
    """Positions of keys in an order in which those of each call lie in a row; None if no simple one is found."""
    if all((np.diff(portion.columns) == 1).all() for portion in portions):
        return np.arange(portions[0].n_keys)
    found: list[Numbers] = []
    seen = np.zeros(portions[0].n_keys, dtype=np.bool_)
    for portion in portions:
        if any(np.array_equal(portion.columns, other) for other in found):
            continue
        if seen[portion.columns].any():
            return None
        seen[portion.columns] = True
        found.append(portion.columns)
    return np.concatenate(found)


def _keys(stretches: Sequence[Numbers], factors: Sequence[FactoredAttention], count: int) -> torch.Tensor | None:
    """(B, Hkv, count, d); None where two calls have other keys for the same tokens."""
    first = factors[0].k
    whole = first.new_zeros((*first.shape[:2], count, first.shape[3]))
    filled = np.zeros(count, dtype=np.bool_)
    for slots, call in zip(stretches, factors, strict=True):
        part = slice(int(slots[0]), int(slots[-1]) + 1)
        known = torch.from_numpy(np.flatnonzero(filled[part])).to(first.device)
        if len(known) and not torch.equal(whole[:, :, part][:, :, known], call.k[:, :, known]):
            return None
        whole[:, :, part] = call.k
        filled[part] = True
    return whole


def _mask(portions: Sequence[Portion], stretches: Sequence[Numbers], count: int) -> Mask | None:
    """Each query sees the keys of its own call."""
    if all(len(slots) == count for slots in stretches):
        return None
    ranges = [
        np.broadcast_to(np.array([slots[0], slots[-1] + 1], dtype=np.int32), (len(portion.rows), 1, 2))
        for portion, slots in zip(portions, stretches, strict=True)
    ]
    return Mask(portions[0].length, count, ranges=np.concatenate(ranges)[None, None])


def _probe(portions: Sequence[Portion], stretches: Sequence[Numbers], count: int) -> Probe | None:
    """What is left of values and outputs, over the whole."""
    found = [probe for portion in portions if (probe := portion.attention.probe) is not None]
    if len(found) < len(portions):
        return None
    first: Any = found[0].values
    values = first.new_zeros((*first.shape[:2], count))
    rows: list[NDArray[np.intp]] = []
    done = 0
    for portion, slots, probe in zip(portions, stretches, found, strict=True):
        values[:, :, int(slots[0]) : int(slots[-1]) + 1] = probe.values
        rows.append(done + positions_of(probe.rows, len(portion.rows)))
        done += len(portion.rows)
    outputs = torch.cat([probe.outputs for probe in found], dim=2)
    return Probe(values, np.concatenate(rows), outputs, found[0].epsilon, found[0].kept)


def consistent(records: Sequence[Record]) -> Iterator[Record]:
    """The same layers, with windows left as they ran where the model itself goes on in them.

    Where a model cuts its input into windows once and for all, a layer that can be traced to before that would stand
    apart from the others.
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
