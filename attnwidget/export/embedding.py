"""The weights of a page that is saved: as many heads as fit, most useful first, a byte a weight."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.widget.codes import CodeType, encode, encode_sqrt
from attnwidget.widget.embed import seal
from attnwidget.widget.measures import as_shares, pooled_by
from attnwidget.widget.protocol import THUMBNAIL, TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from attnwidget.attention import AttentionCapture
    from attnwidget.export.shown import Shown
    from attnwidget.widget.parsing import Aggregate

_LEVEL = 9
_WEIGHTS = "the square root of each weight right to 1/256"
_LIFT = "their lift over uniform right to 0.02 %"
_MEASURE = "numbers right to 0.06 %, but for those next to 0"
_ROWS = 2
"""Queries looked at under each cell of the small picture of a long head."""
_LONG = 2**22
"""Pairs of a head from which its small picture is sampled."""
_MOST = 2**32
"""Pairs under the picture of a long head, or of many as one, from which it is sampled too."""


@dataclass(frozen=True)
class Head:
    """Where a head is; or many as one, where the page shows that."""

    stack: str
    batch: int
    layer: int
    head: int
    many: Aggregate | None = None


@dataclass(frozen=True)
class Embedded:
    """What a page holds.

    Attributes:
        data: the `embed` trait.
        full: heads with every weight.
        pooled: heads too long for that, as 512 x 512 cells.
        small: heads as small pictures alone.
        absent: heads of which nothing is there.
        n_weights: stored, of the full heads.
        precision: how right what is stored in full is.
        beside: what is stored besides heads: an aggregate. Or "".
        one: what has a picture of its own: "head", or "layer".
        made: what was made of the weights, in words.
    """

    data: bytes
    full: int
    pooled: int
    small: int
    absent: int
    n_weights: int
    precision: str
    beside: str = ""
    one: str = "head"
    made: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What there is and what is left out, as people read it."""
        total = self.full + self.pooled + self.small + self.absent
        parts = [
            f"{count} {what}"
            for count, what in (
                (self.full, f"in full, {self.precision}"),
                (self.pooled, f"pooled to {TILE} x {TILE} cells"),
                (self.small, f"as small pictures of {THUMBNAIL} x {THUMBNAIL} cells"),
                (self.absent, "left out for want of room"),
            )
            if count
        ]
        beside = f"beside {self.beside}, " if self.beside else ""
        kept = [f"Kept as they are: {'; '.join(self.made)}."] if self.made else []
        stored = f"Stored in this page, {beside}of {total} {self.one}s: {'; '.join(parts)}."
        return " ".join([stored, *kept, "More needs the notebook it was made in."])


def embed_page(shown: Shown, max_bytes: int, told: Callable[[int, int], None] | None = None) -> Embedded:
    """Pack what a view shows for a page, and then the heads around it, until `max_bytes` are used.

    Whole heads come first, those nearest to the head that is shown before others; where not all of them fit, the rest
    are small pictures, and where not even those do, they are left out. Of a view of lift all of them are lift.

    Args:
        shown: what the page opens on.
        max_bytes: the most that the result may have.
        told: called with how many heads are done, and how many there are.

    Returns:
        What is stored, and what is left out.
    """
    heads = list(_order(shown))
    small = [_small(shown, head) for head in heads[:1]]
    tiles: list[dict[str, Any]] = []
    bodies: list[bytes] = []
    used = offset = n_weights = 0
    counts = {"full": 0, "pooled": 0, "small": 0, "absent": 0}
    reserve = _cost(*small[0])  # what the small picture of a head takes, about
    whole, beside = True, ""
    for done, head in enumerate(heads):
        left = len(heads) - done - 1
        kept = None
        if whole:
            kept = _full(shown, head)
            # The first head is what the page is for; later ones leave room for the small pictures of the others.
            whole = used + _cost(*kept) + (left * reserve if done else 0) <= max_bytes
        kind = "full" if kept is not None and (kept[0]["height"], kept[0]["width"]) == _shape(shown, head) else "pooled"
        if not whole:
            kept, kind = _small(shown, head), "small"
        if kept is None or used + _cost(*kept) > max_bytes:
            kept, kind = None, "absent"
        if head.many is None:
            counts[kind] += 1
        elif kept is not None:
            beside = f"the {shown.head_words}"
        if kept is None:
            continue
        entry, body = kept
        tiles.append({**entry, "offset": offset})
        bodies.append(body)
        n_weights += len(body) // (2 if entry["dtype"] == "u16" else 1) if kind == "full" else 0
        offset += len(body)
        used += _cost(entry, body)
        if told is not None:
            told(done + 1, len(heads))
    return Embedded(
        seal(tiles, bodies, _LEVEL), **counts, n_weights=n_weights,
        precision={"weight": _WEIGHTS, "lift": _LIFT}.get(shown.kind, _MEASURE), beside=beside, made=shown.made_words,
        one=shown.one if len(shown.capture.stacks) == 1 else "head",
    )  # fmt: skip


