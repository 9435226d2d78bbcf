"""Keeps the attention calls of one module tree, for one capture."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import torch

from attnwidget.attention import CaptureError
from attnwidget.intercept.frames import Caller, find_caller
from attnwidget.intercept.keeping import Keeper, Lender
from attnwidget.intercept.nothing import not_followed
from attnwidget.intercept.passes.outcome import Outcome, join_runs
from attnwidget.intercept.passes.runs import AstrayError, Run, Top
from attnwidget.intercept.passes.threads import Thread
from attnwidget.intercept.records import Record
from attnwidget.intercept.spread import spread_over
from attnwidget.intercept.windows.portions import consistent, joined
from attnwidget.intercept.written import as_written, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import nn

    from attnwidget.attention import Attention
    from attnwidget.intercept.byhand.trails import SoftmaxCall
    from attnwidget.intercept.store import Store

    Build = Callable[[Keeper], Attention]

ACTIVE: ContextVar[tuple[Recorder, ...]] = ContextVar("attnwidget_recorders", default=())
"""The recorders of this thread or task, outermost first. What runs elsewhere sees none, and is left alone."""


class Recorder:
    """What one capture has seen so far.

    Problems met while the model runs are kept and raised at the end: watching must not change the run.

    Args:
        root: the module watched.
        store: where what is kept goes; on the device where it is if None.
        dropout: weights are wanted as they are after dropout, where there is any.

    Attributes:
        ended: the block is over. Tasks and threads that were started inside it may still hold this recorder.
    """

    def __init__(self, root: nn.Module, store: Store | None = None, *, dropout: bool = False) -> None:
        self.root = root
        self.ended = False
        self.records: list[Record] = []
        self.keeper = Keeper(store, dropout=dropout)
        self.problem: CaptureError | None = None
        self.losses: dict[str, CaptureError] = {}  # calls that could not be recorded, by the path of their module
        self.notes: dict[str, None] = {}  # kept in order, each once
        self.ran: set[int] = set()  # ids of modules of the tree in which a linear map ran
        self.softmaxes: list[tuple[SoftmaxCall, nn.Module]] = []  # written by hand, with their callers
        self._paths: dict[int, str] = {id(module): plain_path(path) for path, module in root.named_modules()}
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

    def add(
        self,
        attention: Attention,
        place: Place,
        implementation: str,
        extra_keys: tuple[str, ...],
        lender: Lender | None,
    ) -> None:
        """Keep one call: as a layer, or as what a run adds to a layer of the runs before it."""
        module, path = place.caller.module, self.path(place.caller.module)
        if place.thread is not None and lender is not None:
            try:
                if extra_keys:
                    raise AstrayError(f"it adds keys of its own, {', '.join(extra_keys)}")
                place.thread.extend(attention, place.run, place.top, self.keeper, lender)
            except AstrayError as error:
                self.stray(place.top.module, f"{path or type(module).__name__}: {error}")
            return
        place.top.threads[place.key] = Thread(attention, place.run, len(self.records))
        number = self._calls[id(module)]
        self._calls[id(module)] += 1
        ranks = spread_over(module, attention.n_heads)
        self.records.append(Record(attention, path, module, number, implementation, extra_keys, ranks))

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
        for top in self.tops.values():
            self._finish(top)
        if self.problem is None:
            self._join_portions()
            self._join_runs()
        self.keeper.forget()
        self.notes.update(dict.fromkeys(not_followed(self)))

    def release(self) -> None:
        """Let go of what was recorded: a context that outlives the block must not keep it."""
        self.records.clear()
        self.tops.clear()

    def _finish(self, top: Top) -> None:
        try:
            top.finish()
        except AstrayError as error:
            self.stray(top.module, str(error))

    def _join_runs(self) -> None:
        self.keeper.settle()
        try:
            self.outcome = join_runs(self)
        except CaptureError as error:
            self.fail(error)

    def _join_portions(self) -> None:
        """Calls that look from portions of one sequence become one layer; who knows layers by number is told."""
        old, self.records = self.records, list(consistent(joined(self.records, self.keeper)))
        numbers = {id(record): number for number, record in enumerate(self.records)}
        for top in self.tops.values():
            for key, thread in list(top.threads.items()):
                number = numbers.get(id(old[thread.record]))
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
            if recorder.problem is None:
                wanted.setdefault((recorder.keeper.key, place.thread is not None), []).append((recorder, place))
    for (_, is_later), those in wanted.items():
        keeper = those[0][0].keeper
        # What a later run adds is little: it is copied by the layer it belongs to, and the rest is only lent.
        lender = Lender(keeper) if is_later else None
        try:
            # What is done here is nobody else's business, and no part of what is trained: gradient checkpointing counts
            # what is saved for the backward pass.
            with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
                attention = build(lender or keeper)
                for recorder, place in those:
                    recorder.add(attention, place, implementation, extra_keys, lender)
                    recorder.notes.update(dict.fromkeys(notes))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on and the capture says so
            for recorder, place in those:
                name = recorder.path(place.caller.module) or type(as_written(recorder.root)).__name__
                wrapped = CaptureError(f"attention of {name} ({implementation}) could not be recorded: {error}")
                wrapped.__cause__ = error
                recorder.lose(place, wrapped)


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
