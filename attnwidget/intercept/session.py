"""`aw.capture`: a `with` block around any code that calls the module."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from attnwidget.attention import AttentionCapture, CaptureError
from attnwidget.intercept import replaced
from attnwidget.intercept.assemble import assemble
from attnwidget.intercept.block import block
from attnwidget.intercept.compiled import can_run_eagerly
from attnwidget.intercept.dropout import NOTHING_DROPPED
from attnwidget.intercept.mode import WatchCalls
from attnwidget.intercept.naming import Naming, names_of_run
from attnwidget.intercept.progress import Progress
from attnwidget.intercept.recorder import ACTIVE, Recorder
from attnwidget.intercept.spread import spread_notes
from attnwidget.intercept.terms import Terms
from attnwidget.intercept.windows.local import may_cut
from attnwidget.intercept.written import as_written, is_wrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from attnwidget.attention.tokens import TokenNames
    from attnwidget.intercept.passes.outcome import Outcome
    from attnwidget.intercept.picks import Given
    from attnwidget.intercept.store import Where
    from attnwidget.intercept.terms import Dtype


@block
def capture(
    module: nn.Module,
    tokens: TokenNames | Sequence[TokenNames] | None = None,
    *,
    key_tokens: TokenNames | Sequence[TokenNames] | None = None,
    model: str | None = None,
    store: Where = "device",
    dropout: bool = False,
    dtype: Dtype = None,
    layers: Given | None = None,
    heads: Given | None = None,
    limit: int | None = None,
    progress: bool = True,
    values: bool = False,
) -> Iterator[AttentionCapture]:
    """Capture the attention of one forward pass, or of passes that continue one another over one cache.

    The latter are what generate() makes, and loops of one's own with `past_key_values`: they become one map. The last
    token that was generated is in it only if it was run, which generate() does not do. The module computes what it
    would compute without.

    To the bit, except where torch would take its fused inference path (nn.TransformerEncoder in eval mode, without
    gradients) or run code compiled by torch.compile, which runs uncompiled: then to rounding, and `cap.notes` says so.
    Gradients flow as they would without, and what gradient checkpointing runs again is not recorded again.

    Weights are those the module computed, in whatever precision it ran: bfloat16, float16, autocast and 8-bit models
    included. What is kept is what the kernel was given, and weights are computed from it in float32. In training mode
    they are the weights before dropout, unless `dropout` asks for those after it.

    Args:
        module: any PyTorch module whose attention goes through transformers' attention interface,
            `scaled_dot_product_attention`, `flex_attention` or `nn.MultiheadAttention`, or is written by hand.
        tokens: names of the queries, one list for all examples or a list of lists; numbered if None.
        key_tokens: names of the keys where they are others (cross attention; the encoder of an encoder-decoder).
        model: what to call the model; its class if None.
        store: where queries and keys are kept: "device": where they were computed; "cpu": in memory; "disk": in
            memory-mapped temporary files; a folder: in such files there. The files have no name, and are gone when
            nobody holds the capture any more.
        dropout: in training mode, the weights after dropout, as they met the values: some are 0, and the others
            larger, also above 1. They cannot be computed again, so that all of them are kept: memory grows with the
            square of the number of tokens. An error where a fused kernel hides them.
        dtype: keep queries and keys (and weights, where they are kept themselves) as torch.bfloat16 or torch.float16,
            in 2 bytes a number. A score is then off by up to `eps * scale * sum |q| |k|`, with eps 0.0078 or 0.00098,
            and a weight by as much of itself, twice. Denominators are computed from what is kept, when a head
            is first looked at, so that rows still sum to 1. None: as they were computed.
        layers: which layers to keep: a number, several, a slice or a range, counted from 0 (or from the end) within
            each stack in the order they run. The capture then counts from 0 within what is kept, in that order;
            `repr(cap)` and `LayerInfo.number` tell the numbers in the model. What is left out is not copied; of a
            number counted from the end, the layers before it are held until it has run.
        heads: likewise which heads, counted within each layer; with them the key-value heads that they look at.
        limit: the most bytes to hold in memory and on devices. If None, `aw.limits` says
            (`capture_bytes`); if that is None too, half of what is free.
        progress: show a bar (tqdm) if it takes more than two seconds; in the main thread only.
        values: keep values too, as many numbers as keys, and a copy of the map that each layer's output goes into, for
            the measures of `cap.measure` that need them.

    Yields:
        A capture that is filled when the block ends.

    Raises:
        CaptureError: nothing was captured, or something that could not be, or a layer or head does not exist, or the
            disk is full, or more would be held than `limit`; the module is as it was, and has run undisturbed.
        TypeError: not a module, or options of another kind.
        ValueError: no such store, type or limit.

    Warns:
        AttentionWarning: the model overflowed, and some weights are not numbers.

    Examples:
        >>> block = torch.nn.Identity()
        >>> with capture(block) as cap:  # doctest: +SKIP
        ...     block(torch.zeros(1, 4, 8))
    """
    terms = Terms.of(
        store=store,
        dropout=dropout,
        dtype=dtype,
        layers=layers,
        heads=heads,
        limit=limit,
        progress=progress,
        values=values,
    )
    with watching(module, terms, model=model) as (result, recorder):
        yield result
    names = Naming.from_names(tokens, key_tokens)
    fill(result, recorder, lambda outcome: names_of_run(names, outcome))


def fill(result: AttentionCapture, recorder: Recorder, naming: Naming | Callable[[Outcome | None], Naming]) -> None:
    """Give a capture what was recorded for it.

    Args:
        result: not filled yet.
        recorder: after the block.
        naming: of the tokens, or what makes it from what generate() returned.

    Raises:
        CaptureError: nothing was seen, or something went wrong on the way.
    """
    try:
        stacks = assemble(recorder, naming)
        result.generation = None if recorder.outcome is None else recorder.outcome.generation()
        notes = [*recorder.notes, *_dropout_notes(recorder), *spread_notes(recorder.records)]
        result.fill(stacks, notes=notes)
    finally:
        recorder.release()


def _dropout_notes(recorder: Recorder) -> Iterator[str]:
    dropped = any(getattr(record.attention, "dropped", False) for record in recorder.records)
    if recorder.keeper.dropout and not dropped:
        yield NOTHING_DROPPED


@contextmanager
def watching(
    module: nn.Module, terms: Terms | None = None, *, model: str | None = None
) -> Iterator[tuple[AttentionCapture, Recorder]]:
    """Record a block; who opens it fills the capture from the recorder afterwards."""
    modules = check_watchable(module)
    terms = terms or Terms()
    name = model or type(as_written(module)).__name__
    recorder = Recorder(module, terms, Progress.of(name, wanted=terms.progress), modules)
    recorder.follows = may_cut(part for _, part in modules)
    try:
        # An interrupt may come anywhere: what was begun is always ended.
        with replacing(), _recording(recorder), WatchCalls(follows=recorder.follows):
            yield AttentionCapture(model=name), recorder
    except BaseException as error:
        recorder.release()
        # Torch's own words blame a function mode, of which the person knows nothing.
        if isinstance(error, AssertionError) and "does not support NestedTensor" in str(error):
            raise CaptureError(
                "nn.MultiheadAttention takes nested tensors on its fused inference path only, whose weights cannot be "
                "seen: pass a padded tensor and a key_padding_mask (nested.to_padded_tensor(0.0))"
            ) from error
        raise


@contextmanager
def replacing() -> Iterator[None]:
    """Within the block, what has to be seen by Python is."""
    replaced.watch()
    try:
        yield
    finally:
        replaced.unwatch()


@contextmanager
def _recording(recorder: Recorder) -> Iterator[None]:
    try:
        ACTIVE.set((*_still_open(), recorder))
        yield
    except BaseException:
        recorder.release()
        raise
    finally:
        try:
            recorder.finish()
        finally:
            # Not by token: captures may end in another order than they began, and in another context.
            ACTIVE.set(_still_open())


def _still_open() -> tuple[Recorder, ...]:
    return tuple(recorder for recorder in ACTIVE.get() if not recorder.ended)


def check_watchable(module: object) -> list[tuple[str, nn.Module]]:
    """Raise if Python cannot see into a module.

    Returns:
        Its `named_modules`, which take a while to walk through.

    Raises:
        TypeError: it is none.
        CaptureError: it is compiled, or a TorchScript module.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is {type(module).__name__}; expected a torch.nn.Module")
    modules = list(module.named_modules())
    if not can_run_eagerly():
        compiled = _first(
            modules, lambda part: is_wrapper(part) or getattr(part, "_compiled_call_impl", None) is not None
        )
        if compiled is not None:
            raise CaptureError(
                f"{compiled} is compiled by torch.compile, whose attention Python cannot see, and this torch "
                f"({torch.__version__}) cannot be asked to run it uncompiled, as 2.6 and later can: capture the module "
                "it was made from (`compiled._orig_mod`, or the model before `.compile()`)"
            )
    scripted = _first(modules, lambda part: isinstance(part, torch.jit.ScriptModule))
    if scripted is not None:
        raise CaptureError(
            f"{scripted} is a TorchScript module, whose attention Python cannot see: capture the module it was made "
            "from"
        )
    return modules


def _first(modules: Sequence[tuple[str, nn.Module]], is_odd: Callable[[nn.Module], bool]) -> str | None:
    """The name of the first module of a kind, if there is one."""
    return next((path or type(part).__name__ for path, part in modules if is_odd(part)), None)
