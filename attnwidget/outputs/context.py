"""What there is to know of a run before its output is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RunContext:
    """Of the sequence that the output is about: the decoder's, where there are two.

    Attributes:
        name: of the model.
        tokenizer: of the model, or None.
        ids: (1, T) of the tokens, where the model was given any.
        n_tokens: T, padding included.
        n_vocabulary: tokens that the model has logits for; 0 where it has none.
        span: what of the sequence is not padding.
        is_causal: no token sees those after it.
    """

    name: str
    tokenizer: Any
    ids: torch.Tensor | None
    n_tokens: int
    n_vocabulary: int
    span: tuple[int, int]
    is_causal: bool
