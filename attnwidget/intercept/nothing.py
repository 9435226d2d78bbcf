"""The words for a run in which no attention was seen, and for softmaxes that were seen and could not be followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.intercept.scripted import scripted_in
from attnwidget.intercept.written import as_written, written_modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from attnwidget.intercept.recorder import Recorder


def nothing_seen(recorder: Recorder) -> str:
    """Why a run may have shown no attention call, and what to do.

    Args:
        recorder: after the run.

    Returns:
        The text of the error.
    """
    return " ".join(_sentences(recorder))


def not_followed(recorder: Recorder) -> tuple[str, ...]:
    """Softmaxes written by hand that look like attention and are not in the capture, in words for its notes."""
    lost = [module for call, module in recorder.softmaxes if call.from_product and not (call.is_known or call.is_other)]
    odd = [module for call, module in recorder.softmaxes if call.weighs]
    notes = []
    if lost:
        notes.append(
            f"{_softmaxes(recorder, lost)} taken of a product of two tensors and not followed to a product with "
            f"values: if {_pronoun(lost)} not in this capture"
        )
    if odd:
        notes.append(
            f"{_softmaxes(recorder, odd)} multiplied with values, and not seen to be taken of a product of queries and "
            f"keys: if {_pronoun(odd)} not in this capture"
        )
    other = [module for call, module in recorder.softmaxes if call.is_other]
    if other:
        notes.append(
            f"{_counted(recorder, other, 'a product of two tensors', 'products of two tensors')} turned into "
            "something else than a softmax that could be followed, and multiplied with values: if "
            f"{_pronoun(other)} not in this capture"
        )
    return tuple(notes)


def _softmaxes(recorder: Recorder, modules: Sequence[nn.Module]) -> str:
    return _counted(recorder, modules, "a softmax", "softmaxes")


def _counted(recorder: Recorder, modules: Sequence[nn.Module], one: str, several: str) -> str:
    place = f"{recorder.path(modules[0]) or type(as_written(recorder.root)).__name__} ({type(modules[0]).__name__})"
    return f"{one} in {place} was" if len(modules) == 1 else f"{len(modules)} {several}, the first in {place}, were"


def _pronoun(modules: Sequence[nn.Module]) -> str:
    return "it is attention, it is" if len(modules) == 1 else "they are attention, they are"


def _sentences(recorder: Recorder) -> Iterator[str]:
    root = recorder.root
    name = type(as_written(root)).__name__
    yield f"no attention call of {name} was seen."
    for note in not_followed(recorder):
        yield f"{note[0].upper()}{note[1:].partition(': if')[0]}."
    implementation = getattr(getattr(root, "config", None), "_attn_implementation", None)
    if implementation is not None:
        yield f"Its attention implementation is {implementation!r}."
        if implementation == "eager":
            yield from _eager(root)
    attention = [
        f"{path or name} ({type(part).__name__})"
        for path, part in written_modules(root)
        if "attention" in type(part).__name__.lower()
    ]
    if attention:
        yield f"{attention[0]} looks like attention."
    for scripted, kinds in scripted_in(recorder.modules).items():
        place = next(f"{path or name} ({kind})" for path, kind in kinds.items())
        yield (
            f"{scripted.name}, a TorchScript function called by {place}, takes a softmax that Python cannot see: call "
            "the function that it was made from."
        )
    yield "Did the block call this module, in this thread, and not a copy of it?"
    yield (
        "Attention is seen where it goes through transformers' attention interface, "
        "torch.nn.functional.scaled_dot_product_attention, flex_attention, torch.nn.MultiheadAttention, or a softmax "
        "between a product of queries and keys and a product with values. Anything else is not: return its weights and "
        "pass them to AttentionCapture.from_weights."
    )


def _eager(root: nn.Module) -> Iterator[str]:
    if getattr(root, "_supports_sdpa", False):
        yield 'If it computes eager attention in a way that is not followed, load it with attn_implementation="sdpa".'
    else:
        yield (
            "If it computes attention in a way that is not followed, run it with output_attentions=True and pass its "
            "attentions to AttentionCapture.from_weights."
        )
