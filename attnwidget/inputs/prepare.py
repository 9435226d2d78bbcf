"""Tells the accepted inputs apart and prepares each for the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention import Tokens
from attnwidget.inputs.encodings import tokens_of_ids
from attnwidget.inputs.text import Example, encode_text, example_of_ids, pad
from attnwidget.intercept.naming import Axis, Naming, name_axis

if TYPE_CHECKING:
    from attnwidget.attention.tokens import TokenNames

_ACCEPTED = (
    "a str, a pair (str, str), a list of either, token ids (a list of ints, a list of such lists, an int tensor or "
    "array), a dict of tensors, or a tensor"
)
_IDS_NDIM = 2


@dataclass(frozen=True)
class Prepared:
    """What the model is called with, and what its tokens are.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        naming: of the tokens.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    naming: Naming = field(default_factory=Naming)


def prepare(
    inputs: Any,  # noqa: ANN401 - see below
    tokenizer: Any,  # noqa: ANN401 - transformers ships no types we use
    *,
    device: torch.device,
    parameters: Collection[str],
    left: bool = False,
) -> Prepared:
    """Prepare whatever a person passes.

    Args:
        inputs: any of the accepted forms.
        tokenizer: of the model, or None.
        device: where the model is.
        parameters: names of what the model's forward takes, in order.
        left: pad on the left, whatever the tokenizer does.

    Returns:
        Arguments on the model's device, and names for the tokens.

    Raises:
        TypeError: none of the accepted forms.
        ValueError: an empty text, or ids of a wrong shape.
    """
    if isinstance(inputs, Mapping):
        return _mapping(inputs, tokenizer, device)
    texts = _texts(inputs)
    if texts is not None:
        if tokenizer is None:
            raise TypeError(
                "the input is text and this model has no tokenizer: pass one, AttentionModel(model, tokenizer), "
                "or pass tensors, with tokens= to name them"
            )
        return _batch([encode_text(tokenizer, text) for text in texts], tokenizer, device, left=left)
    lists = _id_lists(inputs)
    if lists is not None:
        return _batch([example_of_ids(tokenizer, ids) for ids in lists], tokenizer, device, left=left)
    if isinstance(inputs, torch.Tensor) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind in "biufc"):
        return _tensor(torch.as_tensor(inputs).to(device), tokenizer, list(parameters))
    raise TypeError(f"inputs are {type(inputs).__name__} {_shown(inputs)}; expected {_ACCEPTED}")


def _tensor(tensor: torch.Tensor, tokenizer: Any, parameters: Sequence[str]) -> Prepared:  # noqa: ANN401
    is_ids = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    only_ids = parameters[:1] == ["input_ids"]
    if only_ids and not is_ids:
        raise TypeError(
            f"inputs are a tensor {tuple(tensor.shape)} of {tensor.dtype} and this model takes token ids; expected an "
            'integer tensor, or {"inputs_embeds": ...} for embeddings'
        )
    if "input_ids" not in parameters or not is_ids or (tensor.ndim > _IDS_NDIM and not only_ids):
        return Prepared((tensor,), {})
    if tensor.ndim not in (1, _IDS_NDIM) or not tensor.numel():
        raise ValueError(
            f"token ids have shape {tuple(tensor.shape)}; expected (tokens,) or (batch, tokens), not empty"
        )
    if tensor.dtype != torch.int32:  # the narrow and unsigned types are no index to an embedding
        tensor = tensor.long()
    ids = tensor.reshape(-1, tensor.shape[-1])  # (B, T)
    return Prepared((), {"input_ids": ids}, Naming(_axis(_row_tokens(tokenizer, ids, None), None)))


def _texts(inputs: object) -> list[tuple[str, ...]] | None:
    """One tuple of one or two texts per example; None if this is not text."""
    if isinstance(inputs, str) or _is_pair(inputs):
        return [_one(inputs)]
    if isinstance(inputs, list) and inputs and all(isinstance(text, str) or _is_pair(text) for text in inputs):
        return [_one(text) for text in inputs]
    return None


def _one(text: Any) -> tuple[str, ...]:  # noqa: ANN401 - a str or a pair, as the caller has looked
    return (text,) if isinstance(text, str) else tuple(text)


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == len("ab") and all(isinstance(text, str) for text in value)


def _id_lists(inputs: object) -> list[list[int]] | None:
    if not isinstance(inputs, (list, tuple)):
        return None
    if not inputs:
        raise ValueError(f"inputs are empty; expected {_ACCEPTED}")
    if all(_is_int(number) for number in inputs):
        return [[int(number) for number in inputs]]
    rows = [row.tolist() if isinstance(row, (torch.Tensor, np.ndarray)) else row for row in inputs]
    if all(isinstance(row, (list, tuple)) and all(_is_int(number) for number in row) for row in rows):
        return [[int(number) for number in row] for row in rows]
    return None


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _batch(examples: list[Example], tokenizer: Any, device: torch.device, *, left: bool) -> Prepared:  # noqa: ANN401
    batch = {name: tensor.to(device) for name, tensor in pad(examples, tokenizer, left=left).items()}
    mask = batch["attention_mask"]
    if any(example.tokens is None for example in examples):
        return Prepared((), batch, Naming(_axis(None, mask)))
    spans = _spans(mask)
    width = mask.shape[1]
    tokens = [
        widen(example.tokens, start, width)
        for example, (start, _) in zip(examples, spans, strict=True)
        if example.tokens
    ]
    return Prepared((), batch, Naming(Axis(tuple(tokens), spans, width)))


