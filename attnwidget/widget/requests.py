"""Answers what the page asks of one capture.

Every message gets one answer; a malformed one gets an error and changes nothing.
"""

from __future__ import annotations

import math
import threading
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from cachetools import LRUCache

from attnwidget.analysis import Finding, sinks_of_head
from attnwidget.attention import Refinement
from attnwidget.widget.codes import encode
from attnwidget.widget.finder import PatternsRequest, parse_pair, parse_patterns, pattern_rows, pattern_table
from attnwidget.widget.measures import as_shares, measured, pooled_by
from attnwidget.widget.parsing import (
    MARGINAL_ROWS,
    MAX_REFINED_CELLS,
    Aggregate,
    BlockRequest,
    MarginalsRequest,
    RequestError,
    TileRequest,
    check_size,
    integer,
    mapping,
    measure_of,
    parse_detail,
    parse_marginals,
    parse_refine,
    parse_tiles,
    parse_values,
)
from attnwidget.widget.protocol import TILE
from attnwidget.widget.tilecache import Reply, TileCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from numpy.typing import NDArray

    from attnwidget.attention import AttentionCapture, AttentionStack, Tile
    from attnwidget.attention.reading import Reading

    Method: TypeAlias = Callable[[AttentionCapture, Mapping[str, Any]], Reply]

_Work = TypeVar("_Work", Refinement, Finding)

NOT_A_NUMBER = -1
"""What `values` sends for a weight that an overflow in the model left without one; NaN there means masked."""
SLICE = 0.1
"""Seconds of work on what is made in slices, in one message."""
_DETAILS = ("dot", "scale", "raw", "softcap", "capped", "modified", "bias", "lse", "log_weight", "weight", "sink_share")
"""Numbers of a `PairDetail` that travel."""
_MEASURED = {"tiles", "values", "refine", "marginals", "pair"}
"""What may be asked of another measure than the weight."""
_AGGREGATES = 8
"""Captures of many heads as one that are kept: they hold next to nothing."""
_BEGUN_CELLS = 4 * MAX_REFINED_CELLS
"""Of what was begun and is kept between messages."""


