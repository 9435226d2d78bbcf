"""The words for a run in which no attention was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


def nothing_seen(root: nn.Module) -> str:
    """Why a run may have shown no attention call, and what to do.

    Args:
        root: the module that was watched.

    Returns:
        The text of the error.
    """
    return " ".join(_sentences(root))


def _sentences(root: nn.Module) -> Iterator[str]:
    name = type(root).__name__
    yield f"no attention call of {name} was seen."
    implementation = getattr(getattr(root, "config", None), "_attn_implementation", None)
    if implementation is not None:
        yield f"Its attention implementation is {implementation!r}."
    packed = [path or name for path, part in root.named_modules() if isinstance(part, nn.MultiheadAttention)]
    if packed:
        yield (
            f"{packed[0]} is an nn.MultiheadAttention, which calls its kernel where it cannot be seen yet: pass its "
            "weights (need_weights=True, average_attn_weights=False) to AttentionCapture.from_weights."
        )
    attention = [
        f"{path or name} ({type(part).__name__})"
        for path, part in root.named_modules()
        if "attention" in type(part).__name__.lower() and not isinstance(part, nn.MultiheadAttention)
    ]
    if attention:
        yield f"{attention[0]} looks like attention."
    yield "Did the block call this module, in this thread, and not a copy of it?"
    yield (
        "Attention is seen where it goes through transformers' attention interface or "
        "torch.nn.functional.scaled_dot_product_attention. A softmax written by hand is not: return its weights and "
        "pass them to AttentionCapture.from_weights. Code compiled by torch.compile is not: capture the module it "
        "was made from."
    )
