"""Keys that take most of the mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.analysis.streaming import blocks, mass_received, sample
from attnwidget.attention.selection import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from attnwidget.attention import AttentionStack

SHARE, EVEN = 0.3, 4
"""The share of a head's mass from which a key is a sink; of few keys, so many times what an even head gives each."""
LONG, SAMPLED = 1024, 256
"""Queries up to which all rows are looked at unless a number of rows is given; rows looked at in longer heads."""
_CERTAIN = 0.9
_SHOWN = 8


@dataclass(frozen=True)
class Sink:
    """A key that takes most of the mass of some heads.

    Attributes:
        key: its position.
        token: its piece.
        share: of the mass of these heads, from 0 to 1, the mean over them.
        heads: (layer, head) of each.
    """

    key: int
    token: str
    share: float
    heads: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sinks:
    """Sinks of a stack, that of the most heads first.

    Attributes:
        found: one per key.
        n_heads: heads that were looked at.
        rows: queries looked at in each.
        n_queries: queries there are.
    """

    found: tuple[Sink, ...]
    n_heads: int
    rows: int
    n_queries: int

    @property
    def exact(self) -> bool:
        """All rows were looked at."""
        return self.rows == self.n_queries

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Sink]:
        return iter(self.found)

    def __getitem__(self, place: int) -> Sink:
        return self.found[place]

    def __repr__(self) -> str:
        looked = "all" if self.exact else f"{self.rows:,} of"
        lines = [f"{len(self.found)} sinks in {self.n_heads} heads, over {looked} {self.n_queries:,} queries"]
        lines += [
            f'  key {sink.key} "{sink.token}": {sink.share:.0%} of the mass of {len(sink.heads)} '
            f"head{'s' * (len(sink.heads) != 1)}"
            for sink in self.found[:_SHOWN]
        ]
        if len(self.found) > _SHOWN:
            lines.append(f"  ... and {len(self.found) - _SHOWN} more")
        return "\n".join(lines)


def least_share(n_keys: int) -> float:
    """The share of a head's mass that makes one of so many keys a sink: 0.3, more where there are few keys."""
    return max(SHARE, min(EVEN / max(1, n_keys), _CERTAIN))


def find_sinks(stack: AttentionStack, example: int, *, rows: int | None) -> Sinks:
    """Find the sinks of every head.

    Mass is added up over queries that may look at two keys at least, as in `find_patterns`: the share is its measure
    "sink", for every key.

    Args:
        stack: whose heads.
        example: of the batch.
        rows: look at no more than so many rows of each head; None: all of them, or 256 where there are more than 1024.

    Returns:
        One per key.

    Raises:
        ValueError: rows is not a whole number of at least 1.
    """
    if rows is not None:
        check_size("rows", rows)
    start, stop = stack.query_spans[example]
    picked = sample(stop - start, SAMPLED if rows is None and stop - start > LONG else rows)
    heads: dict[int, list[tuple[int, int]]] = {}
    shares: dict[int, list[float]] = {}
    for number in range(stack.n_layers):
        share = _shares(stack, number, slice(0, stack.n_heads), example, picked)
        for head, key in np.argwhere(share > least_share(share.shape[1])).tolist():
            heads.setdefault(key, []).append((number, head))
            shares.setdefault(key, []).append(float(share[head, key]))
    pieces = stack.key_tokens[example].pieces
    found = [Sink(key, pieces[key], float(np.mean(shares[key])), tuple(heads[key])) for key in heads]
    found.sort(key=lambda sink: (-len(sink.heads), sink.key))
    return Sinks(tuple(found), stack.n_layers * stack.n_heads, len(picked), stop - start)


def sinks_of_head(stack: AttentionStack, layer: int, head: int, *, example: int) -> list[tuple[int, float]]:
    """Sinks of one head, each with its share of the mass, the greatest first; of a long head, from 256 of its rows."""
    start, stop = stack.query_spans[example]
    picked = sample(stop - start, SAMPLED)
    share = _shares(stack, layer, slice(head, head + 1), example, picked)[0]
    found = [(key, float(share[key])) for key in np.flatnonzero(share > least_share(len(share))).tolist()]
    return sorted(found, key=lambda each: -each[1])


def _shares(
    stack: AttentionStack, layer: int, heads: slice, example: int, rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(h, Tk), of the mass of each head, what its keys receive from these rows."""
    start, (first, last) = stack.query_spans[example][0], stack.key_spans[example]
    received = np.zeros((heads.stop - heads.start, last - first))
    for block in blocks(rows, received.size):
        where = example, heads, block + start, slice(first, last)
        weights = np.nan_to_num(stack.layers[layer].weights(*where))
        received += mass_received(weights, stack.layers[layer].allowed(*where))
    mass = received.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = received / np.where(mass > 0, mass, np.nan)
    return shares
