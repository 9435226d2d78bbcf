"""From what the page sends, not trusted to be anything, to requests that make sense for a capture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attnwidget.widget.codes import CODE_TYPES, DTYPES, CodeType
from attnwidget.widget.protocol import AGGREGATES, MAX_REPLY_BYTES, PANELS, THEMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import AttentionCapture, AttentionStack

REDUCTIONS = ("max", "mean")
EXCESS = "excess"
"""What one side of a comparison gives more than the other: a measure that is asked for beside that of the view."""
MARGINAL_ROWS = 1024
"""Queries whose whole rows are looked at, for each of the two marginals, at most."""
MAX_REFINED_CELLS = 1 << 20
"""Cells of a tile that is made in slices: it is kept between them."""
_MOST_LEVEL = 30
FIGURE_PANELS = tuple(name for name in PANELS if name != "output")
"""What the model says is no figure."""
FIGURE_KINDS = ("svg", "png", "csv")
FIGURE_SCALES = (1, 2, 3)


class RequestError(Exception):
    """A request that cannot be answered, with one of the error codes of the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Place:
    """One example of one stack, and what is asked about it."""

    stack: str
    batch: int
    measure: str = "weight"


@dataclass(frozen=True)
class Aggregate:
    """Several heads as one, as `AttentionCapture.aggregate` makes it; every layer and head named, in order."""

    stack: str
    reduce: Any
    layers: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def count(self) -> int:
        """Heads that are made one."""
        return len(self.layers) * len(self.heads)


@dataclass(frozen=True)
class BlockRequest:
    """A rectangle of a head, as it is; of an aggregate, which is a capture of its own, layer 0 and head 0."""

    place: Place
    layer: int
    head: int
    queries: tuple[int, int]
    keys: tuple[int, int]
    aggregate: Aggregate | None = None

    @property
    def height(self) -> int:
        """Queries."""
        return self.queries[1] - self.queries[0]

    @property
    def width(self) -> int:
        """Keys."""
        return self.keys[1] - self.keys[0]

    @property
    def where(self) -> dict[str, Any]:
        """Keyword arguments that the questions of a capture share."""
        return {"queries": self.queries, "keys": self.keys, "batch": self.place.batch, "stack": self.place.stack}


@dataclass(frozen=True)
class TileRequest:
    """A pooled rectangle. Equal requests have equal answers.

    Attributes:
        block: the rectangle.
        height: rows of cells.
        width: columns of cells.
        level: cells of 2^level tokens a side; None where bins are even.
        reduce: "max" or "mean".
        dtype: of the codes.
        rows: queries looked at under each cell, at most; None for all.
    """

    block: BlockRequest
    height: int
    width: int
    level: int | None
    reduce: Any
    dtype: CodeType
    rows: int | None

    @property
    def n_bytes(self) -> int:
        """Of its codes."""
        return self.height * self.width * DTYPES[self.dtype].itemsize

    @property
    def exact(self) -> TileRequest:
        """The same, with all queries looked at."""
        return replace(self, rows=None)

    @property
    def arguments(self) -> dict[str, Any]:
        """What `AttentionCapture.tile` is called with."""
        sizes = {"height": self.height, "width": self.width} if self.level is None else {"level": self.level}
        place = {"layer": self.block.layer, "head": self.block.head}
        return {**place, **self.block.where, **sizes, "reduce": self.reduce, "rows": self.rows}


@dataclass(frozen=True)
class MarginalsRequest:
    """What runs along the edges of a rectangle."""

    block: BlockRequest
    height: int
    width: int


@dataclass(frozen=True)
class PairRequest:
    """One pair of tokens of one head."""

    place: Place
    layer: int
    head: int
    query: int
    key: int


def parse_tiles(capture: AttentionCapture, params: Mapping[str, Any]) -> list[TileRequest]:
    """Params of `tiles`."""
    stack, place = parse_place(capture, params)
    return [_tile(stack, place, item) for item in _sequence(params, "tiles")]


def parse_values(capture: AttentionCapture, params: Mapping[str, Any]) -> list[BlockRequest]:
    """Params of `values`."""
    stack, place = parse_place(capture, params)
    return [_block(stack, place, item) for item in _sequence(params, "blocks")]


