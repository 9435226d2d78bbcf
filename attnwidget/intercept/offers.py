"""One attention call on its way to the recorders: where it belongs, and what of it is to be had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from attnwidget.intercept.carrying import Carrying
from attnwidget.intercept.narrowing import kept, with_heads

if TYPE_CHECKING:
    import torch

    from attnwidget.attention import Attention
    from attnwidget.intercept.frames import Caller
    from attnwidget.intercept.keeping import Keeper, Lender
    from attnwidget.intercept.passes.runs import Run, Top
    from attnwidget.intercept.passes.threads import Thread


class Place(NamedTuple):
    """Where a call belongs.

    Attributes:
        caller: who made it.
        top: the module that runs.
        run: of it.
        key: of the layer: its module, and how often that had called in this run.
    """

    caller: Caller
    top: Top
    run: Run
    key: tuple[int, int]

    @property
    def thread(self) -> Thread | None:
        """The layer, if an earlier run had it."""
        thread = self.top.threads.get(self.key)
        return None if thread is None or thread.pieces[0].run is self.run else thread


@dataclass(frozen=True, eq=False)
class Aside:
    """What of a call is of use beside its attention.

    Attributes:
        outputs: tensors of which one is what the model goes on with.
        projection: (H * dv, D), the map that takes what the heads put out, where the call itself applies it.
        with_graph: it ran where gradients are recorded.
        met: values (B | 1, Hkv, Tk, dv) and output (B, H, Tq, dv), where they are known and asked for.
    """

    outputs: tuple[torch.Tensor, ...] = ()
    projection: torch.Tensor | None = None
    with_graph: bool = False
    met: tuple[torch.Tensor, torch.Tensor] | None = None


class Offer:
    """One attention call, as it was built, for every recorder that keeps the same of it.

    Args:
        attention: copies; or of tensors that are lent, if there is a lender.
        keeper: of the recorder that it was built for.
        lender: who lent the tensors.
        implementation: what computed it.
        extra_keys: names of keys after the last token's, which stand for no token.
        nbytes: that the copies take.
        aside: what else of the call is of use.

    Attributes:
        payer: the keeper whose budget counted the copies.
    """

    def __init__(
        self,
        attention: Attention,
        keeper: Keeper,
        lender: Lender | None,
        implementation: str,
        extra_keys: tuple[str, ...],
        nbytes: int,
        aside: Aside,
    ) -> None:
        self.attention, self.lender = attention, lender
        self.implementation, self.extra_keys = implementation, extra_keys
        self.payer, self.nbytes = keeper, nbytes
        self._portions = keeper.places.portions
        self._portion = self._portions.get(id(attention))
        self._aside = aside
        self._carrying: Carrying | None = None
        self._lent: Attention | None = None
        self._made: Attention | None = None

    @property
    def is_portion(self) -> bool:
        """Whether it looks from a portion of its sequence."""
        return self._portion is not None

    def lent_heads(self, keeper: Keeper) -> Attention:
        """The heads that are wanted, still lent."""
        picks = keeper.terms.heads
        if picks is None:
            return self.attention
        if self._lent is None:
            heads = picks.among(self.attention.n_heads)
            self._lent = with_heads(self.attention, heads, keeper)
            if self.lender is not None:
                self.lender.pick_heads(heads)
        return self._lent

    def narrowed(self, keeper: Keeper) -> Attention:
        """Copies of what is wanted, made once, by the first who asks.

        Raises:
            LimitError: they are more than this keeper may hold.
        """
        if self._made is None:
            before = keeper.store.taken
            self._made = kept(self.lent_heads(keeper), keeper)
            self.payer, self.nbytes = keeper, keeper.store.taken - before
            if self._portion is not None:
                del self._portions[id(self.attention)]
                self._portions[id(self._made)] = replace(self._portion, attention=self._made)
        return self._made

    def carrying(self, keeper: Keeper) -> Carrying:
        """Copies of its values, made once, by the first who asks, and what else is kept of the call.

        Raises:
            LimitError: they are more than this keeper may hold.
        """
        if self._carrying is None:
            before = keeper.store.taken
            aside = self._aside
            self._carrying = Carrying.of(aside.met, keeper, aside.outputs, with_graph=aside.with_graph)
            if aside.projection is not None:
                self._carrying.take_map(aside.projection)
            self.nbytes += keeper.store.taken - before
        return self._carrying
