"""What the routes saw of one attention call, before it becomes a layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from attnwidget.attention import Attention
    from attnwidget.intercept.byhand.products import Product
    from attnwidget.intercept.byhand.trails import Weights
    from attnwidget.intercept.carrying import Carrying


@dataclass
class KernelCall:
    """One call of `scaled_dot_product_attention`, as it was made.

    Attributes:
        query: (B, H, Tq, d), what the kernel saw.
        key: (B, Hkv, Tk, d).
        value: (B, Hkv, Tk, dv).
        mask: boolean or additive, or None.
        is_causal: aligned to the upper left.
        scale: None for 1 / sqrt(d).
        lse: (B, H, Tq) where the kernel returned it.
        output: (B, H, Tq, dv).
        dropout: probability with which weights were dropped, after the softmax.
        dropped: (B, H, Tq, Tk) the weights after that, where somebody asked for them and they were to be seen.
        is_usual: torch chose one of its kernels for tensors of its own kinds that have numbers, four axes each, and
            nothing was dropped or cast.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    is_causal: bool
    scale: float | None
    lse: torch.Tensor | None
    output: torch.Tensor
    dropout: float = 0.0
    dropped: torch.Tensor | None = None
    is_usual: bool = False


@dataclass
class HandCall:
    """One softmax written by hand, when its weights meet values.

    Attributes:
        trail: what is known of the weights.
        product: of weights and values.
        output: of that product.
        weights_left: the weights are its left factor.
    """

    trail: Weights
    product: Product
    output: torch.Tensor
    weights_left: bool

    @property
    def weights(self) -> torch.Tensor:
        """As they were multiplied with values: after dropout."""
        return self.product.left if self.weights_left else self.product.right

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the axes of the weights in the product."""
        return self.product.left_labels if self.weights_left else self.product.right_labels


@dataclass
class FlexCall:
    """One call of `flex_attention`.

    Attributes:
        query: (B, H, Tq, d).
        key: (B | 1, Hkv, Tk, d), heads not repeated.
        value: (B | 1, Hkv, Tk, dv).
        score_mod: f(score, b, h, i, j), or None.
        block_mask: torch's `BlockMask`, or None.
        scale: None for 1 / sqrt(d).
        lse: (B, H, Tq) where it was returned.
        output: (B, H, Tq, dv); None where only the inputs could be seen.
        fused: a compiled kernel ran, which skips what the block mask leaves out and asks its function only in blocks
            that are partly masked; else the function was asked for every pair.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    score_mod: Callable[..., torch.Tensor] | None
    block_mask: Any
    scale: float | None
    lse: torch.Tensor | None
    output: torch.Tensor | None
    fused: bool


@dataclass
class InterfaceCall:
    """One call through transformers' attention interface, with the kernel calls made inside it.

    Attributes:
        module: what transformers passes as the caller.
        query: (B, H, Tq, d).
        key: (B, Hkv, Tk, d), heads not repeated.
        value: (B, Hkv, Tk, dv).
        mask: what the model passes on.
        options: the keyword arguments: scaling, softcap, s_aux, position_bias ...
        implementation: name of the function.
        is_known: the function is one of transformers' own, which do what their arguments say.
        passes_on: likewise, and it hands its kernel the keys as they come, heads repeated or not.
        kernels: calls of `scaled_dot_product_attention` inside.
        flexes: calls of `flex_attention` inside.
        by_hand: softmaxes written by hand inside.
    """

    module: nn.Module
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    options: dict[str, Any]
    implementation: str
    is_known: bool = False
    passes_on: bool = False
    kernels: list[KernelCall] = field(default_factory=list)
    flexes: list[FlexCall] = field(default_factory=list)
    by_hand: list[HandCall] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """One layer's attention, and who called it.

    Attributes:
        attention: the factors, or weights where there are none.
        path: of the calling module in the watched tree.
        module: the calling module.
        call: how often it had called before in this run.
        implementation: what computed it.
        extra_keys: names of keys after the last token's, which stand for no token.
        ranks: the processes that share its heads, where they do.
        heads: the numbers of those that are kept, where some were chosen.
        n_heads: how many there were of them.
        is_left_out: nothing of it is kept, and its attention tells its shape alone.
        stack: what its stack is called, where layers or heads were chosen and that was settled before others were left
            out.
        number: of the layer in its stack, likewise.
        carrying: its values and what follows from them, where they are kept.
    """

    attention: Attention
    path: str
    module: nn.Module
    call: int
    implementation: str
    extra_keys: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    heads: tuple[int, ...] | None = None
    n_heads: int | None = None
    is_left_out: bool = False
    stack: str | None = None
    number: int | None = None
    carrying: Carrying | None = None