def parse_refine(capture: AttentionCapture, params: Mapping[str, Any]) -> TileRequest:
    """Params of `refine`."""
    stack, place = parse_place(capture, params)
    tile = _tile(stack, place, params.get("tile"), "'tile'")
    if mapping(params.get("tile"), "'tile'").get("rows") is not None:
        raise RequestError("invalid", "'rows' is given: expected a tile without it, a refinement looks at all of them")
    if tile.height * tile.width > MAX_REFINED_CELLS:
        raise RequestError(
            "too-large",
            f"the tile would have {tile.height * tile.width:,} cells, the limit for one that is refined is "
            f"{MAX_REFINED_CELLS:,}: ask for less at once",
        )
    return tile


def parse_marginals(capture: AttentionCapture, params: Mapping[str, Any]) -> MarginalsRequest:
    """Params of `marginals`."""
    stack, place = parse_place(capture, params)
    block = _block(stack, place, params)
    height, width = _size(params, "height", block.height), _size(params, "width", block.width)
    for what, size in (("height", height), ("width", width)):
        if size > MARGINAL_ROWS:
            raise RequestError("invalid", f"{what} is {size}: expected at most {MARGINAL_ROWS} bins of marginals")
    return MarginalsRequest(block, height, width)


def parse_detail(capture: AttentionCapture, params: Mapping[str, Any]) -> PairRequest:
    """Params of `detail`."""
    stack, place = parse_place(capture, params)
    layer, head = head_of(stack, params)
    counts = {"query": len(stack.query_tokens[place.batch]), "key": len(stack.key_tokens[place.batch])}
    query, key = (_position(params, what, count, stack) for what, count in counts.items())
    return PairRequest(place, layer, head, query, key)


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """An object, or an error that names what should be one."""
    if not isinstance(value, Mapping):
        raise RequestError("invalid", f"{what} must be an object, got {type(value).__name__}")
    return value


def optional(request: Mapping[str, Any], name: str) -> int | None:
    """A whole number, or None where there is none."""
    return None if request.get(name) is None else integer(request, name)


def integer(request: Mapping[str, Any], name: str) -> int:
    """A whole number, or an error."""
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError("invalid", f"{name!r} must be a whole number, got {_short(value)}")
    return value


def measure_of(params: Mapping[str, Any]) -> str:
    """What is asked about: weights, where nothing is said."""
    return "weight" if params.get("measure") is None else str(one_of(params, "measure", ("weight", "lift", EXCESS)))


def check_size(n_bytes: int) -> None:
    """Refuse an answer that is too large."""
    if n_bytes > MAX_REPLY_BYTES:
        raise RequestError(
            "too-large",
            f"the answer would hold {n_bytes:,} bytes, the limit is {MAX_REPLY_BYTES:,}: ask for less at once",
        )


def parse_place(capture: AttentionCapture, params: Mapping[str, Any]) -> tuple[AttentionStack, Place]:
    """The stack and the example that params name."""
    name = params.get("stack")
    if not isinstance(name, str) or name not in capture.stacks:
        raise RequestError(
            "invalid", f"unknown stack {name!r}: this capture has {', '.join(map(repr, capture.stacks))}"
        )
    stack = capture.stacks[name]
    batch = integer(params, "batch")
    if not 0 <= batch < stack.n_examples:
        raise RequestError(
            "invalid", f"example {batch} does not exist: the batch has examples 0 to {stack.n_examples - 1}"
        )
    return stack, Place(name, batch, measure_of(params))


def _block(stack: AttentionStack, place: Place, item: object, what: str = "each item") -> BlockRequest:
    request = mapping(item, what)
    queries = _range(request, "queries", len(stack.query_tokens[place.batch]))
    keys = _range(request, "keys", len(stack.key_tokens[place.batch]))
    if request.get("aggregate") is not None:
        return BlockRequest(place, 0, 0, queries, keys, _aggregate(stack, request))
    layer, head = head_of(stack, request)
    return BlockRequest(place, layer, head, queries, keys)


def head_of(stack: AttentionStack, request: Mapping[str, Any]) -> tuple[int, int]:
    """The layer and the head that a request names."""
    return (
        _position(request, "layer", stack.n_layers, stack),
        _position(request, "head", stack.n_heads, stack),
    )


