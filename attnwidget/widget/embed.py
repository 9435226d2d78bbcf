"""The weights that travel inside the widget's state: for the first paint, and for a page without a kernel."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention import Comparison
from attnwidget.widget.codes import DTYPES, CodeType, decode, encode
from attnwidget.widget.measures import as_shares, measured, pooled_by
from attnwidget.widget.parsing import EXCESS
from attnwidget.widget.protocol import EMBED_BUDGET, EXACT_CELLS, PROTOCOL_VERSION, SAMPLE_ROWS, THUMBNAIL, TILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import AttentionCapture

MAX_PAIRS = 2**27
"""Weights looked at, at most, while packing, so that showing a capture of many long heads takes a fraction of a second.
Past it heads are sampled, and what does not fit even so the page asks for."""


@dataclass(frozen=True)
class _Wanted:
    """A head to pack: at most `side` cells a side, from `rows` queries under each, or all of them."""

    layer: int
    head: int
    side: int
    dtype: CodeType
    rows: int | None
    pairs: int


def pack(
    capture: AttentionCapture,
    *,
    stack: str,
    batch: int,
    layer: int,
    head: int,
    budget: int = EMBED_BUDGET,
    measure: str = "weight",
    haste: int = 1,
) -> bytes:
    """Pack the heads of one stack, most useful first, until the budget is used.

    Args:
        capture: where the weights come from.
        stack: the stack whose heads are packed.
        batch: the example of the batch.
        layer: the layer of the locked head, the first one packed at full detail.
        head: the locked head.
        budget: the most bytes the result may have.
        measure: "weight" or "lift".
        haste: so many times fewer weights are looked at, for a view that is waited for.

    Returns:
        The `embed` trait: a zlib stream of header and tiles, as the README beside this file says.
    """
    shown, most = capture.stacks[stack], MAX_PAIRS // haste
    n_queries, n_keys = len(shown.query_tokens[batch]), len(shown.key_tokens[batch])
    tiles: list[dict[str, Any]] = []
    bodies: list[bytes] = []
    offset = used = pairs = 0
    captures = {measure: measured(capture, measure)}
    for name, kind, wanted in _parts(capture, stack, measure, batch, layer, head, most):
        pairs += wanted.pairs
        if pairs > most:
            break
        if kind not in captures:
            captures[kind] = measured(capture, kind)
        reading = capture.stacks[name].reading
        pooled = captures[kind].tile(
            wanted.layer, wanted.head,
            height=min(wanted.side, n_queries), width=min(wanted.side, n_keys), rows=wanted.rows,
            reduce=pooled_by(reading), batch=batch, stack=name,
        )  # fmt: skip
        body = encode(as_shares(pooled.values, reading), wanted.dtype).tobytes()
        entry = {
            "stack": name, "batch": batch, "layer": wanted.layer, "head": wanted.head,
            "queries": [0, n_queries], "keys": [0, n_keys], "height": pooled.height, "width": pooled.width,
            "reduce": "max", "dtype": wanted.dtype, "rows": pooled.rows, "offset": offset,
        }  # fmt: skip
        if kind != "weight":
            entry["measure"] = kind
        # Each tile compressed alone, with its header entry, costs more than all of them together: an upper bound.
        used += len(zlib.compress(body + json.dumps(entry).encode(), 1))
        if used > budget:
            break
        offset += len(body)
        tiles.append(entry)
        bodies.append(body)
    return seal(tiles, bodies)


def seal(tiles: Sequence[dict[str, Any]], bodies: Iterable[bytes], level: int = 6) -> bytes:
    """The `embed` trait of these tiles: header entries, and their codes one after another."""
    header = json.dumps({"version": PROTOCOL_VERSION, "tiles": tiles}, separators=(",", ":")).encode()
    return zlib.compress(struct.pack("<I", len(header)) + header + b"".join(bodies), level)


def small_pictures(
    data: bytes, *, stack: str, batch: int, measure: str = "weight"
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """The small pictures of whole heads that `pack` put in, by (layer, head), in the shares that they travel as."""
    if not data:
        return {}
    raw = zlib.decompress(data)
    (length,) = struct.unpack_from("<I", raw)
    found: dict[tuple[int, int], NDArray[np.float64]] = {}
    for tile in json.loads(raw[4 : 4 + length])["tiles"]:
        where = tile["stack"], tile["batch"], tile.get("measure", "weight")
        if where == (stack, batch, measure) and max(tile["height"], tile["width"]) <= THUMBNAIL:
            count = tile["height"] * tile["width"]
            codes = np.frombuffer(raw, DTYPES[tile["dtype"]], count, 4 + length + tile["offset"])
            found[tile["layer"], tile["head"]] = decode(codes.reshape(tile["height"], tile["width"]))
    return found


def _parts(
    capture: AttentionCapture, stack: str, measure: str, batch: int, layer: int, head: int, most: int
) -> Iterator[tuple[str, str, _Wanted]]:
    """Heads to pack, each with its stack and measure.

    Of a comparison the locked head of the other side comes after the small pictures and, where the page cannot subtract
    pair by pair, what each side has more.
    """
    shown = capture.stacks[stack]
    shape = len(shown.query_tokens[batch]), len(shown.key_tokens[batch])
    beside: list[tuple[str, str]] = []
    if isinstance(capture, Comparison):
        beside = [(name, measure) for name in capture.names if name != stack]
        if max(shape) > TILE:
            beside += [(name, EXCESS) for name in capture.names]
    heads = list(_wanted((shown.n_layers, shown.n_heads), shape, layer, head, most))
    small = 1 + shown.n_layers * shown.n_heads
    yield from ((stack, measure, each) for each in heads[:small])
    yield from ((name, kind, heads[0]) for name, kind in beside)
    yield from ((stack, measure, each) for each in heads[small:])


def _wanted(counts: tuple[int, int], shape: tuple[int, int], layer: int, head: int, most: int) -> Iterator[_Wanted]:
    n_layers, n_heads = counts
    nearest = sorted(
        ((other_layer, other_head) for other_layer in range(n_layers) for other_head in range(n_heads)),
        key=lambda other: abs(other[0] - layer) + abs(other[1] - head),
    )
    whole = shape[0] * shape[1]
    # The locked head comes before the thumbnails: were the budget too small for both, the big picture matters more.
    locked = _rows(shape, TILE, SAMPLE_ROWS) if whole > EXACT_CELLS else None
    yield _Wanted(layer, head, TILE, "u16", locked, _pairs(shape, TILE, locked))
    # All thumbnails share half of the work, so that each of them is looked at alike.
    share = most // 2 // len(nearest)
    thumbnail = None
    if whole > share:
        thumbnail = _rows(shape, THUMBNAIL, max(1, share // (min(THUMBNAIL, shape[0]) * shape[1])))
    for other in nearest:
        yield _Wanted(*other, THUMBNAIL, "u8", thumbnail, _pairs(shape, THUMBNAIL, thumbnail))
    for other in nearest[1:] if locked is None else ():
        yield _Wanted(*other, TILE, "u16", None, whole)


def _rows(shape: tuple[int, int], side: int, rows: int) -> int | None:
    """So many rows under each cell, or None where there are no more."""
    return None if rows * side >= shape[0] else rows


def _pairs(shape: tuple[int, int], side: int, rows: int | None) -> int:
    return (shape[0] if rows is None else min(side, shape[0]) * rows) * shape[1]
