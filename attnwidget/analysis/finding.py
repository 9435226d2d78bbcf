"""The head finder at work: one pass over the rows of every layer, that can be left and taken up again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.analysis.definitions import MEASURES
from attnwidget.analysis.patterns import Patterns
from attnwidget.analysis.streaming import Found, Side, stream
from attnwidget.attention.selection import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.attention import AttentionStack

LONG = 4096
"""Queries up to which all rows are looked at unless a number of rows is given."""
SAMPLED = 1024
"""Rows looked at in longer heads."""
WINDOW = 8
"""How far is near, in tokens."""
_NEARLY = 0.999


class Finding:
    """A table of patterns in the making. What was done so far is kept from one step to the next.

    Args:
        stack: whose heads.
        example: of the batch.
        rows: look at no more than so many rows of each head, spread over all of them; None: all of them, or 1024 where
            there are more than 4096.
        window: how far is near, in tokens.

    Attributes:
        patterns: a row per head, once it is done; None until then.
        done: the share of the rows that was looked at, from 0 to 1; below 1 until the table is there.

    Raises:
        ValueError: rows or window are not whole numbers of at least 1.
    """

    def __init__(self, stack: AttentionStack, example: int, *, rows: int | None = None, window: int = WINDOW) -> None:
        if rows is not None:
            check_size("rows", rows)
        check_size("window", window)
        self._stack, self._example, self._window = stack, example, int(window)
        start, stop = stack.query_spans[example]
        self._n_queries = stop - start
        if rows is None and self._n_queries > LONG:
            rows = SAMPLED
        self._rows = None if rows is None else int(rows)
        self.patterns: Patterns | None = None
        self._restart()

    @property
    def cells(self) -> int:
        """Numbers in the table."""
        return len(MEASURES) * self._stack.n_layers * self._stack.n_heads

    def step(self, seconds: float = 0.1) -> bool:
        """Go on for about so long; a block of rows at least is looked at in any case.

        After an exception, of the model's numbers or of a person who interrupts, it begins anew.

        Args:
            seconds: how long.

        Returns:
            Whether the table is there.
        """
        until = time.perf_counter() + seconds
        try:
            for done in self._steps:
                self.done = done
                if time.perf_counter() >= until:
                    return False
        except BaseException:
            self._restart()
            raise
        self.done = 1.0
        return True

    def _restart(self) -> None:
        self.done = 0.0
        self._steps: Iterator[float] = self._work()

    def _work(self) -> Iterator[float]:
        stack, example = self._stack, self._example
        queries, keys = stack.query_spans[example], stack.key_spans[example]
        tokens = stack.query_tokens[example], stack.key_tokens[example]
        side = Side.of(queries, keys, *tokens, window=self._window)
        shape = stack.n_layers, stack.n_heads
        columns = {measure.name: np.full(shape, np.nan) for measure in MEASURES}
        errors = {measure.name: np.full(shape, np.nan) for measure in MEASURES}
        sinks = np.zeros(shape, dtype=np.intp)
        for number, layer in enumerate(stack.layers):
            found = Found.nothing(stack.n_heads, side)
            for share in stream(found, layer, example, side, self._rows):
                yield min(_NEARLY, (number + share) / stack.n_layers)
            for name, mean in found.means.items():
                columns[name][number] = mean.value
                errors[name][number] = mean.error(found.share)
            if not found.received.shape[1]:  # an example without tokens
                continue
            mass = found.received.sum(axis=1)
            sinks[number] = found.received.argmax(axis=1)
            columns["sink"][number] = found.received.max(axis=1) / np.where(mass > 0, mass, np.nan)
        looked = self._n_queries if self._rows is None else min(self._rows, self._n_queries)
        if looked == self._n_queries:
            errors = {name: np.where(np.isnan(columns[name]), np.nan, 0.0) for name in errors}
        self.patterns = Patterns(
            stack.name, columns, errors, sinks, rows=looked, n_queries=self._n_queries, window=self._window
        )


def find_patterns(stack: AttentionStack, example: int, *, rows: int | None, window: int) -> Patterns:
    """Measure every head of a stack, in one pass over its rows; arguments and errors are those of `Finding`.

    Returns:
        A row per head.
    """
    finding = Finding(stack, example, rows=rows, window=window)
    finding.step(np.inf)
    assert finding.patterns is not None  # noqa: S101 - the last step made it; this is for the type checker
    return finding.patterns
