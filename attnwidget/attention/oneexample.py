"""One example of a batch: the same attention, asked as if there were no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from attnwidget.attention.around import Around
from attnwidget.attention.blockwise import pool_by_weights
from attnwidget.attention.marginals import row_entropies
from attnwidget.attention.pairdetail import PairDetail, pair_detail
from attnwidget.attention.pooling import PoolsItself
from attnwidget.attention.stack import AttentionStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from attnwidget.attention.bins import Picks
    from attnwidget.attention.blockwise import Block
    from attnwidget.attention.carried import Carried
    from attnwidget.attention.pooling import Reduce
    from attnwidget.attention.probe import Probe
    from attnwidget.attention.protocol import Attention, Bools, Floats, Index


def of_one_example(shown: AttentionStack, example: int) -> AttentionStack:
    """A stack of one example, which holds nothing of its own. Padding stays, and stays cut off.

    Args:
        shown: the whole batch.
        example: which, checked.
    """
    if shown.n_examples == 1:
        return shown
    return AttentionStack(
        shown.name,
        [OneExample(layer, example) for layer in shown.layers],
        query_tokens=[shown.query_tokens[example]],
        key_tokens=[shown.key_tokens[example]],
        query_spans=[shown.query_spans[example]],
        key_spans=[shown.key_spans[example]],
        infos=shown.infos,
        carried=[_carried(one, example) for one in shown.carried],
    )


class OneExample(Around):
    """A layer of a batch, as one of its examples has it. Whatever example is asked for, it is this one.

    Args:
        whole: the layer.
        example: which of its examples.
    """

    def __init__(self, whole: Attention, example: int) -> None:
        super().__init__(whole)
        self._example = example

    @property
    def n_examples(self) -> int:
        """One."""
        return 1

    @property
    def probe(self) -> Probe | None:  # type: ignore[override]
        """What to check the weights by, as of the whole."""
        return self.whole.probe

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        return self.whole.detail

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:  # noqa: ARG002 - the only one
        """Weights after the softmax, (h, q, k)."""
        return self.whole.weights(self._example, heads, queries, keys)

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:  # noqa: ARG002
        """Scores before the softmax, (h, q, k)."""
        return self.whole.scores(self._example, heads, queries, keys)

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:  # noqa: ARG002
        """What of each row goes to an attention sink that is no token, (h, q)."""
        return self.whole.sink_share(self._example, heads, queries)

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:  # noqa: ARG002
        """Which pairs the mask allows, broadcastable to (h, q, k)."""
        return self.whole.allowed(self._example, heads, queries, keys)

    def probe_errors(self) -> Floats | None:
        """(1 or windows, H, r), how far softmax(...) v is from the output of the run; None without a probe."""
        errors = self.whole.probe_errors()
        if errors is None:
            return None
        count = len(errors) // self.whole.n_examples  # of windows, each checked on its own
        return errors[self._example * count : (self._example + 1) * count]

    def entropies(self, example: int, head: int, rows: NDArray[np.intp]) -> Floats:  # noqa: ARG002
        """Entropy of whole rows in bits, (q,)."""
        return row_entropies(self.whole, self._example, head, rows)

    def pool(self, example: int, head: int, rows: Picks, keys: Picks, reduce: Reduce) -> Iterator[Block]:  # noqa: ARG002
        """Pool a rectangle of one head, block by block."""
        if isinstance(self.whole, PoolsItself):
            return self.whole.pool(self._example, head, rows, keys, reduce)
        return pool_by_weights(self.whole, self._example, head, rows, keys, reduce)

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:  # noqa: ARG002
        """How one weight came about.

        Raises:
            ValueError: not known for this pair, and why.
        """
        return pair_detail(self.whole, self._example, head, query, key)


def _carried(whole: Carried, example: int) -> Carried:
    """What weights carry, of one example."""
    values, gradient = whole.values, whole.gradient
    if values is not None and values.shape[0] > 1:
        values = values[example : example + 1]
    return replace(whole, values=values, gradient=None if gradient is None else gradient[example : example + 1])
