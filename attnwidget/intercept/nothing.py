"""The words for a run in which no attention was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.intercept.compiled import as_written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


def nothing_seen(root: nn.Module) -> str:
    """Why a run may have shown no attention call, and what to do.

    Args:
        root: the module that was watched.

    Returns:
        The text of the error.
    """
    return " ".join(_sentences(root))


def _sentences(root: nn.Module) -> Iterator[str]:
    name = type(as_written(root)).__name__
    yield f"no attention call of {name} was seen."
    implementation = getattr(getattr(root, "config", None), "_attn_implementation", None)
    if implementation is not None:
        yield f"Its attention implementation is {implementation!r}."
        yield from _by_hand(root, implementation)
    attention = [
        f"{path or name} ({type(part).__name__})"
        for path, part in root.named_modules()
        if "attention" in type(part).__name__.lower()
    ]
    if attention:
        yield f"{attention[0]} looks like attention."
    yield "Did the block call this module, in this thread, and not a copy of it?"
    yield (
        "Attention is seen where it goes through transformers' attention interface, "
        "torch.nn.functional.scaled_dot_product_attention, flex_attention or torch.nn.MultiheadAttention. A softmax "
        "written by hand is not: return its weights and pass them to AttentionCapture.from_weights."
    )


def _by_hand(root: nn.Module, implementation: str) -> Iterator[str]:
    """Families that transformers has not moved to its attention interface compute eager attention by hand."""
    if implementation == "eager" and getattr(root, "_supports_sdpa", False):
        yield (
            "In this version of transformers this model computes eager attention by hand, which cannot be seen: load "
            'it with attn_implementation="sdpa".'
        )
    elif implementation == "eager":
        yield (
            "In this version of transformers this model computes attention by hand, which cannot be seen: run it with "
            "output_attentions=True and pass its attentions to AttentionCapture.from_weights."
        )
    elif implementation == "sdpa":
        yield (
            "With output_attentions=True or a head mask some versions of transformers compute attention by hand, "
            "which cannot be seen: leave them out."
        )
