"""Answers what the page asks of one capture.

Every message gets one answer; a malformed one gets an error and changes nothing.
"""

from __future__ import annotations

import threading
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache

from attnwidget.widget.codes import encode
from attnwidget.widget.parsing import (
    MARGINAL_ROWS,
    MAX_REFINED_CELLS,
    Aggregate,
    BlockRequest,
    RequestError,
    TileRequest,
    check_size,
    integer,
    mapping,
    parse_marginals,
    parse_refine,
    parse_tiles,
    parse_values,
)
from attnwidget.widget.tilecache import Reply, TileCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from attnwidget.attention import AttentionCapture, Refinement, Tile

NOT_A_NUMBER = -1
"""What `values` sends for a weight that an overflow in the model left without one; NaN there means masked."""
SLICE = 0.1
"""Seconds of work on a tile that is refined, in one message."""
_AGGREGATES = 8
"""Captures of many heads as one that are kept: they hold next to nothing."""
_BEGUN_CELLS = 4 * MAX_REFINED_CELLS
"""Of tiles that were begun and are kept between messages."""


class Answerer:
    """Answers the messages of one view, and keeps what it may ask for again.

    Messages may come on any thread; they are answered one at a time.

    Args:
        capture: what is asked about.
    """

    def __init__(self, capture: AttentionCapture) -> None:
        self._capture: AttentionCapture | None = capture
        self._lock = threading.Lock()
        self._cache = TileCache()
        self._begun: LRUCache[TileRequest, Refinement] = LRUCache(_BEGUN_CELLS, getsizeof=attrgetter("cells"))
        self._aggregates: LRUCache[Aggregate, AttentionCapture] = LRUCache(_AGGREGATES)
        self._methods: dict[str, Callable[[AttentionCapture, Mapping[str, Any]], Reply]] = {
            "tiles": self._tiles,
            "values": self._values,
            "refine": self._refine,
            "marginals": self._marginals,
        }

    def answer(self, message: object) -> Reply:
        """Answer one message of the page.

        Args:
            message: `{"id": int, "method": str, "params": {...}}`, not trusted to be that.

        Returns:
            `{"id", "ok"}` with buffers, or `{"id", "error": {"code", "message"}}`. Never raises for what the message
            holds.
        """
        request_id: int | None = None
        try:
            request = mapping(message, "the message")
            request_id = integer(request, "id")
            method = request.get("method")
            if not isinstance(method, str) or method not in self._methods:
                raise RequestError("invalid", f"unknown method {method!r}: expected one of {', '.join(self._methods)}")
            params = mapping(request.get("params"), "'params'")
            with self._lock:
                if self._capture is not None and self._capture.closed:  # by the person, not by the view
                    self._let_go()
                if self._capture is None:
                    raise RequestError("closed", "the capture behind this view has been closed: run the cell again")
                reply = self._methods[method](self._capture, params)
        except RequestError as error:
            return Reply({"id": request_id, "error": {"code": error.code, "message": str(error)}})
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the page must hear of it
            text = f"{type(error).__name__}: {error}"
            return Reply({"id": request_id, "error": {"code": "failed", "message": text}})
        return Reply({"id": request_id, "ok": reply.content}, reply.buffers)

    def close(self) -> None:
        """Let go of the capture, and of all that came from it."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._capture = None
        self._cache.clear()
        self._begun.clear()
        self._aggregates.clear()

    def _asked(self, capture: AttentionCapture, block: BlockRequest) -> AttentionCapture:
        """The capture itself, or many of its heads as one."""
        wanted = block.aggregate
        if wanted is None:
            return capture
        made: AttentionCapture | None = self._aggregates.get(wanted)
        if made is None:
            made = capture.aggregate(wanted.reduce, layers=wanted.layers, heads=wanted.heads, stack=wanted.stack)
            self._aggregates[wanted] = made
        return made

    def _tiles(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_tiles(capture, params)
        check_size(sum(tile.n_bytes for tile in wanted))
        replies = [self._tile(capture, tile) for tile in wanted]
        return Reply(
            {"tiles": [reply.content for reply in replies]}, [body for reply in replies for body in reply.buffers]
        )

    def _tile(self, capture: AttentionCapture, wanted: TileRequest) -> Reply:
        # What is known exactly answers whoever would be content with a sample.
        known = self._cache.get(wanted.exact) or self._cache.get(wanted)
        return known or self._kept(wanted, self._asked(capture, wanted.block).tile(**wanted.arguments))

    def _refine(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_refine(capture, params)
        check_size(wanted.n_bytes)
        known = self._cache.get(wanted)
        if known is None:
            work = self._begun.get(wanted)
            if work is None:
                work = self._asked(capture, wanted.block).refine(**wanted.arguments)
                self._begun[wanted] = work
            if not work.step(SLICE) or work.tile is None:
                return Reply({"done": work.done})
            del self._begun[wanted]
            known = self._kept(wanted, work.tile)
        return Reply({"done": 1, "tile": known.content}, known.buffers)

    def _kept(self, wanted: TileRequest, tile: Tile) -> Reply:
        content = {"height": tile.height, "width": tile.width, "dtype": wanted.dtype, "rows": tile.rows}
        reply = Reply(content, [encode(tile.values, wanted.dtype).tobytes()])
        self._cache.put(wanted, reply)
        return reply

    def _values(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_values(capture, params)
        check_size(sum(block.height * block.width * 4 for block in wanted))
        results, buffers = [], []
        for block in wanted:
            asked = self._asked(capture, block)
            weights = asked.weights(block.layer, block.head, **block.where)
            allowed = asked.allowed(block.layer, block.head, **block.where)
            results.append({"height": block.height, "width": block.width})
            weights = np.where(np.isfinite(weights), weights, NOT_A_NUMBER)
            buffers.append(np.where(allowed, weights, np.nan).astype("<f4").tobytes())
        return Reply({"blocks": results}, buffers)

    def _marginals(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_marginals(capture, params)
        known = self._cache.get(wanted)
        if known is None:
            # Of many heads fewer rows are looked at, so that nobody waits much longer.
            heads = wanted.block.aggregate.count if wanted.block.aggregate else 1
            found = self._asked(capture, wanted.block).marginals(
                wanted.block.layer, wanted.block.head,
                **wanted.block.where, height=wanted.height, width=wanted.width,
                rows=max(MARGINAL_ROWS // 8, MARGINAL_ROWS // heads),
            )  # fmt: skip
            content = {"height": wanted.height, "width": wanted.width, "rows": found.rows}
            known = Reply(content, [part.astype("<f4").tobytes() for part in (found.received, found.entropy)])
            self._cache.put(wanted, known)
        return known
