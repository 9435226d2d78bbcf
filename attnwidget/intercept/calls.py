"""What the routes tell of an attention call, given to every recorder that watches its caller."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from attnwidget.attention import CaptureError
from attnwidget.intercept.budget import LimitError
from attnwidget.intercept.keeping import Keeper, Lender
from attnwidget.intercept.offers import Aside, Offer, Place
from attnwidget.intercept.recorder import ACTIVE, Recorder
from attnwidget.intercept.records import Record
from attnwidget.intercept.written import as_written

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import nn

    from attnwidget.attention import Attention
    from attnwidget.intercept.byhand.trails import SoftmaxCall

    Build = Callable[[Keeper], Attention]
    Take = Callable[[Keeper], Build | None]

MODULE = "{module}"
"""Stands in notes for the module that they are about."""
_AS_IT_IS = nullcontext()
_NOTHING_ASIDE = Aside()


def record_call(
    build: Build,
    *,
    take: Take | None = None,
    module: nn.Module | None = None,
    implementation: str,
    extra_keys: tuple[str, ...] = (),
    notes: Sequence[str] = (),
    outputs: Sequence[torch.Tensor] = (),
    projection: torch.Tensor | None = None,
) -> tuple[nn.Module, ...]:
    """Give one attention call to every recorder that watches its caller.

    Args:
        build: makes the attention; called only if somebody wants it, once for each way in which it is to be kept.
        take: takes what may be written to later, and returns what builds the same from that alone, if it can.
        module: the caller, where it is known.
        implementation: what computed it.
        extra_keys: names of keys after the last token's, which stand for no token.
        notes: what the capture should tell, read after `build`; `MODULE` in them is replaced by the caller's name.
        outputs: tensors of which one is what the model goes on with.
        projection: (H * dv, D), the map that takes what the heads put out, where the call itself applies it.

    Returns:
        The callers, as each recorder sees them.
    """
    if in_backward():  # gradient checkpointing runs the forward again; it has been seen
        return ()
    wanted = _wanted(module)
    found = tuple(place.caller.module for _, place in wanted)
    if take is not None and len(wanted) == 1 and _put_off(take, *wanted[0], implementation):
        return found
    aside = Aside(tuple(outputs), projection, with_graph=torch.is_grad_enabled())
    groups: dict[tuple[Hashable, bool], list[tuple[Recorder, Place]]] = {}
    for recorder, place in wanted:
        recorder.catch_up()
        groups.setdefault((recorder.keeper.key, place.thread is not None), []).append((recorder, place))
    for (_, is_later), those in groups.items():
        while those:
            try:
                _give(build, those, implementation, extra_keys, notes, aside, is_later=is_later)
                break
            except LimitError as error:  # nobody has got it yet: the others may have room
                recorder, place = those.pop(0)
                recorder.overrun(error, None if is_later else _lent_to(recorder, place, build))
    return found


def _unfollowed() -> AbstractContextManager[Any]:
    """Within it no gradients are recorded; mostly none are anyway, which is quicker to see than to see to."""
    return torch.no_grad() if torch.is_grad_enabled() else _AS_IT_IS


def _wanted(module: nn.Module | None) -> list[tuple[Recorder, Place]]:
    """Who wants what the running module calls, and where it belongs there."""
    wanted = []
    for recorder in ACTIVE.get():
        open_to_it = recorder.problem is None and not recorder.ended and not recorder.drafting
        if open_to_it and (caller := recorder.caller(module)) is not None:
            place = recorder.place(caller)
            if recorder.progress is not None:
                recorder.progress.tick(
                    place.run.number, recorder.ledger.forecast.n_all, generating=bool(recorder.loops)
                )
            if recorder.problem is None and place.key not in place.top.left_out:
                wanted.append((recorder, place))
    return wanted


def _put_off(take: Take, recorder: Recorder, place: Place, implementation: str) -> bool:
    """Take what one recorder needs of a call, and have the rest done after the run; False if that cannot be."""
    if not recorder.may_wait(place):
        return False
    try:
        with _unfollowed(), torch._C.DisableTorchFunction():  # noqa: SLF001 - as in `_give`
            build = take(recorder.keeper)
    except Exception:  # noqa: BLE001 - the usual way meets it again, and tells
        return False
    if build is not None:
        recorder.waiting.append(
            partial(_give, build, [(recorder, place)], implementation, (), (), _NOTHING_ASIDE, is_later=False)
        )
    return build is not None


def _give(
    build: Build,
    those: Sequence[tuple[Recorder, Place]],
    implementation: str,
    extra_keys: tuple[str, ...],
    notes: Sequence[str],
    aside: Aside,
    *,
    is_later: bool,
) -> None:
    """Give one attention call to recorders that keep the same of it.

    Raises:
        LimitError: the first of them may not hold so much.
    """
    keeper = those[0][0].keeper
    # What a later run adds is little, and of what is narrowed a part is kept: that is copied, and the rest only lent.
    lender = Lender(keeper, probes=not is_later) if is_later or keeper.terms.narrows else None
    before = keeper.store.taken
    try:
        # What is done here is nobody else's business, and no part of what is trained: gradient checkpointing counts
        # what is saved for the backward pass.
        with _unfollowed(), torch._C.DisableTorchFunction():  # noqa: SLF001
            builder = lender or keeper
            attention, met = _built(build, builder)
            nbytes = keeper.store.taken - before
            aside = aside if met is None else replace(aside, met=met)
            offer = Offer(attention, keeper, lender, implementation, extra_keys, nbytes, aside)
            for recorder, place in those:
                _add(recorder, offer, place, is_later=is_later)
                recorder.notes.update(dict.fromkeys(note.replace(MODULE, _name(recorder, place)) for note in notes))
    except LimitError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on and the capture says so
        for recorder, place in those:
            wrapped = CaptureError(
                f"attention of {_name(recorder, place)} ({implementation}) could not be recorded: {error}"
            )
            wrapped.__cause__ = error
            recorder.lose(place, wrapped)


def _name(recorder: Recorder, place: Place) -> str:
    return _module_name(recorder, place.caller.module)


def _module_name(recorder: Recorder, module: nn.Module) -> str:
    return recorder.path(module) or type(as_written(recorder.root)).__name__


def _built(build: Build, keeper: Keeper) -> tuple[Attention, tuple[torch.Tensor, torch.Tensor] | None]:
    """The attention, and values and output that it can be checked by, where those are to be kept."""
    try:
        attention = build(keeper)
        # What was tried and did not explain the output has left no probe.
        is_probed = getattr(attention, "windows", attention).probe is not None
        return attention, keeper.met if is_probed else None
    finally:
        keeper.met = None


def _add(recorder: Recorder, offer: Offer, place: Place, *, is_later: bool) -> None:
    try:
        recorder.add(offer, place)
        if not is_later:
            recorder.weigh(offer)
    except LimitError as error:
        module = place.caller.module
        layer = Record(offer.attention, recorder.path(module), module, 0, "")
        recorder.overrun(error, None if is_later else layer)


def _lent_to(recorder: Recorder, place: Place, build: Build) -> Record | None:
    """What a layer would be that was too large to keep; None if that cannot be told."""
    try:
        with _unfollowed(), torch._C.DisableTorchFunction():  # noqa: SLF001
            attention = build(Lender(recorder.keeper, probes=True))
    except Exception:  # noqa: BLE001 - it is for the words of an error, and the run goes on
        return None
    module = place.caller.module
    return Record(attention, recorder.path(module), module, 0, "")


def tell(note: str) -> None:
    """Have every recorder that watches the running code tell something; of `MODULE`, which is what runs."""
    for recorder in ACTIVE.get():
        caller = recorder.caller()
        if caller is not None:
            recorder.notes[note.replace(MODULE, _module_name(recorder, caller.module))] = None


def callers() -> list[nn.Module]:
    """Who is calling, as each recorder sees it that watches the running code."""
    found = (recorder.caller() for recorder in ACTIVE.get() if not recorder.ended)
    return [caller.module for caller in found if caller is not None]


def refuse_call(reason: str, *, implementation: str) -> None:
    """Tell every recorder that watches the caller of a call that it could not be seen.

    Args:
        reason: why.
        implementation: what computed it.
    """

    def build(_: Keeper) -> Attention:
        raise ValueError(reason)

    record_call(build, implementation=implementation)


def watch_softmax(call: SoftmaxCall, *, unless: Callable[[nn.Module], bool] | None = None) -> None:
    """Tell every recorder that watches the caller that a softmax was taken, which may or may not become a layer.

    Args:
        call: the softmax.
        unless: whether it is none after all, by its caller.
    """
    for recorder in ACTIVE.get():
        caller = recorder.caller()
        if caller is not None and not (unless is not None and unless(caller.module)):
            recorder.softmaxes.append((call, caller.module))


def in_backward() -> bool:
    """Whether gradients are being computed: forward calls are then repetitions."""
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001 - torch offers no other name for it


def dropout_is_asked_for() -> bool:
    """Whether any capture of this thread or task wants weights after dropout."""
    return any(recorder.keeper.dropout and not recorder.ended for recorder in ACTIVE.get())
