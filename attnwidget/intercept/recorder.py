"""Keeps the attention calls of one module tree, for one capture."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch

from attnwidget.attention import CaptureError
from attnwidget.intercept.frames import Caller, find_caller
from attnwidget.intercept.keeping import Keeper
from attnwidget.intercept.nothing import not_followed
from attnwidget.intercept.portions import consistent, joined
from attnwidget.intercept.records import Record
from attnwidget.intercept.spread import spread_over
from attnwidget.intercept.written import as_written, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from types import FrameType

    from torch import nn

    from attnwidget.attention import Attention
    from attnwidget.intercept.store import Store
    from attnwidget.intercept.trails import SoftmaxCall

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
        self.notes: dict[str, None] = {}  # kept in order, each once
        self.ran: set[int] = set()  # ids of modules of the tree in which a linear map ran
        self.softmaxes: list[tuple[SoftmaxCall, nn.Module]] = []  # written by hand, with their callers
        self._paths: dict[int, str] = {id(module): plain_path(path) for path, module in root.named_modules()}
        self._calls: Counter[int] = Counter()
        # Frames are kept while recording, so that a new run can never get the address of an old one.
        self._runs: dict[int, FrameType] = {}

    def caller(self, module: nn.Module | None = None) -> Caller | None:
        """Who is calling attention: the module that says so itself, or the innermost one running."""
        found = find_caller(self._paths)
        if found is not None and module is not None and id(module) in self._paths:
            return Caller(module, found.top, found.run)
        return found

    def saw(self, module: object) -> None:
        """A module ran."""
        if id(module) in self._paths:
            self.ran.add(id(module))

    def path(self, module: nn.Module) -> str:
        """Where a module sits in the tree."""
        return self._paths[id(module)]

    def add(self, attention: Attention, caller: Caller, implementation: str, extra_keys: tuple[str, ...] = ()) -> None:
        """Keep one call."""
        known = self._runs.setdefault(id(caller.top), caller.run)
        if known is not caller.run:
            name = self.path(caller.top) or type(as_written(self.root)).__name__
            self.problem = self.problem or CaptureError(
                f"{name} ran more than once in one capture: expected one forward pass per `with` block, since two "
                "runs have no tokens in common. Open one capture per call; for generate(), capture one forward pass "
                "over the final text"
            )
            self.records.clear()
            return
        number = self._calls[id(caller.module)]
        self._calls[id(caller.module)] += 1
        path = self.path(caller.module)
        ranks = spread_over(caller.module, attention.n_heads)
        self.records.append(Record(attention, path, caller.module, number, implementation, extra_keys, ranks))

    def fail(self, error: CaptureError) -> None:
        """Remember the first problem."""
        self.problem = self.problem or error

    def finish(self) -> None:
        """Record nothing more, let go of what was only needed while recording, note what could not be followed."""
        self.ended = True
        self._runs.clear()
        if self.problem is None:
            self.records = list(consistent(joined(self.records, self.keeper)))
        self.keeper.forget()
        self.notes.update(dict.fromkeys(not_followed(self)))

    def release(self) -> None:
        """Let go of what was recorded: a context that outlives the block must not keep it."""
        self.records.clear()


def dropout_is_asked_for() -> bool:
    """Whether any capture of this thread or task wants weights after dropout."""
    return any(recorder.keeper.dropout and not recorder.ended for recorder in ACTIVE.get())


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
    keepers: dict[Hashable, list[tuple[Recorder, Caller]]] = {}
    for recorder in ACTIVE.get():
        if recorder.problem is None and not recorder.ended and (caller := recorder.caller(module)) is not None:
            keepers.setdefault(recorder.keeper.key, []).append((recorder, caller))
    for wanted in keepers.values():
        try:
            # What is done here is nobody else's business, and no part of what is trained: gradient checkpointing counts
            # what is saved for the backward pass.
            with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
                attention = build(wanted[0][0].keeper)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on and the capture says so
            for recorder, caller in wanted:
                place = recorder.path(caller.module) or type(as_written(recorder.root)).__name__
                wrapped = CaptureError(f"attention of {place} ({implementation}) could not be recorded: {error}")
                wrapped.__cause__ = error
                recorder.fail(wrapped)
            continue
        for recorder, caller in wanted:
            recorder.add(attention, caller, implementation, extra_keys)
            recorder.notes.update(dict.fromkeys(notes))


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
