"""Weights after dropout, as they met the values, for who asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from attnwidget.attention import DenseAttention

if TYPE_CHECKING:
    from attnwidget.attention import Mask, Probe
    from attnwidget.intercept.keeping import Keeper

NOTHING_DROPPED = (
    "dropout=True, and no attention of this run dropped any weights: the model was not in training mode, or its "
    "attention dropout is 0"
)


def run_showing_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    additive: torch.Tensor | None,
    dropout: float,
    *,
    is_causal: bool,
    scale: float | None,
    grouped: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `scaled_dot_product_attention` runs where no fused kernel serves, with its second result kept.

    The same operations in the same order, with the same use of the random generator, so that the output is the same
    to the bit.

    Returns:
        The output (B, H, Tq, dv), and the weights after dropout (B, H, Tq, Tk).
    """
    options = {"enable_gqa": True} if grouped else {}  # torch 2.4 does not know the word
    found: tuple[torch.Tensor, torch.Tensor] = torch.ops.aten._scaled_dot_product_attention_math(  # noqa: SLF001
        query, key, value, additive, dropout, is_causal, None, scale=scale, **options
    )
    return found


def keep_dropped(
    weights: torch.Tensor | None, mask: Mask | None, keeper: Keeper, probe: Probe | None
) -> DenseAttention:
    """A layer of weights after dropout.

    Args:
        weights: (B, H, Tq, Tk); None where they were not seen.
        mask: which pairs were allowed.
        keeper: of the run.
        probe: values and output, which these weights do explain.

    Raises:
        ValueError: they were not seen.
    """
    if weights is None:
        raise ValueError(
            "dropout=True, and its weights after dropout cannot be seen: a fused kernel keeps them to itself. Run the "
            "block under torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or leave dropout=True out for the weights "
            "before it"
        )
    return DenseAttention(keeper.keep(weights), mask, probe, dropped=True)
