"""What one capture holds and will hold, against what it may, and the words where that is too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.intercept.budget import Budget, LimitError, Load, is_spread, too_much
from attnwidget.intercept.forecast import Forecast, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import nn

    from attnwidget.intercept.passes.runs import Top
    from attnwidget.intercept.records import Record
    from attnwidget.intercept.terms import Terms


class Ledger:
    """Counts what is kept, and tells from the first layer of each kind what all of them will take.

    Args:
        root: the watched module.
        paths: of its modules, by `id`.
        terms: what of them is kept.
        measure: what is held in a place, or in all, at the moment.

    Attributes:
        budget: what may be held.
        forecast: what will be.
    """

    def __init__(
        self, root: nn.Module, paths: Mapping[int, str], terms: Terms, measure: Callable[[str | None], int]
    ) -> None:
        self.budget = Budget(terms.limit, measure)
        self.forecast = Forecast(root, paths, terms)
        self._root, self._terms = root, terms

    def weigh(self, record: Record, nbytes: int) -> None:
        """A layer was kept in so many bytes.

        Raises:
            LimitError: layers of its kind, and of those before, will take more than may be held.
        """
        if not self.forecast.meets(record, nbytes) or not nbytes:
            return
        allowed = self.budget.allowed(self.budget.device)
        if self.forecast.most() <= allowed or (self.budget.limit is None and is_spread(self._root, self._terms)):
            return
        load = self.forecast.load()
        if load.nbytes > allowed:
            raise LimitError(load.nbytes, allowed)

    def refusal(self, error: LimitError, layer: Record | None, records: Sequence[Record], tops: Iterable[Top]) -> str:
        """What to tell: what all layers would take, as far as that is known.

        Args:
            error: of the budget.
            layer: lent, what was about to be kept, where it was a layer.
            records: what was kept.
            tops: whose runs were recorded.
        """
        if layer is not None:
            self.forecast.meets(layer, size_of(layer.attention, self._terms))
        load = self.forecast.load()
        if load.nbytes < error.nbytes:
            kept = [record.attention for record in records if not record.is_left_out]
            n_tokens = max((one.n_examples * one.n_queries for one in kept), default=load.n_tokens)
            n_tokens += sum(run.total_rows * (run.batch or 1) for top in tops for run in top.runs[1:])
            load = Load(error.nbytes, n_tokens, len(kept) or load.n_layers, load.n_heads, is_least=True)
        return too_much(load, error.allowed, is_given=self.budget.limit is not None, before=False)
