"""Answers what the page asks of one capture.

Every message gets one answer; a malformed one gets an error and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.widget.codes import CODE_TYPES, DTYPES, CodeType, encode
from attnwidget.widget.protocol import MAX_REPLY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from attnwidget.attention import AttentionCapture, AttentionStack

NOT_A_NUMBER = -1
"""What `values` sends for a weight that an overflow in the model left without one; NaN there means masked."""

REDUCTIONS = ("max", "mean")


@dataclass(frozen=True)
class Answer:
    """One message to the page: JSON content and the binary buffers that go with it."""

    content: dict[str, Any]
    buffers: list[bytes] = field(default_factory=list)


class RequestError(Exception):
    """A request that cannot be answered, with one of the error codes of the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def answer(capture: AttentionCapture | None, message: object) -> Answer:
    """Answer one message of the page.

    Args:
        capture: what is asked about; None once it has been freed.
        message: `{"id": int, "method": "tiles" | "values", "params": {...}}`, not trusted to be that.

    Returns:
        `{"id", "ok"}` with buffers, or `{"id", "error": {"code", "message"}}`. Never raises for what the message holds.
    """
    request_id: int | None = None
    try:
        request = _mapping(message, "the message")
        request_id = _integer(request, "id")
        method = request.get("method")
        if not isinstance(method, str) or method not in _METHODS:
            raise RequestError("invalid", f"unknown method {method!r}: expected one of {', '.join(_METHODS)}")
        params = _mapping(request.get("params"), "'params'")
        if capture is None:
            raise RequestError("closed", "the capture behind this view has been closed: run the cell again")
        result, buffers = _METHODS[method](capture, params)
    except RequestError as error:
        return Answer({"id": request_id, "error": {"code": error.code, "message": str(error)}})
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the page must hear of it
        return Answer({"id": request_id, "error": {"code": "failed", "message": f"{type(error).__name__}: {error}"}})
    return Answer({"id": request_id, "ok": result}, buffers)


