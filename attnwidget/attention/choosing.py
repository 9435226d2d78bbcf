"""What is asked of a capture: which layers, heads, queries and keys of which example, checked and placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.memory import check_fits
from attnwidget.attention.protocol import Index, length_of
from attnwidget.attention.selection import Select, check_index, check_select, shifted

if TYPE_CHECKING:
    from attnwidget.attention.stack import AttentionStack


@dataclass(frozen=True, eq=False)
class Choice:
    """A part of a stack.

    Attributes:
        stack: whose.
        example: of the batch.
        layers: numbers, in order.
        heads: a slice of them.
        queries: positions in the layers, padding counted.
        keys: likewise.
        one_layer: a single layer was asked for, by number.
        one_head: likewise a single head.
    """

    stack: AttentionStack
    example: int
    layers: range
    heads: slice
    queries: Index
    keys: Index
    one_layer: bool
    one_head: bool

    @classmethod
    def of(
        cls,
        stack: AttentionStack,
        example: int,
        *,
        layer: int | None,
        head: int | None,
        queries: Select = None,
        keys: Select = None,
    ) -> Choice:
        """Check what a person passes.

        Raises:
            IndexError: no such layer, head, query or key.
            TypeError: a position of another kind.
        """
        where = f"stack {stack.name!r}"
        first_layer = 0 if layer is None else check_index("layer", layer, stack.n_layers, where)
        first_head = 0 if head is None else check_index("head", head, stack.n_heads, where)
        where = f"example {example} of {where}"
        rows = check_select("query", queries, len(stack.query_tokens[example]), where)
        columns = check_select("key", keys, len(stack.key_tokens[example]), where)
        return cls(
            stack,
            example,
            range(first_layer, stack.n_layers if layer is None else first_layer + 1),
            slice(first_head, stack.n_heads if head is None else first_head + 1),
            shifted(rows, stack.query_spans[example][0]),
            shifted(columns, stack.key_spans[example][0]),
            layer is not None,
            head is not None,
        )

    @property
    def n_queries(self) -> int:
        """How many were asked for."""
        return length_of(self.queries, self.stack.layers[0].n_queries)

    @property
    def n_keys(self) -> int:
        """How many were asked for."""
        return length_of(self.keys, self.stack.layers[0].n_keys)

    @property
    def n_heads(self) -> int:
        """How many were asked for."""
        return int(self.heads.stop - self.heads.start)

    def empty(self, dtype: type[np.generic], *, per_head: bool = True) -> np.ndarray:
        """Room for an answer: (L, H, Tq, Tk), without H where layers answer as a whole.

        Raises:
            MemoryError: it would take more than half of the free memory.
        """
        heads = (self.n_heads,) if per_head else ()
        shape = (len(self.layers), *heads, self.n_queries, self.n_keys)
        check_fits(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, shape)
        return np.empty(shape, dtype=dtype)

    def shaped(self, answer: np.ndarray, *, per_head: bool = True) -> np.ndarray:
        """An answer as it was asked for: without the axis of layers, or heads, where one was asked for by number."""
        answer = answer[0] if self.one_layer else answer
        if not (per_head and self.one_head):
            return answer
        picked: np.ndarray = answer[0] if self.one_layer else answer[:, 0]
        return picked