def _cost(entry: dict[str, Any], body: bytes) -> int:
    """Bytes that a tile takes at most: compressed alone, with its entry."""
    return len(zlib.compress(str(entry).encode() + body, 1))


def _order(shown: Shown) -> Iterator[Head]:
    """What is shown, what is drawn with it, and then all heads: of the stack and example shown, then of the others."""
    stacks, many = shown.capture.stacks, shown.aggregate
    places = [(name, batch) for name, stack in stacks.items() for batch in range(stack.n_examples)]
    places.sort(key=lambda place: (place != (shown.stack, shown.batch), place[0] != shown.stack))
    if many is not None and len(shown.query_tokens) and len(shown.key_tokens):
        yield Head(shown.stack, shown.batch, shown.layer, shown.head, many)
    drawn = [] if many is not None else [(shown.layer, head) for head in shown.heads]
    for place, (name, batch) in enumerate(places):
        stack = stacks[name]
        if not (len(stack.query_tokens[batch]) and len(stack.key_tokens[batch])):
            continue
        first = [(shown.layer, shown.head), *drawn] if place == 0 else []
        heads = [(layer, head) for layer in range(stack.n_layers) for head in range(stack.n_heads)]
        heads.sort(key=lambda each: abs(each[0] - shown.layer) + abs(each[1] - shown.head))
        for layer, head in dict.fromkeys([*first, *heads]):
            yield Head(name, batch, layer, head)


def _shape(shown: Shown, head: Head) -> tuple[int, int]:
    stack = shown.capture.stacks[head.stack]
    return len(stack.query_tokens[head.batch]), len(stack.key_tokens[head.batch])


def _asked(shown: Shown, head: Head) -> tuple[AttentionCapture, int, int]:
    return (shown.source, head.layer, head.head) if head.many is None else shown.asked()


def _full(shown: Shown, head: Head) -> tuple[dict[str, Any], bytes]:
    """A head as it is, or pooled where it is longer than the page draws."""
    n_queries, n_keys = _shape(shown, head)
    pairs = n_queries * n_keys * (1 if head.many is None else head.many.count)
    if max(n_queries, n_keys) > TILE:
        return _tile(shown, head, TILE, "u16", None if pairs <= _MOST else 1)
    if shown.kind != "weight":  # most of it is far below its square root
        return _tile(shown, head, TILE, "u16", None)
    capture, layer, place = _asked(shown, head)
    weights = capture.weights(layer, place, batch=head.batch, stack=head.stack)
    allowed = capture.allowed(layer, place, batch=head.batch, stack=head.stack)
    codes = encode_sqrt(np.where(allowed, np.where(np.isfinite(weights), weights, np.inf), np.nan))
    lower = np.tri(n_queries, n_keys, n_keys - n_queries, dtype=np.bool_)
    triangle = bool((~allowed[~lower]).all()) and not lower.all()
    entry = _entry(shown, head, n_queries, n_keys, "sqrt", None)
    if triangle:
        entry["triangle"] = True
    return entry, (codes[lower] if triangle else codes).tobytes()


def _small(shown: Shown, head: Head) -> tuple[dict[str, Any], bytes]:
    n_queries, n_keys = _shape(shown, head)
    pairs = n_queries * n_keys * (1 if head.many is None else head.many.count)
    return _tile(shown, head, THUMBNAIL, "u8", _ROWS if pairs > _LONG else None)


def _tile(shown: Shown, head: Head, side: int, dtype: CodeType, rows: int | None) -> tuple[dict[str, Any], bytes]:
    n_queries, n_keys = _shape(shown, head)
    capture, layer, place = _asked(shown, head)
    reading = shown.capture.stacks[head.stack].reading
    tile = capture.tile(
        layer, place, height=min(side, n_queries), width=min(side, n_keys), rows=rows,
        reduce=pooled_by(reading), batch=head.batch, stack=head.stack,
    )  # fmt: skip
    entry = _entry(shown, head, tile.height, tile.width, dtype, tile.rows)
    return entry, encode(as_shares(tile.values, reading), dtype).tobytes()


def _entry(shown: Shown, head: Head, height: int, width: int, dtype: str, rows: int | None) -> dict[str, Any]:
    n_queries, n_keys = _shape(shown, head)
    entry = {
        "stack": head.stack, "batch": head.batch, "layer": head.layer, "head": head.head,
        "queries": [0, n_queries], "keys": [0, n_keys], "height": height, "width": width,
        "reduce": "max", "dtype": dtype, "rows": rows,
    }  # fmt: skip
    if shown.kind == "lift":
        entry["measure"] = shown.measure
    if head.many is not None:
        many = head.many
        entry["aggregate"] = {"reduce": many.reduce, "layers": list(many.layers), "heads": list(many.heads)}
    return entry
