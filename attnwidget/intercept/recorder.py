"""Keeps the attention calls of one module tree, for one capture."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from attnwidget.attention import CaptureError
from attnwidget.attention.memory import not_on_disk
from attnwidget.attention.stack import held_by
from attnwidget.intercept.budget import Budget, LimitError, Load, too_much
from attnwidget.intercept.forecast import Forecast, size_of
from attnwidget.intercept.frames import Caller, find_caller
from attnwidget.intercept.keeping import Keeper, Lender
from attnwidget.intercept.layerchoice import LayerChoice, settle
from attnwidget.intercept.narrowing import kept, left_out, with_heads
from attnwidget.intercept.nothing import not_followed
from attnwidget.intercept.passes.outcome import Outcome, join_runs
from attnwidget.intercept.passes.runs import AstrayError, Run, Top
from attnwidget.intercept.passes.threads import Thread
from attnwidget.intercept.records import Record
from attnwidget.intercept.spread import spread_over
from attnwidget.intercept.terms import Terms
from attnwidget.intercept.windows.portions import consistent, joined
from attnwidget.intercept.written import as_written, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import nn

    from attnwidget.attention import Attention
    from attnwidget.intercept.byhand.trails import SoftmaxCall
    from attnwidget.intercept.progress import Progress

    Build = Callable[[Keeper], Attention]

ACTIVE: ContextVar[tuple[Recorder, ...]] = ContextVar("attnwidget_recorders", default=())
"""The recorders of this thread or task, outermost first. What runs elsewhere sees none, and is left alone."""


class Recorder:
    """What one capture has seen so far.

    Problems met while the model runs are kept and raised at the end: watching must not change the run.

    Args:
        root: the module watched.
        terms: what is kept of it; everything if None.
        progress: told of what runs, where somebody wants to see it.

    Attributes:
        ended: the block is over. Tasks and threads that were started inside it may still hold this recorder.
    """

    def __init__(self, root: nn.Module, terms: Terms | None = None, progress: Progress | None = None) -> None:
        self.root = root
        self.terms = terms or Terms()
        self.progress = progress
        self.ended = False
        self.records: list[Record] = []
        self.keeper = Keeper(self.terms)
        self.budget = self.keeper.store.budget = Budget(self.terms.limit, self._held)
        self.problem: CaptureError | None = None
        self.losses: dict[str, CaptureError] = {}  # calls that could not be recorded, by the path of their module
        self.notes: dict[str, None] = {}  # kept in order, each once
        self.ran: set[int] = set()  # ids of modules of the tree in which a linear map ran
        self.softmaxes: list[tuple[SoftmaxCall, nn.Module]] = []  # written by hand, with their callers
        self._paths: dict[int, str] = {id(module): plain_path(path) for path, module in root.named_modules()}
        self.forecast = Forecast(root, self._paths, self.terms)
        self._choice = None if self.terms.layers is None else LayerChoice(self.terms.layers)
        self.seen: set[str] = set()  # paths of modules whose attention was seen, kept or not
        self.tops: dict[int, Top] = {}
        self.outcome: Outcome | None = None  # what generate() returned, once runs are joined
        self.loops: list[object] = []  # the models whose decoding loops (of generate()) are running
        self._calls: Counter[int] = Counter()

    def caller(self, module: nn.Module | None = None) -> Caller | None:
        """Who is calling attention: the module that says so itself, or the innermost one running."""
        found = find_caller(self._paths)
        if found is not None and module is not None and id(module) in self._paths:
            return Caller(module, found.top, found.run)
        return found

    @property
    def drafting(self) -> bool:
        """Whether a model drafts for itself: a loop of its own within its loop, as `assistant_early_exit` makes it."""
        return any(self.loops[-1] is outer for outer in self.loops[:-1])

    def watches(self, module: nn.Module) -> bool:
        """Whether a module is watched, or what is watched is a part of it."""
        return id(module) in self._paths or any(part is self.root for part in module.modules())

    def saw(self, module: object) -> None:
        """A module ran."""
        if id(module) in self._paths:
            self.ran.add(id(module))

    def n_layers(self) -> int:
        """How many layers one run has, of the kinds that were met."""
        return self.forecast.n_all()

    def path(self, module: nn.Module) -> str:
        """Where a module sits in the tree."""
        return self._paths[id(module)]

    def place(self, caller: Caller) -> Place:
        """Where a call belongs: in which run, and in which layer of the runs before, if they had it."""
        top = self.tops.setdefault(id(caller.top), Top(caller.top))
        try:
            run = top.run_of(caller)
        except AstrayError as error:
            self.stray(caller.top, str(error))
            return Place(caller, top, top.runs[-1], (0, 0))
        if run.number and not run.calls:
            self.keeper.begin()
        number = run.calls[id(caller.module)]
        run.calls[id(caller.module)] += 1
        return Place(caller, top, run, (id(caller.module), number))

    def add(self, offer: Offer, place: Place) -> None:
        """Keep one call: as a layer, or as what a run adds to a layer of the runs before it."""
        module, path = place.caller.module, self.path(place.caller.module)
        if place.thread is not None and offer.lender is not None:
            try:
                if offer.extra_keys:
                    raise AstrayError(f"it adds keys of its own, {', '.join(offer.extra_keys)}")
                place.thread.extend(offer.lent_heads(), place.run, place.top, self.keeper, offer.lender)
            except AstrayError as error:
                self.stray(place.top.module, f"{path or type(module).__name__}: {error}")
            return
        number = self._calls[id(module)]
        self._calls[id(module)] += 1
        ranks = spread_over(module, offer.attention.n_heads)
        record = Record(offer.attention, path, module, number, offer.implementation, offer.extra_keys, ranks)
        if self.terms.narrows:
            record = self._narrowed(offer, record)
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
        # Calls that look from portions of a sequence are one layer, which shows at the end.
        if self._choice is not None and not (record.call and offer.is_portion):
            keeps = self._choice.keeps(record, len(self.records), in_loop=bool(self.loops)) or offer.is_portion
        else:
            keeps = True
        if not keeps or heads == ():
            return replace(record, attention=left_out(attention), is_left_out=True)
        return replace(record, attention=offer.narrowed())

    def _leave_out(self, number: int) -> None:
        """Let go of a layer that others have followed."""
        record = self.records[number]
        self.records[number] = replace(record, attention=left_out(record.attention), is_left_out=True)
        for top in self.tops.values():
            for key in [key for key, thread in top.threads.items() if thread.record == number]:
                del top.threads[key]
                top.left_out.add(key)

    def weigh(self, nbytes: int, *, is_own: bool) -> None:
        """Tell from the first layer of each kind whether all of them may be held.

        Args:
            nbytes: that the latest layer takes.
            is_own: they are counted by this recorder's budget; else they are shared with another's.
        """
        if not is_own:
            try:
                self.budget.take(nbytes, self.budget.device)
            except LimitError as error:
                self.overrun(error)
        if not self.records:
            return
        if not self.forecast.meets(self.records[-1], nbytes) or not nbytes:
            return
        allowed = self.budget.allowed(self.budget.device)
        if self.forecast.most() > allowed and not (self.budget.limit is None and self._is_spread()):
            load = self.forecast.load()
            if load.nbytes > allowed:
                self.exceed(load, allowed)

    def exceed(self, load: Load, allowed: int) -> None:
        """Keep nothing more, and nothing of what was kept; the run goes on."""
        self.fail(CaptureError(too_much(load, allowed, is_given=self.budget.limit is not None, before=False)))
        self.release()

    def overrun(self, error: LimitError, layer: Record | None = None) -> None:
        """What was about to be kept was too much.

        Args:
            error: of the budget.
            layer: lent, what was about to be kept, where it was a layer.
        """
        if layer is not None:
            self.forecast.meets(layer, size_of(layer.attention, self.terms))
            if (load := self.forecast.load()).nbytes > error.allowed:
                self.exceed(load, error.allowed)
                return
        kept = [record for record in self.records if not record.is_left_out]
        tokens = max((_tokens(record) for record in kept), default=0)
        tokens += sum(run.total_rows * (run.batch or 1) for top in self.tops.values() for run in top.runs[1:])
        heads = max((record.attention.n_heads for record in kept), default=0)
        self.exceed(Load(error.nbytes, tokens, len(kept), heads, is_least=True), error.allowed)

    def _held(self, place: str | None) -> int:
        held = held_by(record.attention for record in self.records if not record.is_left_out)
        for top in self.tops.values():
            for thread in top.threads.values():
                held.update(thread.held)
        return not_on_disk(held) if place is None else held[place]

    def _is_spread(self) -> bool:
        """Whether layers are on several devices, each of which has a limit of its own."""
        return len({parameter.device for parameter in self.root.parameters()}) > 1

    def stray(self, top: nn.Module, why: str) -> None:
        """A module ran again, on something else."""
        name = self.path(top) or type(as_written(self.root)).__name__
        text = (
            f"{name} ran more than once in one capture: expected one forward pass per `with` block, or passes that "
            f"continue one another over one cache, since others have no tokens in common ({why}). "
        )
        text += (
            "It ran within generate(), where a negative prompt (guidance_scale) or a loop of one's own makes it run on "
            "more than one sequence: leave that out, or capture one forward pass over the final text"
            if self.loops
            else "Open one capture per call"
        )
        self.fail(CaptureError(text))
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
        self.ended = True
        try:
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
        self.records.clear()
        self.tops.clear()

    def _settle(self) -> None:
        """Make layers of what was recorded."""
        self.seen = {record.path for record in self.records}
        try:
            if self.problem is None:
                self._join_portions()
            if self.problem is None and self.terms.chooses:
                self._join_choice()
            if self.problem is None:
                self._join_runs()
        except LimitError as error:
            self.overrun(error)
        except CaptureError as error:
            self.fail(error)

    def _finish(self, top: Top) -> None:
        try:
            top.finish()
        except AstrayError as error:
            self.stray(top.module, str(error))

    def _join_runs(self) -> None:
        self.keeper.settle()
        self.outcome = join_runs(self)

    def _join_portions(self) -> None:
        """Calls that look from portions of one sequence become one layer."""
        old, self.records = self.records, list(consistent(joined(self.records, self.keeper)))
        numbers = {id(record): number for number, record in enumerate(self.records)}
        self._renumber([numbers.get(id(record)) for record in old])

    def _join_choice(self) -> None:
        """Layers get the numbers they have among all, and those that were not asked for go."""
        for top in self.tops.values():
            top.left_out.update(top.threads)
        settled = settle(self.records, self.terms, in_loop=any(top.is_several for top in self.tops.values()))
        self.notes.update(dict.fromkeys(settled.notes))
        self.records = [record for record in settled.records if record is not None]
        numbers = iter(range(len(self.records)))
        self._renumber([None if record is None else next(numbers) for record in settled.records])

    def _renumber(self, numbers: Sequence[int | None]) -> None:
        """Tell who knows layers by number, by their old numbers; None for one that is no more."""
        for top in self.tops.values():
            for key, thread in list(top.threads.items()):
                number = numbers[thread.record]
                if number is None:
                    del top.threads[key]
                else:
                    thread.record = number


def dropout_is_asked_for() -> bool:
    """Whether any capture of this thread or task wants weights after dropout."""
    return any(recorder.keeper.dropout and not recorder.ended for recorder in ACTIVE.get())


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


class Offer:
    """One attention call, as it was built, for every recorder that keeps the same of it.

    Args:
        attention: copies; or of tensors that are lent, if there is a lender.
        keeper: of the recorders.
        lender: who lent the tensors.
        implementation: what computed it.
        extra_keys: names of keys after the last token's, which stand for no token.
    """

    def __init__(
        self,
        attention: Attention,
        keeper: Keeper,
        lender: Lender | None,
        implementation: str,
        extra_keys: tuple[str, ...],
    ) -> None:
        self.attention, self.lender = attention, lender
        self.implementation, self.extra_keys = implementation, extra_keys
        self._keeper = keeper
        self._portion = keeper.places.portions.get(id(attention))
        self._lent: Attention | None = None
        self._made: Attention | None = None

    @property
    def is_portion(self) -> bool:
        """Whether it looks from a portion of its sequence."""
        return self._portion is not None

    def lent_heads(self) -> Attention:
        """The heads that are wanted, still lent."""
        picks = self._keeper.terms.heads
        if picks is None:
            return self.attention
        if self._lent is None:
            heads = picks.among(self.attention.n_heads)
            self._lent = with_heads(self.attention, heads, self._keeper)
            if self.lender is not None:
                self.lender.pick_heads(heads)
        return self._lent

    def narrowed(self) -> Attention:
        """Copies of what is wanted, made once."""
        if self._made is None:
            self._made = kept(self.lent_heads(), self._keeper)
            self._keep_portion(self._made)
        return self._made

    def _keep_portion(self, made: Attention) -> None:
        portions = self._keeper.places.portions
        if self._portion is not None:
            del portions[id(self.attention)]
            portions[id(made)] = replace(self._portion, attention=made)


def record_call(
    build: Build,
    *,
    module: nn.Module | None = None,
    implementation: str,
    extra_keys: tuple[str, ...] = (),
    notes: Sequence[str] = (),
) -> None:
    """Give one attention call to every recorder that watches its caller.

    Args:
        build: makes the attention; called only if somebody wants it, once for each way in which it is to be kept.
        module: the caller, where it is known.
        implementation: what computed it.
        extra_keys: names of keys after the last token's, which stand for no token.
        notes: what the capture should tell, read after `build`.
    """
    if in_backward():  # gradient checkpointing runs the forward again; it has been seen
        return
    wanted: dict[tuple[Hashable, bool], list[tuple[Recorder, Place]]] = {}
    for recorder in ACTIVE.get():
        open_to_it = recorder.problem is None and not recorder.ended and not recorder.drafting
        if open_to_it and (caller := recorder.caller(module)) is not None:
            place = recorder.place(caller)
            if recorder.progress is not None:
                recorder.progress.tick(place.run.number, recorder.n_layers, generating=bool(recorder.loops))
            if recorder.problem is None and place.key not in place.top.left_out:
                wanted.setdefault((recorder.keeper.key, place.thread is not None), []).append((recorder, place))
    for (_, is_later), those in wanted.items():
        while those:
            try:
                _give(build, those, implementation, extra_keys, notes, is_later=is_later)
                break
            except LimitError as error:  # of the first: the others may have room
                recorder, place = those.pop(0)
                recorder.overrun(error, _lent_to(recorder, place, build) if not is_later else None)


def _give(
    build: Build,
    those: Sequence[tuple[Recorder, Place]],
    implementation: str,
    extra_keys: tuple[str, ...],
    notes: Sequence[str],
    *,
    is_later: bool,
) -> None:
    """Give one attention call to recorders that keep the same of it.

    Raises:
        LimitError: the first of them may not hold so much.
    """
    keeper, budget = those[0][0].keeper, those[0][0].budget
    # What a later run adds is little, and of what is narrowed a part is kept: that is copied, and the rest only lent.
    lender = Lender(keeper, probes=not is_later) if is_later or keeper.terms.narrows else None
    before = budget.taken
    try:
        # What is done here is nobody else's business, and no part of what is trained: gradient checkpointing counts
        # what is saved for the backward pass.
        with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
            offer = Offer(build(lender or keeper), keeper, lender, implementation, extra_keys)
            for recorder, place in those:
                recorder.add(offer, place)
                recorder.notes.update(dict.fromkeys(notes))
            spent = budget.taken - before
            for recorder, _ in those:
                recorder.weigh(spent, is_own=recorder.budget is budget)
    except LimitError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on and the capture says so
        for recorder, place in those:
            name = recorder.path(place.caller.module) or type(as_written(recorder.root)).__name__
            wrapped = CaptureError(f"attention of {name} ({implementation}) could not be recorded: {error}")
            wrapped.__cause__ = error
            recorder.lose(place, wrapped)


def _lent_to(recorder: Recorder, place: Place, build: Build) -> Record | None:
    """What a layer would be that was too large to keep; None if that cannot be told."""
    try:
        with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
            attention = build(Lender(recorder.keeper, probes=True))
    except Exception:  # noqa: BLE001 - it is for the words of an error, and the run goes on
        return None
    module = place.caller.module
    return Record(attention, recorder.path(module), module, 0, "")


def _tokens(record: Record) -> int:
    return record.attention.n_examples * record.attention.n_queries


def tell(note: str) -> None:
    """Have every recorder that watches the running code tell something."""
    for recorder in ACTIVE.get():
        if recorder.caller() is not None:
            recorder.notes[note] = None


def refuse_call(reason: str, *, implementation: str) -> None:
    """Tell every recorder that watches the caller of a call that it could not be seen.

    Args:
        reason: why.
        implementation: what computed it.
    """

    def build(_: Keeper) -> Attention:
        raise ValueError(reason)

    record_call(build, implementation=implementation)


def watch_softmax(call: SoftmaxCall) -> None:
    """Tell every recorder that watches the caller that a softmax was taken, which may or may not become a layer."""
    for recorder in ACTIVE.get():
        caller = recorder.caller()
        if caller is not None:
            recorder.softmaxes.append((call, caller.module))


def in_backward() -> bool:
    """Whether gradients are being computed: forward calls are then repetitions."""
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001 - torch offers no other name for it
