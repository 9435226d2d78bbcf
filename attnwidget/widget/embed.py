"""The weights that travel inside the widget's state: for the first paint, and for a page without a kernel."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

from attnwidget.widget.codes import CodeType, encode
from attnwidget.widget.protocol import EMBED_BUDGET, PROTOCOL_VERSION, THUMBNAIL, TILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.attention import AttentionCapture

MAX_CELLS = 2**26
"""Weights evaluated at most while packing. Past it the page asks for what it shows, so that showing a capture of many
heads takes a fraction of a second."""


def pack(
    capture: AttentionCapture, *, stack: str, batch: int, layer: int, head: int, budget: int = EMBED_BUDGET
) -> bytes:
    """Pack the heads of one stack, most useful first, until the budget is used.

    Args:
        capture: where the weights come from.
        stack: the stack whose heads are packed.
        batch: the example of the batch.
        layer: the layer of the locked head, the first one packed at full detail.
        head: the locked head.
        budget: the most bytes the result may have.

    Returns:
        The `embed` trait: a zlib stream of header and tiles, as the README beside this file says.
    """
    shown = capture.stacks[stack]
    n_queries, n_keys = len(shown.query_tokens[batch]), len(shown.key_tokens[batch])
    tiles: list[dict[str, Any]] = []
    bodies: list[bytes] = []
    offset = used = cells = 0
    for tile_layer, tile_head, side, dtype in _wanted(shown.n_layers, shown.n_heads, layer, head):
        cells += n_queries * n_keys
        if cells > MAX_CELLS:
            break
        pooled = capture.tile(
            tile_layer, tile_head, height=min(side, n_queries), width=min(side, n_keys), batch=batch, stack=stack
        )
        body = encode(pooled.values, dtype).tobytes()
        entry = {
            "stack": stack, "batch": batch, "layer": tile_layer, "head": tile_head,
            "queries": [0, n_queries], "keys": [0, n_keys],
            "height": pooled.values.shape[0], "width": pooled.values.shape[1],
            "reduce": "max", "dtype": dtype, "offset": offset,
        }  # fmt: skip
        # Each tile compressed alone, with its header entry, costs more than all of them together: an upper bound.
        used += len(zlib.compress(body + json.dumps(entry).encode(), 1))
        if used > budget:
            break
        offset += len(body)
        tiles.append(entry)
        bodies.append(body)
    header = json.dumps({"version": PROTOCOL_VERSION, "tiles": tiles}, separators=(",", ":")).encode()
    return zlib.compress(struct.pack("<I", len(header)) + header + b"".join(bodies), 6)


def _wanted(n_layers: int, n_heads: int, layer: int, head: int) -> Iterator[tuple[int, int, int, CodeType]]:
    nearest = sorted(
        ((other_layer, other_head) for other_layer in range(n_layers) for other_head in range(n_heads)),
        key=lambda other: abs(other[0] - layer) + abs(other[1] - head),
    )
    # The locked head comes before the thumbnails: were the budget too small for both, the big picture matters more.
    yield (layer, head, TILE, "u16")
    for other in nearest:
        yield (*other, THUMBNAIL, "u8")
    for other in nearest[1:]:
        yield (*other, TILE, "u16")
