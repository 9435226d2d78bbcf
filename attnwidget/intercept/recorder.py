"""Keeps the attention calls of one module tree, for one capture."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING

from attnwidget.attention import CaptureError
from attnwidget.attention.memory import not_on_disk
from attnwidget.attention.stack import held_by, held_by_carried
from attnwidget.intercept.budget import LimitError
from attnwidget.intercept.frames import Callers
from attnwidget.intercept.keeping import Keeper
from attnwidget.intercept.layerchoice import LayerChoice
from attnwidget.intercept.ledger import Ledger
from attnwidget.intercept.narrowing import left_out
from attnwidget.intercept.nothing import not_followed
from attnwidget.intercept.offers import Offer, Place
from attnwidget.intercept.passes.outcome import Outcome, join_runs
from attnwidget.intercept.passes.runs import AstrayError, Top
from attnwidget.intercept.passes.threads import Thread
from attnwidget.intercept.records import Record
from attnwidget.intercept.settling import join_choice, join_portions
from attnwidget.intercept.spread import has_ranks, spread_over
from attnwidget.intercept.written import as_written, is_wrapper, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import nn

    from attnwidget.intercept.byhand.trails import SoftmaxCall
    from attnwidget.intercept.carrying import Carrying
    from attnwidget.intercept.frames import Caller
    from attnwidget.intercept.progress import Progress
    from attnwidget.intercept.terms import Terms

ACTIVE: ContextVar[tuple[Recorder, ...]] = ContextVar("attnwidget_recorders", default=())
"""The recorders of this thread or task, outermost first. What runs elsewhere sees none, and is left alone."""


class Recorder:
    """What one capture has seen so far.

    Problems met while the model runs are kept and raised at the end: watching must not change the run.

    Args:
        root: the module watched.
        terms: what is kept of it.
        progress: told of what runs, where somebody wants to see it.
        modules: its `named_modules`.

    Attributes:
        modules: those of the tree as a person wrote them, with their paths.
        ended: the block is over. Tasks and threads that were started inside it may still hold this recorder.
        pending: what the last attention carries, whose output has yet to meet a linear map, where values are kept.
    """

    def __init__(
        self, root: nn.Module, terms: Terms, progress: Progress | None, modules: Sequence[tuple[str, nn.Module]]
    ) -> None:
        self.root = root
        self.terms = terms
        paths = [plain_path(path) for path, _ in modules]
        self.modules = [(path, part) for path, (_, part) in zip(paths, modules, strict=True) if not is_wrapper(part)]
        self.progress = progress
        self.ended = False
        self.pending: Carrying | None = None
        self.records: list[Record] = []
        self.keeper = Keeper(self.terms)
        self.problem: CaptureError | None = None
        self.losses: dict[str, CaptureError] = {}  # calls that could not be recorded, by the path of their module
        self.notes: dict[str, None] = {}  # kept in order, each once
        self.ran: set[int] = set()  # ids of modules in which a linear map ran, of the tree or not
        self.softmaxes: list[tuple[SoftmaxCall, nn.Module]] = []  # written by hand, with their callers
        self._paths: dict[int, str] = {id(part): path for path, (_, part) in zip(paths, modules, strict=True)}
        self.ledger = Ledger(root, self._paths, self.terms, self._held)
        self.keeper.store.budget = self.ledger.budget
        self._choice = None if self.terms.layers is None else LayerChoice(self.terms.layers)
        self.seen: set[str] = set()  # paths of modules whose attention was seen, kept or not
        self.tops: dict[int, Top] = {}
        self.follows = False  # where tokens stand is written down, so that windows are told from examples
        self.lengths: set[int] = set()  # of the first two axes of what the runs were given
        self.outcome: Outcome | None = None  # what generate() returned, once runs are joined
        self.waiting: list[Callable[[], None]] = []  # what records calls of which only numbers were taken as yet
        self._may_wait = self.terms.is_plain and not has_ranks()
        self.loops: list[object] = []  # the models whose decoding loops (of generate()) are running
        self._calls: Counter[int] = Counter()
        self._callers = Callers(self._paths)

    def caller(self, module: nn.Module | None = None) -> Caller | None:
        """Who is calling attention: the module that says so itself, or the innermost one running."""
        return self._callers.find(module)

    @property
    def drafting(self) -> bool:
        """Whether a model drafts for itself: a loop of its own within its loop, as `assistant_early_exit` makes it."""
        return len(self.loops) > 1 and any(self.loops[-1] is outer for outer in self.loops[:-1])

    def watches(self, module: nn.Module) -> bool:
        """Whether a module is watched, or what is watched is a part of it."""
        return id(module) in self._paths or any(part is self.root for part in module.modules())

    def multiplies(self, taken: torch.Tensor, weight: torch.Tensor) -> None:
        """A linear map (D', D) runs on a tensor (..., D')."""
        try:
            if self.pending is not None:
                self.pending.offer_map(taken, weight)
        except LimitError as error:
            self.overrun(error)
        except Exception:  # noqa: BLE001 - whatever kind of tensor it is, the run goes on, and no map is known
            self.pending = None

    def path(self, module: nn.Module) -> str:
        """Where a module sits in the tree."""
        return self._paths[id(module)]

    def place(self, caller: Caller) -> Place:
        """Where a call belongs: in which run, and in which layer of the runs before, if they had it."""
        top = self.tops.get(id(caller.top))
        if top is None:
            top = self.tops[id(caller.top)] = Top(caller.top)
        try:
            run = top.run_of(caller)
        except AstrayError as error:
            self.stray(caller.top, str(error))
            return Place(caller, top, top.runs[-1], (0, 0))
        if not run.calls:
            self.keeper.places.given |= run.lengths[0]
        if run.number and not run.calls:
            self.catch_up()
            self.keeper.begin()
        number = run.calls[id(caller.module)]
        run.calls[id(caller.module)] += 1
        return Place(caller, top, run, (id(caller.module), number))

    def may_wait(self, place: Place) -> bool:
        """Whether nothing depends on a call's being recorded before the run has ended: no later run, no limit."""
        path = self.path(place.caller.module)
        return self._may_wait and not place.run.number and not self.loops and self.ledger.forecast.knows(path)

    def catch_up(self) -> None:
        """Record the calls that wait, in the order in which they were made."""
        waiting, self.waiting = self.waiting, []
        for record in waiting:
            record()

    def add(self, offer: Offer, place: Place) -> None:
        """Keep one call: as a layer, or as what a run adds to a layer of the runs before it."""
        module, path = place.caller.module, self.path(place.caller.module)
        if place.thread is not None and offer.lender is not None:
            try:
                if offer.extra_keys:
                    raise AstrayError(f"it adds keys of its own, {', '.join(offer.extra_keys)}")
                place.thread.extend(offer.lent_heads(self.keeper), place.run, place.top, self.keeper, offer.lender)
            except AstrayError as error:
                self.stray(place.top.module, f"{path or type(module).__name__}: {error}")
            return
        number = self._calls[id(module)]
        self._calls[id(module)] += 1
        ranks = spread_over(module, offer.attention.n_heads)
        record = Record(offer.attention, path, module, number, offer.implementation, offer.extra_keys, ranks)
        if self.terms.narrows:
            record = self._narrowed(offer, record)
        self.pending = None
        if self.terms.values and not record.is_left_out:
            self.pending = offer.carrying(self.keeper)
            record = replace(record, carrying=self.pending)
        if record.is_left_out:
            place.top.left_out.add(place.key)
        else:
            place.top.threads[place.key] = Thread(record.attention, place.run, len(self.records))
        self.records.append(record)
        if self._choice is not None:
            for other in self._choice.surplus(record, in_loop=bool(self.loops)):
                self._leave_out(other)

    def _narrowed(self, offer: Offer, record: Record) -> Record:
        """What is kept of a layer; where that is nothing, the place that it has among the others."""
        attention = offer.attention
        heads = None if self.terms.heads is None else self.terms.heads.among(attention.n_heads)
        record = replace(record, heads=heads, n_heads=attention.n_heads)
        keeps = self._choice is None or self._choice.keeps(
            record, len(self.records), in_loop=bool(self.loops), is_portion=offer.is_portion
        )
        if not keeps or heads == ():
            return replace(record, attention=left_out(attention), is_left_out=True)
        return replace(record, attention=offer.narrowed(self.keeper))

    def _leave_out(self, number: int) -> None:
        """Let go of a layer that others have followed."""
        record = self.records[number]
        self.records[number] = replace(record, attention=left_out(record.attention), is_left_out=True, carrying=None)
        for top in self.tops.values():
            for key in [key for key, thread in top.threads.items() if thread.record == number]:
                del top.threads[key]
                top.left_out.add(key)

    def weigh(self, offer: Offer) -> None:
        """Tell from the first layer of each kind whether all of them may be held.

        Raises:
            LimitError: they may not.
        """
        if not self.records:
            return
        left_out = self.records[-1].is_left_out
        if offer.payer is not self.keeper and not left_out:  # it is shared with another capture's, which has counted it
            self.ledger.budget.take(offer.nbytes, self.ledger.budget.device)
        self.ledger.weigh(self.records[-1], 0 if left_out else offer.nbytes)

    def overrun(self, error: LimitError, layer: Record | None = None) -> None:
        """Keep nothing more, and nothing of what was kept; the run goes on.

        Args:
            error: of the budget.
            layer: lent, what was about to be kept, where it was a layer.
        """
        self.catch_up()
        self.fail(CaptureError(self.ledger.refusal(error, layer, self.records, self.tops.values())))
        self.release()
        self.keeper.clear()

    def _held(self, place: str | None) -> int:
        self.catch_up()
        held = held_by(record.attention for record in self.records if not record.is_left_out)
        held.update(held_by_carried(record.carrying.so_far for record in self.records if record.carrying is not None))
        for top in self.tops.values():
            for thread in top.threads.values():
                held.update(thread.held)
        return not_on_disk(held) if place is None else held[place]

    def stray(self, top: nn.Module, why: str) -> None:
        """A module ran again, on something else."""
        name = self.path(top) or type(as_written(self.root)).__name__
        if self.loops:
            text = (
                f"the passes that generate() made of {name} could not be joined into one map: {why}. So it is where it "
                "runs more than one sequence (a negative prompt, guidance_scale; a loop of its own), and where keys "
                "stand for no tokens: leave that out, or capture one forward pass over the final text"
            )
        elif any(one.generated is not None for one in self.tops.values()):
            text = (
                f"{name} ran again after generate() had ended its first sequence ({why}): so it is where generate() is "
                "called twice, or works through windows, as of long audio, which are sequences of their own. Open one "
                "capture per call, and give each call one window"
            )
        else:
            text = (
                f"{name} ran more than once in one capture: expected one forward pass per `with` block, or passes that "
                f"continue one another over one cache, since others have no tokens in common ({why}). Open one capture "
                "per call"
            )
        self.fail(CaptureError(text))
        self.waiting.clear()
        self.records.clear()

    def fail(self, error: CaptureError) -> None:
        """Remember the first problem."""
        self.problem = self.problem or error

    def lose(self, place: Place, error: CaptureError) -> None:
        """Remember a call that could not be recorded: where a layer misses steps or runs, nothing of it is of use."""
        if self.loops or place.run.number:
            self.fail(error)
        else:
            self.losses.setdefault(self.path(place.caller.module), error)

    def finish(self) -> None:
        """Record nothing more, let go of what was only needed while recording, note what could not be followed."""
        self.ended, self.pending = True, None
        self._callers.forget()
        try:
            self.catch_up()
            for top in self.tops.values():
                self._finish(top)
            self._settle()
        finally:
            self.keeper.forget()
            if self.progress is not None:
                self.progress.close()
        self.notes.update(self.keeper.notes)
        self.notes.update(dict.fromkeys(not_followed(self)))

    def release(self) -> None:
        """Let go of what was recorded: a context that outlives the block must not keep it."""
        self._callers.forget()
        self.waiting.clear()
        self.records.clear()
        self.tops.clear()
        self.softmaxes.clear()
        self.pending = None

    def _settle(self) -> None:
        """Make layers of what was recorded."""
        self.seen = {record.path for record in self.records}
        try:
            if self.problem is None:
                join_portions(self)
            if self.problem is None and self.terms.chooses:
                join_choice(self)
            if self.problem is None:
                self.keeper.settle()
                self.outcome = join_runs(self)
        except LimitError as error:
            self.overrun(error)
        except CaptureError as error:
            self.fail(error)

    def _finish(self, top: Top) -> None:
        self.lengths.update(length for run in top.runs for lengths in run.lengths for length in lengths)
        try:
            top.finish()
        except AstrayError as error:
            self.stray(top.module, str(error))
