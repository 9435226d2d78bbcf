"""The head finder on the wire: what is asked, how much of long heads is looked at for a view, and what is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from attnwidget.analysis.definitions import LOOKED, MEASURES
from attnwidget.analysis.finding import LONG, SAMPLED
from attnwidget.attention import Comparison
from attnwidget.widget.parsing import Place, RequestError, integer, parse_place
from attnwidget.widget.tilecache import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.analysis import Patterns
    from attnwidget.attention import AttentionCapture, AttentionStack

MOST_WEIGHTS = 1 << 28
"""Weights looked at for the table of a view, at most: some ten seconds of work, in slices."""
FINDS: Final = (
    ("pair", "locked pair", ""),
    *((measure.name, measure.title, measure.unit.replace("share", "")) for measure in MEASURES),
)
"""What the grid can be sorted, filtered and coloured by: name, title and unit; "" for a share from 0 to 1."""
MOVED: Final = ("moved", "mass moved between the two", "of each row")
"""Of a comparison, how far each head differs; its unit keeps it apart from what a head is like."""
ABOUT: Final = {
    "pair": [
        "The weight that each head gives from the locked query to the locked key.",
        (
            "One pair of one text. A large weight moves little where what stands at the key is a short vector "
            "(Kobayashi et al. 2020), and a key that takes most of every row gets much from this one too (Xiao et al. "
            "2023)."
        ),
    ],
    MOVED[0]: [
        (
            "The share of a row's mass that is elsewhere in the other run: half the sum of |b - a| over the keys that "
            "both have (the total variation distance), mean over the queries that both have."
        ),
        "A head may look elsewhere and move the same, or look the same at a token that is another one.",
    ],
    **{measure.name: [measure.words, f"Source: {measure.source}.", measure.caution] for measure in MEASURES},
    "": [LOOKED],
}
"""Of each of these what it is, where it comes from, and what it can and cannot show; "" for what holds of all."""
_MOVED_WEIGHTS = 1 << 24
"""Weights of each side that are looked at for that: in one go, some tenths of a second."""
LEAST_ROWS = 64
"""Rows of each head that are looked at in any case."""


@dataclass(frozen=True)
class PatternsRequest:
    """The measures of every head."""

    place: Place


@dataclass(frozen=True)
class PairRequest:
    """One pair of tokens in every head."""

    place: Place
    query: int
    key: int

    @property
    def where(self) -> dict[str, Any]:
        """Keyword arguments that the questions of a capture share."""
        return {
            "queries": [self.query],
            "keys": [self.key],
            "batch": self.place.batch,
            "stack": self.place.stack,
        }


def parse_patterns(capture: AttentionCapture, params: Mapping[str, Any]) -> PatternsRequest:
    """Params of `patterns`."""
    return PatternsRequest(parse_place(capture, params)[1])


def parse_pair(capture: AttentionCapture, params: Mapping[str, Any]) -> PairRequest:
    """Params of `pair`."""
    stack, place = parse_place(capture, params)
    tokens = {"query": len(stack.query_tokens[place.batch]), "key": len(stack.key_tokens[place.batch])}
    for name, count in tokens.items():
        if not 0 <= integer(params, name) < count:
            raise RequestError("invalid", f"{name} {params[name]} does not exist: there are 0 to {count - 1}")
    return PairRequest(place, params["query"], params["key"])


def pattern_rows(stack: AttentionStack, example: int) -> int | None:
    """Rows of each head to look at.

    Args:
        stack: whose heads.
        example: of the batch.

    Returns:
        How many, no more than `AttentionCapture.patterns` would look at by itself; None for all of them.
    """
    (first, last), (start, stop) = stack.query_spans[example], stack.key_spans[example]
    a_row = stack.n_layers * stack.n_heads * max(1, stop - start)
    rows = max(LEAST_ROWS, MOST_WEIGHTS // a_row)
    if last - first > LONG:
        rows = min(rows, SAMPLED)
    return rows if rows < last - first else None


def finds(capture: AttentionCapture) -> tuple[tuple[str, str, str], ...]:
    """What the grid can be sorted, filtered and coloured by in a view of this capture."""
    readings = [stack.reading for stack in capture.stacks.values()]
    if any(reading is not None and not reading.per_head for reading in readings):
        return FINDS[:1]
    return (FINDS[0], MOVED, *FINDS[1:]) if isinstance(capture, Comparison) else FINDS


def pattern_table(capture: AttentionCapture, patterns: Patterns) -> Reply:
    """The table as it is sent: the README beside this file says how."""
    layers, heads = patterns.sinks.shape
    columns = dict(patterns.columns)
    if isinstance(capture, Comparison):
        keys = max(1, len(capture.aligned_keys))
        columns[MOVED[0]] = capture.moved(rows=max(1, _MOVED_WEIGHTS // (layers * heads * keys)))
    content = {
        "done": 1,
        "layers": layers,
        "heads": heads,
        "measures": list(columns),
        "labels": patterns.labels,
        "rows": None if patterns.exact else patterns.rows,
        "queries": patterns.n_queries,
    }
    return Reply(content, [np.stack(list(columns.values())).astype("<f4").tobytes()])