class Answerer:
    """Answers the messages of one view, and keeps what it may ask for again.

    Messages may come on any thread; they are answered one at a time.

    Args:
        capture: what is asked about.
        others: methods that whoever owns the view answers: what they are called, and what is called with the capture
            and the parameters.
        commands: what else the page may ask for, by the name of the method: takes `params`, returns the "ok". No tile
            is waited for.

    Attributes:
        number: of the capture, counted from 0: goes up with each that takes the place of another.
    """

    def __init__(
        self,
        capture: AttentionCapture,
        others: Mapping[str, Method] | None = None,
        commands: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] | None = None,
    ) -> None:
        self.number = 0
        self._commands = commands or {}
        self._capture: AttentionCapture | None = capture
        self._lock = threading.RLock()  # an observer of what an answer sets may show another capture
        self._measured: dict[str, AttentionCapture] = {}
        self._cache = TileCache()
        self._begun: LRUCache[TileRequest | PatternsRequest, Refinement | Finding]
        self._begun = LRUCache(_BEGUN_CELLS, getsizeof=attrgetter("cells"))
        self._aggregates: LRUCache[tuple[int, Aggregate], AttentionCapture] = LRUCache(_AGGREGATES)
        self._methods: dict[str, Method] = {
            "tiles": self._tiles,
            "values": self._values,
            "refine": self._refine,
            "marginals": self._marginals,
            "pair": self._pair,
            "patterns": self._patterns,
            "detail": self._detail,
            **(others or {}),
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
            if not isinstance(method, str) or method not in {*self._methods, *self._commands}:
                known = ", ".join([*self._methods, *self._commands])
                raise RequestError("invalid", f"unknown method {method!r}: expected one of {known}")
            params = mapping(request.get("params"), "'params'")
            if method in self._commands:
                return Reply({"id": request_id, "ok": self._commands[method](params)})
            with self._lock:
                if self._capture is not None and self._capture.closed:  # by the person, not by the view
                    self._let_go()
                if self._capture is None:
                    raise RequestError("closed", "the capture behind this view has been closed: run the cell again")
                if request.get("capture", self.number) != self.number:
                    raise RequestError("superseded", f"this view shows capture {self.number} by now: ask anew")
                asked = self._asked(self._capture, params) if method in _MEASURED else self._capture
                reply = self._methods[method](asked, params)
        except RequestError as error:
            return Reply({"id": request_id, "error": {"code": error.code, "message": str(error)}})
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the page must hear of it
            text = f"{type(error).__name__}: {error}"
            return Reply({"id": request_id, "error": {"code": "failed", "message": text}})
        return Reply({"id": request_id, "ok": reply.content}, reply.buffers)

    def show(self, capture: AttentionCapture) -> None:
        """Answer about another capture from now on, and let go of the one before."""
        with self._lock:
            self._let_go()
            self._capture = capture
            self.number += 1

    def close(self) -> None:
        """Let go of the capture, and of all that came from it."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._capture = None
        self._measured.clear()
        self._cache.clear()
        self._begun.clear()
        self._aggregates.clear()

    def _asked(self, capture: AttentionCapture, params: Mapping[str, Any]) -> AttentionCapture:
        measure = measure_of(params)
        if measure not in self._measured:
            self._measured[measure] = measured(capture, measure)
        return self._measured[measure]

    def _of(self, capture: AttentionCapture, block: BlockRequest) -> AttentionCapture:
        """The capture itself, or many of its heads as one."""
        wanted = block.aggregate
        if wanted is None:
            return capture
        key = id(capture), wanted  # it lives as long as this does: as it is, and by each measure
        made: AttentionCapture | None = self._aggregates.get(key)
        if made is None:
            made = capture.aggregate(wanted.reduce, layers=wanted.layers, heads=wanted.heads, stack=wanted.stack)
            self._aggregates[key] = made
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
        return known or self._kept(capture, wanted, self._of(capture, wanted.block).tile(**_pooled(capture, wanted)))

    def _refine(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_refine(capture, params)
        check_size(wanted.n_bytes)
        known = self._cache.get(wanted)
        if known is None:
            work = self._step(wanted, lambda: self._of(capture, wanted.block).refine(**_pooled(capture, wanted)))
            if work.tile is None:
                return Reply({"done": work.done})
            known = self._kept(capture, wanted, work.tile)
        return Reply({"done": 1, "tile": known.content}, known.buffers)

    def _step(self, wanted: TileRequest | PatternsRequest, begin: Callable[[], _Work]) -> _Work:
        """One slice of what was begun or is begun now, kept until it is done."""
        work: Any = self._begun.get(wanted)
        if work is None:
            work = begin()
            self._begun[wanted] = work
        if work.step(SLICE):
            self._begun.pop(wanted, None)
        return work  # type: ignore[no-any-return]

    def _kept(self, capture: AttentionCapture, wanted: TileRequest, tile: Tile) -> Reply:
        content = {"height": tile.height, "width": tile.width, "dtype": wanted.dtype, "rows": tile.rows}
        shares = as_shares(tile.values, _stack_of(capture, wanted).reading)
        reply = Reply(content, [encode(shares, wanted.dtype).tobytes()])
        self._cache.put(wanted, reply)
        return reply

    def _values(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_values(capture, params)
        check_size(sum(block.height * block.width * 4 for block in wanted))
        results, buffers = [], []
        for block in wanted:
            asked = self._of(capture, block)
            weights = asked.weights(block.layer, block.head, **block.where)
            allowed = asked.allowed(block.layer, block.head, **block.where)
            results.append({"height": block.height, "width": block.width})
            buffers.append(_as_sent(weights, allowed, capture.stacks[block.place.stack].reading))
        return Reply({"blocks": results}, buffers)

    def _marginals(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_marginals(capture, params)
        if (reading := capture.stacks[wanted.block.place.stack].reading) is not None:
            raise RequestError("invalid", f"rows of {reading.title} are no distribution: there is nothing to add up")
        known = self._cache.get(wanted)
        if known is None:
            # Of many heads fewer rows are looked at, so that nobody waits much longer.
            heads = wanted.block.aggregate.count if wanted.block.aggregate else 1
            found = self._of(capture, wanted.block).marginals(
                wanted.block.layer, wanted.block.head,
                **wanted.block.where, height=wanted.height, width=wanted.width,
                rows=max(MARGINAL_ROWS // 8, MARGINAL_ROWS // heads),
            )  # fmt: skip
            content = {"height": wanted.height, "width": wanted.width, "rows": found.rows, **_sinks(capture, wanted)}
            known = Reply(content, [part.astype("<f4").tobytes() for part in (found.received, found.entropy)])
            self._cache.put(wanted, known)
        return known

    @staticmethod
    def _detail(capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_detail(capture, params)
        pair = wanted.layer, wanted.head, wanted.query, wanted.key
        try:
            found = capture.detail(*pair, batch=wanted.place.batch, stack=wanted.place.stack)
        except ValueError as error:
            raise RequestError("unavailable", str(error)) from error
        words = {"few": found.components(), "share": found.share, "steps": found.steps}
        content = {"size": len(found.q), "masked": found.masked, "key_head": found.key_head, **words}
        for name in _DETAILS:
            number = getattr(found, name)
            # JSON has no infinity, and no NaN.
            content[name] = number if number is not None and math.isfinite(number) else None
        return Reply(content, [np.concatenate([found.q, found.k]).astype("<f4").tobytes()])

    def _pair(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_pair(capture, params)
        known = self._cache.get(wanted)
        if known is None:
            weights, allowed = capture.weights(**wanted.where), capture.allowed(**wanted.where)
            layers, heads = weights.shape[:2]
            reading = capture.stacks[wanted.place.stack].reading
            known = Reply({"layers": layers, "heads": heads}, [_as_sent(weights, allowed, reading)])
            self._cache.put(wanted, known)
        return known

    def _patterns(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        wanted = parse_patterns(capture, params)
        known = self._cache.get(wanted)
        if known is None:
            stack, example = capture.stacks[wanted.place.stack], wanted.place.batch
            if (reading := stack.reading) is not None:  # heads are told apart by their weights, whatever is looked at
                if not reading.per_head:
                    raise RequestError("invalid", f"{reading.title} belongs to layers: there are no heads to measure")
                stack = reading.base
            work = self._step(wanted, lambda: Finding(stack, example, rows=pattern_rows(stack, example)))
            if work.patterns is None:
                return Reply({"done": work.done})
            known = pattern_table(capture, work.patterns)
            self._cache.put(wanted, known)
        return known


def _stack_of(capture: AttentionCapture, wanted: TileRequest) -> AttentionStack:
    return capture.stacks[wanted.block.place.stack]


def _pooled(capture: AttentionCapture, wanted: TileRequest) -> dict[str, Any]:
    """What to ask a capture for. Of numbers with a sign it is the one of largest size that stands for a cell."""
    return {**wanted.arguments, "reduce": pooled_by(_stack_of(capture, wanted).reading, wanted.arguments["reduce"])}


def _as_sent(numbers: NDArray[np.float32], allowed: NDArray[np.bool_], reading: Reading | None) -> bytes:
    """Exact numbers as they travel: NaN where masked, `NOT_A_NUMBER` where an overflow left none."""
    shares = as_shares(np.where(np.isfinite(numbers), numbers, 0), reading)
    known = np.isfinite(numbers) & np.isfinite(shares)
    return np.where(allowed, np.where(known, shares, NOT_A_NUMBER), np.nan).astype("<f4").tobytes()


def _sinks(capture: AttentionCapture, wanted: MarginalsRequest) -> dict[str, Any]:
    """Of a whole head that is longer than its picture: the page cannot read its sinks from there."""
    block = wanted.block
    stack = capture.stacks[block.place.stack]
    shape = len(stack.query_tokens[block.place.batch]), len(stack.key_tokens[block.place.batch])
    if (block.height, block.width) != shape or max(shape) <= TILE:
        return {}
    return {"sinks": sinks_of_head(stack, block.layer, block.head, example=block.place.batch)}