def _position(request: Mapping[str, Any], axis: str, count: int, stack: AttentionStack) -> int:
    index = integer(request, axis)
    if not 0 <= index < count:
        plural = "queries" if axis == "query" else f"{axis}s"
        raise RequestError(
            "invalid", f"{axis} {index} does not exist: stack {stack.name!r} has {plural} 0 to {count - 1}"
        )
    return index


def _aggregate(stack: AttentionStack, request: Mapping[str, Any]) -> Aggregate:
    return Aggregate(
        stack.name,
        one_of(request, "aggregate", AGGREGATES),
        _chosen(request, "layers", stack.n_layers),
        _chosen(request, "heads", stack.n_heads),
    )


def _chosen(request: Mapping[str, Any], name: str, count: int) -> tuple[int, ...]:
    value = request.get(name)
    if value is None:
        return tuple(range(count))
    known = isinstance(value, list) and all(type(one) is int and 0 <= one < count for one in value)
    if not known or not value or len(set(value)) < len(value):
        raise RequestError(
            "invalid",
            f"{name!r} must be null or a list of at least one of 0 to {count - 1}, each once, got {_short(value)}",
        )
    return tuple(sorted(value))


def _tile(stack: AttentionStack, place: Place, item: object, what: str = "each item") -> TileRequest:
    block, request = _block(stack, place, item, what), mapping(item, what)
    height, width, level = _cells(block, request)
    rows = None
    if request.get("rows") is not None:
        rows = integer(request, "rows")
        if rows < 1:
            raise RequestError("invalid", f"'rows' is {rows}: expected at least 1, or null for all of them")
    deepest = -(-block.height // height) if level is None else min(block.height, 1 << level)
    return TileRequest(
        block,
        height,
        width,
        level,
        reduce=one_of(request, "reduce", REDUCTIONS),
        dtype=one_of(request, "dtype", CODE_TYPES),
        rows=None if rows is not None and rows >= deepest else rows,
    )


def _cells(block: BlockRequest, request: Mapping[str, Any]) -> tuple[int, int, int | None]:
    """Height, width and level."""
    if request.get("level") is None:
        return _size(request, "height", block.height), _size(request, "width", block.width), None
    level = integer(request, "level")
    if not 0 <= level <= _MOST_LEVEL:
        raise RequestError("invalid", f"'level' is {level}: expected 0 to {_MOST_LEVEL}")
    height, width = -(-block.height >> level), -(-block.width >> level)
    for what, size in (("height", height), ("width", width)):
        if request.get(what) is not None and integer(request, what) != size:
            raise RequestError(
                "invalid", f"{what} is {request[what]}: expected {size}, as follows from 'level', or nothing"
            )
    return height, width, level


def _size(request: Mapping[str, Any], what: str, limit: int) -> int:
    size = integer(request, what)
    if not 1 <= size <= limit:
        raise RequestError("invalid", f"{what} is {size}: expected 1 to {limit}, the length of the range it pools")
    return size


def _sequence(params: Mapping[str, Any], name: str) -> Sequence[object]:
    value = params.get(name)
    if not isinstance(value, list) or not value:
        raise RequestError("invalid", f"{name!r} must be a list with at least one item, got {_short(value)}")
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


def one_of(request: Mapping[str, Any], name: str, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401 - one of `choices`
    """One of the choices, or an error that names them."""
    value = request.get(name)
    if value not in choices:
        raise RequestError("invalid", f"{name!r} must be one of {', '.join(map(repr, choices))}, got {_short(value)}")
    return value


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"


@dataclass(frozen=True)
class FigureRequest:
    """A file of what the view shows.

    Attributes:
        kind: "svg", "png" or "csv".
        panel: which panel; a CSV is of the shown head whatever it is.
        theme: "light" or "dark".
        scale: dots a CSS pixel of a PNG.
    """

    kind: str
    panel: str
    theme: str
    scale: int


def parse_figure(params: Mapping[str, Any]) -> FigureRequest:
    """Check the parameters of a `figure` request."""
    return FigureRequest(
        one_of(params, "kind", FIGURE_KINDS),
        one_of(params, "panel", FIGURE_PANELS),
        one_of(params, "theme", THEMES[1:]),
        one_of(params, "scale", FIGURE_SCALES),
    )
