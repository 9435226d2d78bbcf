"""What token ids a model can take: how many, and how large."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

# Some models put pictures and sounds in the place of ids that have no embedding.
_PICTURES = {"pixel_values", "pixel_values_videos", "input_features", "input_values"}
_TOWER = re.compile(r"(^|[._])(vision|visual|image|video|audio|speech)")  # positions of other things than tokens
_POSITIONS = ("position_embeddings", "position_embedding", "embed_positions", "wpe")


def check_ids(model: nn.Module, name: str, kwargs: Mapping[str, Any], *, more: int = 0) -> None:
    """Refuse token ids that a model has no embeddings or positions for, before it runs into them.

    Args:
        model: the model.
        name: what it is called in the error.
        kwargs: what its forward is called with; "input_ids" is looked at, if it is a tensor.
        more: tokens to be generated after them.

    Raises:
        ValueError: the ids are too many, or one does not exist.
    """
    ids = kwargs.get("input_ids")
    if not isinstance(ids, torch.Tensor):
        return
    limit = _longest(model)
    if limit is not None and ids.shape[-1] > limit:
        raise ValueError(
            f"the input has {ids.shape[-1]} tokens and {name} has positions for {limit}; "
            "pass a shorter text, or a part of its token ids"
        )
    if limit is not None and ids.shape[-1] + more > limit + 1:  # the last one is not run
        raise ValueError(
            f"the prompt has {ids.shape[-1]} tokens and {more} more are to be generated, and {name} has "
            f"positions for {limit}; expected max_new_tokens of {limit + 1 - ids.shape[-1]} at most"
        )
    size = _vocabulary(model)
    if size is not None and ids.numel() and not kwargs.keys() & _PICTURES:
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= size:
            raise ValueError(
                f"token id {low if low < 0 else high} does not exist: {name} has ids 0 to {size - 1}; "
                "is the tokenizer that of another model?"
            )


def _longest(model: nn.Module) -> int | None:
    """Tokens a model has learned positions for; None where positions are computed, and have no end."""
    limits = []
    for path, part in model.named_modules():
        if isinstance(part, nn.Embedding) and path.rpartition(".")[2] in _POSITIONS and not _TOWER.search(path):
            # Some families reserve the first positions: RoBERTa up to its padding index, BART and OPT two of them.
            reserved = part.padding_idx + 1 if part.padding_idx is not None else int(getattr(part, "offset", 0))
            limits.append(part.num_embeddings - reserved)
    return min(limits, default=None)


def _vocabulary(model: nn.Module) -> int | None:
    """Ids a model has embeddings for; None where that is not known."""
    try:
        embeddings = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    return embeddings.num_embeddings if isinstance(embeddings, nn.Embedding) else None
