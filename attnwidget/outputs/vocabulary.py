"""Finding the logits of a run, and the number of a token in them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch

_NDIM = 3


def logits_of(output: Any, n_tokens: int, name: str) -> torch.Tensor:  # noqa: ANN401 - whatever a model returns
    """The logits (B, T, V) in the output of a language model.

    Args:
        output: of the model.
        n_tokens: T that is expected.
        name: of the model, for errors.

    Raises:
        ValueError: it has none, or of other tokens.
    """
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if not isinstance(found, torch.Tensor) or found.ndim != _NDIM:
        seen = f"{type(output).__name__}, " + (
            f"with logits of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else "which has no logits"
        )
        raise ValueError(
            f"the output of {name} is {seen}; expected logits (batch, tokens, vocabulary) of a language model. Load it "
            "with its head, from_pretrained(..., auto_class=transformers.AutoModelForCausalLM), or pass a function of "
            "the output as metric"
        )
    if found.shape[1] != n_tokens:
        raise ValueError(
            f"the output of {name} has logits for {found.shape[1]} tokens and it was given {n_tokens}; expected a row "
            "for each: leave logits_to_keep out, or pass a function of the output as metric"
        )
    return found


def token_id(token: object, tokenizer: Any, size: int) -> int:  # noqa: ANN401 - transformers ships no types we use
    """The number of a token in the vocabulary.

    Args:
        token: its number, or a text that is one token, its space included where the vocabulary has it so (" Mary").
        tokenizer: of the model, or None.
        size: of the vocabulary.

    Raises:
        TypeError: it is neither, or a text and there is no tokenizer.
        ValueError: it is no token, or several.
    """
    if not isinstance(token, str):
        try:
            number = operator.index(token)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"token is {type(token).__name__} {token!r:.60}; expected a str or a token id") from None
        if isinstance(token, bool) or not 0 <= number < size:
            raise ValueError(f"token id {token} does not exist: the model has ids 0 to {size - 1}")
        return number
    if tokenizer is None:
        raise TypeError(f"token is the text {token!r} and this model has no tokenizer: pass its id")
    ids = [int(number) for number in tokenizer.encode(token, add_special_tokens=False)]
    known = tokenizer.get_vocab().get(token)  # as the vocabulary writes it: "ĠMary", "##ing"
    if len(ids) != 1 and known is not None:
        ids = [int(known)]
    if len(ids) != 1 or ids[0] == getattr(tokenizer, "unk_token_id", None) != known:
        pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(ids)]
        raise ValueError(
            f"token {token!r} is {len(ids)} tokens of this model: {pieces}; expected one, as the vocabulary has it "
            '(with its space: " Mary"), or a token id'
        )
    if ids[0] >= size:
        raise ValueError(f"token {token!r} has id {ids[0]} and the model has ids 0 to {size - 1}")
    return ids[0]


def name_of_token(number: int, tokenizer: Any) -> str:  # noqa: ANN401
    """A token as people read it: " Mary"; its number where there is no tokenizer."""
    if tokenizer is None:
        return str(number)
    return str(tokenizer.decode([number])) or str(tokenizer.convert_ids_to_tokens(number))


def place_of(position: object, span: tuple[int, int]) -> int:
    """Where a token stands in the logits.

    Args:
        position: of the token, counted without padding, from 0 or from the end.
        span: what of the sequence is not padding.

    Raises:
        TypeError: it is no number.
        IndexError: there is no such token.
    """
    try:
        number = operator.index(position)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"position is {type(position).__name__} {position!r:.60}; expected an int") from None
    length = span[1] - span[0]
    if not -length <= number < length:
        raise IndexError(f"position {number} does not exist: the text has tokens 0 to {length - 1}")
    return span[0] + number % length