def widen(tokens: Tokens, start: int, width: int) -> Tokens:
    """Tokens of an example at its place among padding; the padding is cut off again when the stack is built."""
    after = width - start - len(tokens)

    def wide(column: tuple[Any, ...], fill: object) -> tuple[Any, ...]:
        return (fill,) * start + column + (fill,) * after

    return Tokens(
        wide(tokens.pieces, ""),
        wide(tokens.text, ""),
        wide(tokens.gap, ""),
        wide(tokens.special, True),
        wide(tokens.segment, 0),
    )


def _mapping(inputs: Mapping[str, Any], tokenizer: Any, device: torch.device) -> Prepared:  # noqa: ANN401
    if not inputs:
        raise ValueError(f"inputs are empty; expected {_ACCEPTED}")
    batch = {name: _to_device(name, value, device) for name, value in inputs.items()}
    ids = batch.get("input_ids")
    if ids is not None and not isinstance(ids, torch.Tensor):
        raise TypeError(f"input_ids are {type(ids).__name__} {_shown(ids)}; expected ints, or a tensor of them")
    if ids is not None and ids.ndim == 1:
        # One example without a batch axis: give the axis to everything that is as long.
        count = ids.shape[0]
        batch = {
            name: value[None] if isinstance(value, torch.Tensor) and tuple(value.shape) == (count,) else value
            for name, value in batch.items()
        }
        ids = batch["input_ids"]
    tokens = None if ids is None else _row_tokens(tokenizer, ids, batch.get("token_type_ids"))
    return Prepared((), batch, Naming(_axis(tokens, batch.get("attention_mask"))))


def decoder_axis(kwargs: Mapping[str, Any], tokenizer: Any) -> Axis | None:  # noqa: ANN401
    """Names of an encoder-decoder's second sequence, where its ids were passed."""
    ids = kwargs.get("decoder_input_ids")
    tokens = _row_tokens(tokenizer, ids, None) if isinstance(ids, torch.Tensor) else None
    return _axis(tokens, kwargs.get("decoder_attention_mask"))


def _to_device(name: str, value: Any, device: torch.device) -> Any:  # noqa: ANN401 - options pass as they are
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (int, float, list, tuple)):
        try:
            return torch.tensor(value, device=device)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{name} is no rectangle of numbers ({error}); expected rows of one length: pad them and say so in "
                "attention_mask, or pass a list of lists of ids instead of a dict"
            ) from error
    return torch.as_tensor(value).to(device) if isinstance(value, (torch.Tensor, np.ndarray)) else value


def _row_tokens(tokenizer: Any, ids: torch.Tensor, segments: Any) -> tuple[Tokens, ...] | None:  # noqa: ANN401
    if tokenizer is None or ids.ndim != _IDS_NDIM:
        return None
    kinds = segments.tolist() if isinstance(segments, torch.Tensor) and segments.shape == ids.shape else None
    rows = ids.tolist()
    return tuple(tokens_of_ids(tokenizer, row, kinds[number] if kinds else None) for number, row in enumerate(rows))


def _axis(tokens: tuple[Tokens, ...] | None, mask: Any) -> Axis | None:  # noqa: ANN401 - may be None, or any mask
    """Names and spans; where only the spans are known, positions are numbered from each span's start."""
    spans = _spans(mask) if isinstance(mask, torch.Tensor) and mask.ndim == _IDS_NDIM else None
    if tokens is None and spans is not None and isinstance(mask, torch.Tensor):
        tokens = tuple(widen(Tokens.numbered(stop - start), start, mask.shape[1]) for start, stop in spans)
    return None if tokens is None else Axis(tokens, spans, None if spans is None else int(mask.shape[1]))


def _spans(mask: torch.Tensor) -> tuple[tuple[int, int], ...]:
    """Per row of a (B, T) mask, where padding ends and begins again."""
    spans = []
    for number, row in enumerate(mask.cpu().numpy() != 0):
        places = np.flatnonzero(row)
        if not len(places):
            raise ValueError(f"example {number} is all padding; expected at least one token that attention_mask keeps")
        spans.append((int(places[0]), int(places[-1]) + 1))
    return tuple(spans)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:60]}..." if len(text) > len("..." * 21) else text


def as_names(tokens: TokenNames | Sequence[TokenNames], axis: Axis | None) -> Axis:
    """Names a person gives replace those of the tokenizer; padding stays cut off."""
    named = name_axis(tokens)
    assert named is not None  # noqa: S101 - names were given; this is for the type checker
    if axis is None:
        return named
    return replace(named, spans=axis.spans, width=None if axis.spans is None else axis.width or len(axis.tokens[0]))
