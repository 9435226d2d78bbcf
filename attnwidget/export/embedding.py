"""The weights of a page that is saved: as many heads as fit, most useful first, a byte a weight."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.widget.codes import CodeType, encode, encode_sqrt
from attnwidget.widget.embed import seal
from attnwidget.widget.protocol import THUMBNAIL, TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from attnwidget.attention import AttentionCapture

_LEVEL = 9
_ROWS = 2
"""Queries looked at under each cell of the small picture of a long head."""
_LONG = 2**22
"""Pairs of a head from which its small picture is sampled."""


@dataclass(frozen=True)
class Head:
    """Where a head is."""

    stack: str
    batch: int
    layer: int
    head: int


@dataclass(frozen=True)
class Embedded:
    """What a page holds.

    Attributes:
        data: the `embed` trait.
        full: heads with every weight, each square root right to 1/256.
        pooled: heads too long for that, as 512 x 512 cells.
        small: heads as small pictures alone.
        absent: heads of which nothing is there.
        n_weights: stored, of the full heads.
    """

    data: bytes
    full: int
    pooled: int
    small: int
    absent: int
    n_weights: int

    @property
    def words(self) -> str:
        """What there is and what is left out, as people read it."""
        total = self.full + self.pooled + self.small + self.absent
        parts = [
            f"{count} {what}"
            for count, what in (
                (self.full, "in full, the square root of each weight right to 1/256"),
                (self.pooled, f"pooled to {TILE} x {TILE} cells"),
                (self.small, f"as small pictures of {THUMBNAIL} x {THUMBNAIL} cells"),
                (self.absent, "left out for want of room"),
            )
            if count
        ]
        return f"Stored in this page, of {total} heads: {'; '.join(parts)}. More needs the notebook it was made in."


def embed_page(
    capture: AttentionCapture, first: Head, max_bytes: int, told: Callable[[int, int], None] | None = None
) -> Embedded:
    """Pack the heads of a capture for a page, until `max_bytes` are used.

    Whole heads come first, those nearest to the head that is shown before others; where not all of them fit, the rest
    are small pictures, and where not even those do, they are left out.

    Args:
        capture: where the weights come from.
        first: the head that the page opens on.
        max_bytes: the most that the result may have.
        told: called with how many heads are done, and how many there are.

    Returns:
        What is stored, and what is left out.
    """
    heads = list(_nearest(capture, first))
    small = [_small(capture, head) for head in heads[:1]]
    tiles: list[dict[str, Any]] = []
    bodies: list[bytes] = []
    used = offset = n_weights = 0
    counts = {"full": 0, "pooled": 0, "small": 0, "absent": 0}
    reserve = _cost(*small[0])  # what the small picture of a head takes, about
    whole = True
    for done, head in enumerate(heads):
        left = len(heads) - done - 1
        kept = None
        if whole:
            kept = _full(capture, head)
            # The first head is what the page is for; later ones leave room for the small pictures of the others.
            whole = used + _cost(*kept) + (left * reserve if done else 0) <= max_bytes
        kind = "full" if kept is not None and kept[0]["dtype"] == "sqrt" else "pooled"
        if not whole:
            kept, kind = _small(capture, head), "small"
        if kept is None or used + _cost(*kept) > max_bytes:
            counts["absent"] += 1
            continue
        entry, body = kept
        tiles.append({**entry, "offset": offset})
        bodies.append(body)
        counts[kind] += 1
        n_weights += len(body) if kind == "full" else 0
        offset += len(body)
        used += _cost(entry, body)
        if told is not None:
            told(done + 1, len(heads))
    return Embedded(seal(tiles, bodies, _LEVEL), **counts, n_weights=n_weights)


def _cost(entry: dict[str, Any], body: bytes) -> int:
    """Bytes that a tile takes at most: compressed alone, with its entry."""
    return len(zlib.compress(str(entry).encode() + body, 1))


def _nearest(capture: AttentionCapture, first: Head) -> Iterator[Head]:
    """All heads: of the stack and example that are shown, then of the others; nearest first."""
    places = [(name, batch) for name, stack in capture.stacks.items() for batch in range(stack.n_examples)]
    places.sort(key=lambda place: (place != (first.stack, first.batch), place[0] != first.stack))
    for name, batch in places:
        stack = capture.stacks[name]
        if not (len(stack.query_tokens[batch]) and len(stack.key_tokens[batch])):
            continue
        heads = [Head(name, batch, layer, head) for layer in range(stack.n_layers) for head in range(stack.n_heads)]
        yield from sorted(heads, key=lambda each: abs(each.layer - first.layer) + abs(each.head - first.head))


def _shape(capture: AttentionCapture, head: Head) -> tuple[int, int]:
    stack = capture.stacks[head.stack]
    return len(stack.query_tokens[head.batch]), len(stack.key_tokens[head.batch])


def _full(capture: AttentionCapture, head: Head) -> tuple[dict[str, Any], bytes]:
    """A head as it is, or pooled where it is longer than the page draws."""
    n_queries, n_keys = _shape(capture, head)
    if max(n_queries, n_keys) > TILE:
        return _tile(capture, head, TILE, "u16", None)
    weights = capture.weights(head.layer, head.head, batch=head.batch, stack=head.stack)
    allowed = capture.allowed(head.layer, head.head, batch=head.batch, stack=head.stack)
    codes = encode_sqrt(np.where(allowed, np.where(np.isfinite(weights), weights, np.inf), np.nan))
    lower = np.tri(n_queries, n_keys, n_keys - n_queries, dtype=np.bool_)
    triangle = bool((~allowed[~lower]).all()) and not lower.all()
    entry = _entry(capture, head, n_queries, n_keys, "sqrt", None)
    if triangle:
        entry["triangle"] = True
    return entry, (codes[lower] if triangle else codes).tobytes()


def _small(capture: AttentionCapture, head: Head) -> tuple[dict[str, Any], bytes]:
    n_queries, n_keys = _shape(capture, head)
    return _tile(capture, head, THUMBNAIL, "u8", _ROWS if n_queries * n_keys > _LONG else None)


def _tile(
    capture: AttentionCapture, head: Head, side: int, dtype: CodeType, rows: int | None
) -> tuple[dict[str, Any], bytes]:
    n_queries, n_keys = _shape(capture, head)
    tile = capture.tile(
        head.layer, head.head, height=min(side, n_queries), width=min(side, n_keys), rows=rows,
        batch=head.batch, stack=head.stack,
    )  # fmt: skip
    entry = _entry(capture, head, tile.height, tile.width, dtype, tile.rows)
    return entry, encode(tile.values, dtype).tobytes()


def _entry(
    capture: AttentionCapture, head: Head, height: int, width: int, dtype: str, rows: int | None
) -> dict[str, Any]:
    n_queries, n_keys = _shape(capture, head)
    return {
        "stack": head.stack, "batch": head.batch, "layer": head.layer, "head": head.head,
        "queries": [0, n_queries], "keys": [0, n_keys], "height": height, "width": width,
        "reduce": "max", "dtype": dtype, "rows": rows,
    }  # fmt: skip