def _tiles(capture: AttentionCapture, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    stack, batch = _place(capture, params)
    wanted = [_tile_request(stack, batch, item) for item in _sequence(params, "tiles")]
    _check_size(sum(tile.height * tile.width * DTYPES[tile.dtype].itemsize for tile in wanted))
    results, buffers = [], []
    for tile in wanted:
        pooled = capture.tile(
            tile.layer, tile.head,
            queries=tile.queries, keys=tile.keys, height=tile.height, width=tile.width, reduce=tile.reduce,
            batch=batch, stack=stack.name,
        )  # fmt: skip
        results.append({"height": tile.height, "width": tile.width, "dtype": tile.dtype})
        buffers.append(encode(pooled.values, tile.dtype).tobytes())
    return {"tiles": results}, buffers


def _values(capture: AttentionCapture, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    stack, batch = _place(capture, params)
    wanted = [_block_request(stack, batch, item) for item in _sequence(params, "blocks")]
    _check_size(sum(block.height * block.width * 4 for block in wanted))
    results, buffers = [], []
    for block in wanted:
        queries, keys = slice(*block.queries), slice(*block.keys)
        place: dict[str, Any] = {"queries": queries, "keys": keys, "batch": batch, "stack": stack.name}
        weights = capture.weights(block.layer, block.head, **place)
        allowed = capture.allowed(block.layer, block.head, **place)
        results.append({"height": block.height, "width": block.width})
        weights = np.where(np.isfinite(weights), weights, NOT_A_NUMBER)
        buffers.append(np.where(allowed, weights, np.nan).astype("<f4").tobytes())
    return {"blocks": results}, buffers


_METHODS: dict[str, Callable[[AttentionCapture, Mapping[str, Any]], tuple[dict[str, Any], list[bytes]]]] = {
    "tiles": _tiles,
    "values": _values,
}


@dataclass(frozen=True)
class _Block:
    layer: int
    head: int
    queries: tuple[int, int]
    keys: tuple[int, int]

    @property
    def height(self) -> int:
        return self.queries[1] - self.queries[0]

    @property
    def width(self) -> int:
        return self.keys[1] - self.keys[0]


@dataclass(frozen=True)
class _TileRequest:
    layer: int
    head: int
    queries: tuple[int, int]
    keys: tuple[int, int]
    height: int
    width: int
    reduce: Any
    dtype: CodeType


def _place(capture: AttentionCapture, params: Mapping[str, Any]) -> tuple[AttentionStack, int]:
    name = params.get("stack")
    if not isinstance(name, str) or name not in capture.stacks:
        raise RequestError(
            "invalid", f"unknown stack {name!r}: this capture has {', '.join(map(repr, capture.stacks))}"
        )
    stack = capture.stacks[name]
    batch = _integer(params, "batch")
    if not 0 <= batch < stack.n_examples:
        raise RequestError(
            "invalid", f"example {batch} does not exist: the batch has examples 0 to {stack.n_examples - 1}"
        )
    return stack, batch


def _block_request(stack: AttentionStack, batch: int, item: object) -> _Block:
    request = _mapping(item, "each item")
    layer, head = _integer(request, "layer"), _integer(request, "head")
    for what, index, count in (("layer", layer, stack.n_layers), ("head", head, stack.n_heads)):
        if not 0 <= index < count:
            raise RequestError(
                "invalid", f"{what} {index} does not exist: stack {stack.name!r} has {what}s 0 to {count - 1}"
            )
    queries = _range(request, "queries", len(stack.query_tokens[batch]))
    keys = _range(request, "keys", len(stack.key_tokens[batch]))
    return _Block(layer, head, queries, keys)


def _tile_request(stack: AttentionStack, batch: int, item: object) -> _TileRequest:
    block = _block_request(stack, batch, item)
    request = _mapping(item, "each item")
    height, width = _integer(request, "height"), _integer(request, "width")
    for what, size, limit in (("height", height, block.height), ("width", width, block.width)):
        if not 1 <= size <= limit:
            raise RequestError("invalid", f"{what} is {size}: expected 1 to {limit}, the length of the range it pools")
    return _TileRequest(
        block.layer, block.head, block.queries, block.keys, height, width,
        reduce=_choice(request, "reduce", REDUCTIONS), dtype=_choice(request, "dtype", CODE_TYPES),
    )  # fmt: skip


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RequestError("invalid", f"{what} must be an object, got {type(value).__name__}")
    return value


def _sequence(params: Mapping[str, Any], name: str) -> Sequence[object]:
    value = params.get(name)
    if not isinstance(value, list) or not value:
        raise RequestError("invalid", f"{name!r} must be a list with at least one item, got {_short(value)}")
    return value


def _integer(request: Mapping[str, Any], name: str) -> int:
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError("invalid", f"{name!r} must be a whole number, got {_short(value)}")
    return value


def _range(request: Mapping[str, Any], name: str, length: int) -> tuple[int, int]:
    value = request.get(name)
    if (
        not isinstance(value, list)
        or [type(end) for end in value] != [int, int]
        or not 0 <= value[0] < value[1] <= length
    ):
        raise RequestError(
            "invalid", f"{name!r} must be [start, stop] with 0 <= start < stop <= {length}, got {_short(value)}"
        )
    return value[0], value[1]


def _choice(request: Mapping[str, Any], name: str, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401 - one of `choices`
    value = request.get(name)
    if value not in choices:
        raise RequestError("invalid", f"{name!r} must be one of {', '.join(map(repr, choices))}, got {_short(value)}")
    return value


def _check_size(n_bytes: int) -> None:
    if n_bytes > MAX_REPLY_BYTES:
        raise RequestError(
            "too-large",
            f"the answer would hold {n_bytes:,} bytes, the limit is {MAX_REPLY_BYTES:,}: ask for less at once",
        )


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
