"""`aw.capture`: a `with` block around any code that calls the module."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from attnwidget.attention import AttentionCapture, CaptureError
from attnwidget.intercept import interface
from attnwidget.intercept.assemble import Naming, assemble, names_of_run
from attnwidget.intercept.mode import WatchCalls
from attnwidget.intercept.recorder import ACTIVE, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from attnwidget.attention.tokens import TokenNames


@contextmanager
def capture(
    module: nn.Module,
    tokens: TokenNames | Sequence[TokenNames] | None = None,
    *,
    key_tokens: TokenNames | Sequence[TokenNames] | None = None,
    model: str | None = None,
) -> Iterator[AttentionCapture]:
    """Capture the attention of one forward pass, or of passes that continue one another over one cache.

    The latter are what generate() makes, and loops of one's own with `past_key_values`: they become one map. The last
    token that was generated is in it only if it was run, which generate() does not do. The module computes what it
    would compute without.

    To the bit, except where torch would take its fused inference path (nn.TransformerEncoder in eval mode, without
    gradients): then to rounding, and `cap.notes` says so.

    Args:
        module: any PyTorch module whose attention goes through transformers' attention interface,
            `scaled_dot_product_attention` or `nn.MultiheadAttention`. Weights are those before dropout.
        tokens: names of the queries, one list for all examples or a list of lists; numbered if None.
        key_tokens: names of the keys where they are others (cross attention; the encoder of an encoder-decoder).
        model: what to call the model; its class if None.

    Yields:
        A capture that is filled when the block ends.

    Raises:
        CaptureError: nothing was captured, or something that could not be; the module is as it was.
        TypeError: not a module.

    Warns:
        AttentionWarning: the model overflowed, and some weights are not numbers.

    Examples:
        >>> block = torch.nn.Identity()
        >>> with capture(block) as cap:  # doctest: +SKIP
        ...     block(torch.zeros(1, 4, 8))
    """
    with watching(module, model=model) as (result, recorder):
        yield result
    names = Naming.from_names(tokens, key_tokens)
    stacks = assemble(recorder, lambda outcome: names_of_run(names, outcome))
    result.generation = None if recorder.outcome is None else recorder.outcome.generation()
    result.fill(stacks, notes=recorder.notes)


@contextmanager
def watching(module: nn.Module, *, model: str | None = None) -> Iterator[tuple[AttentionCapture, Recorder]]:
    """Record a block; who opens it fills the capture from the recorder afterwards."""
    _check(module)
    recorder = Recorder(module)
    interface.watch()
    try:
        ACTIVE.set((*ACTIVE.get(), recorder))
        try:
            with WatchCalls():
                yield AttentionCapture(model=model or type(module).__name__), recorder
        except AssertionError as error:
            # Torch's own words blame a function mode, of which the person knows nothing.
            if "does not support NestedTensor" not in str(error):
                raise
            raise CaptureError(
                "nn.MultiheadAttention takes nested tensors on its fused inference path only, whose weights cannot be "
                "seen: pass a padded tensor and a key_padding_mask (nested.to_padded_tensor(0.0))"
            ) from error
        finally:
            # Not by token: captures may end in another order than they began.
            ACTIVE.set(tuple(other for other in ACTIVE.get() if other is not recorder))
    finally:
        interface.unwatch()
        recorder.finish()


def _check(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is {type(module).__name__}; expected a torch.nn.Module")
    for path, part in module.named_modules():
        name = path or type(module).__name__
        wrapper = type(part).__name__ == "OptimizedModule"  # by name: its package is slow to load
        if wrapper or getattr(part, "_compiled_call_impl", None) is not None:
            raise CaptureError(
                f"{name} is compiled by torch.compile, whose attention Python cannot see: capture the module it was "
                "made from (`compiled._orig_mod`, or the model before `.compile()`)"
            )
        if isinstance(part, torch.jit.ScriptModule):
            raise CaptureError(
                f"{name} is a TorchScript module, whose attention Python cannot see: capture the module it was made "
                "from"
            )
