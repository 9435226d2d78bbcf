"""What attention made from other attention has in common: one layer around another, holding nothing twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attnwidget.attention.memory import MEMORY, not_on_disk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.attention.protocol import Attention, Floats


class Around:
    """The part of `Attention` that is the same around any layer.

    Args:
        whole: the layer asked.
    """

    mask = None
    """No rule: what is allowed is asked pair by pair."""
    probe = None
    """These are not the weights of the run, and nothing in it could check them."""

    def __init__(self, whole: Attention) -> None:
        self.whole = whole

    @property
    def n_examples(self) -> int:
        """Examples in the batch."""
        return self.whole.n_examples

    @property
    def n_heads(self) -> int:
        """Query heads."""
        return self.whole.n_heads

    @property
    def n_queries(self) -> int:
        """Rows, padding included."""
        return self.whole.n_queries

    @property
    def n_keys(self) -> int:
        """Columns, padding included."""
        return self.whole.n_keys

    @property
    def n_key_heads(self) -> int | None:
        """Key-value heads; None where only weights are known."""
        return self.whole.n_key_heads

    @property
    def head_size(self) -> int | None:
        """Numbers in a query of one head; None where only weights are known."""
        return self.whole.head_size

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at; None where nothing bounds them."""
        return self.whole.window

    @property
    def own_bytes(self) -> int:
        """Held beside the layer inside."""
        return 0

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are."""
        held = Counter(self.whole.held)
        held[MEMORY] += self.own_bytes
        return held

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""
        return not_on_disk(self.held)

    def probe_errors(self) -> Floats | None:
        """None: without a probe there is nothing to check by."""
        return None

    def has_nan(self) -> bool:
        """Whether weights that the mask allows are not numbers."""
        return self.whole.has_nan()
