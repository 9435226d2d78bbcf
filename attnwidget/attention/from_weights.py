"""Arrays that somebody already has: told apart, checked in one pass, and made a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import is_array, is_tensor, to_numpy
from attnwidget.attention.checks import inspect_weights
from attnwidget.attention.dense import DenseAttention
from attnwidget.attention.masks import Mask
from attnwidget.attention.protocol import shape_text
from attnwidget.attention.recognise import recognise_mask
from attnwidget.attention.stack import AttentionStack
from attnwidget.attention.tokens import TokenNames, Tokens, each_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONE_LAYER, _LAYERS, _BATCHED_LAYERS = 3, 4, 5
_ACCEPTED = (
    "expected a list with one (batch, heads, queries, keys) or (heads, queries, keys) per layer, "
    "or one array (layers, heads, queries, keys) or (layers, batch, heads, queries, keys)"
)
HOW_TO_GET = (
    "under sdpa or flash attention transformers computes no weights: capture the model with attnwidget.AttentionModel, "
    'which needs none of this, or load it with attn_implementation="eager" and pass output_attentions=True'
)


def stack_from_weights(
    weights: Any,  # noqa: ANN401 - any array type, or a list of them
    tokens: TokenNames | Sequence[TokenNames] | None,
    *,
    key_tokens: TokenNames | Sequence[TokenNames] | None,
    mask: Any,  # noqa: ANN401 - any array type
    name: str,
) -> AttentionStack:
    """Build a stack; see `AttentionCapture.from_weights`."""
    layers = _layers(weights)
    for number, layer in enumerate(layers):
        if layer.shape != layers[0].shape:
            raise ValueError(
                f"layer {number} has shape {shape_text(layer)} and layer 0 {shape_text(layers[0])}; expected one "
                "shape for all layers: make a capture of its own for layers with other heads or lengths"
            )
    n_examples, _, n_queries, n_keys = layers[0].shape
    if 0 in layers[0].shape:
        raise ValueError(f"weights have shape {shape_text(layers[0])} per layer, which holds nothing; {_ACCEPTED}")
    # Names first: a wrong count should not wait for a pass over gigabytes.
    query_names = _names("tokens", tokens, n_examples, n_queries)
    key_names = _names("key_tokens", key_tokens, n_examples, n_keys)
    found = inspect_weights(layers)
    known = _mask(mask, layers[0].shape)
    if known is None and found.causal:
        known = Mask.causal(n_queries, n_keys)
    built = [DenseAttention(layer, known) for layer in layers]
    return AttentionStack(name, built, query_tokens=query_names, key_tokens=key_names)


def _layers(weights: Any) -> list[NDArray[Any]]:  # noqa: ANN401 - any array type
    """One (B, H, Tq, Tk) array per layer."""
    if is_array(weights):
        array = _floating(weights, "weights")
        if array.ndim == _ONE_LAYER:
            return [array[None]]
        if array.ndim == _LAYERS:
            return [layer[None] for layer in array]
        if array.ndim == _BATCHED_LAYERS:
            return list(array)
        raise ValueError(f"weights have shape {shape_text(array)}, {array.ndim}-D; {_ACCEPTED}")
    if isinstance(weights, Mapping) or hasattr(weights, "attentions"):
        raise TypeError(
            f"weights are a {type(weights).__name__}, a model's whole output; expected the weights in it: pass all of "
            "it to attnwidget.from_output, or its `.attentions` (or `.encoder_attentions`, `.decoder_attentions`, "
            "`.cross_attentions`) here"
        )
    if not isinstance(weights, (list, tuple)):
        raise TypeError(f"weights are {type(weights).__name__}; {_ACCEPTED}")
    if not weights:
        raise ValueError(f"weights are an empty {type(weights).__name__}, there is no layer in it: {HOW_TO_GET}")
    missing = [number for number, layer in enumerate(weights) if layer is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(weights)} layers are None (the first is layer {missing[0]}): {HOW_TO_GET}"
        )
    return [_layer(layer, number) for number, layer in enumerate(weights)]


def _layer(layer: object, number: int) -> NDArray[Any]:
    if not is_array(layer):
        raise TypeError(f"layer {number} is {type(layer).__name__}; {_ACCEPTED}")
    array = _floating(layer, f"layer {number}")
    if array.ndim == _ONE_LAYER:
        return array[None]
    if array.ndim != _LAYERS:
        raise ValueError(f"layer {number} has shape {shape_text(array)}, {array.ndim}-D; {_ACCEPTED}")
    return array


def _floating(value: Any, what: str) -> NDArray[Any]:  # noqa: ANN401 - any array type
    floating = (
        value.dtype.is_floating_point if is_tensor(value) else np.issubdtype(np.asarray(value).dtype, np.floating)
    )
    if not floating:
        raise TypeError(f"{what} of type {value.dtype}; expected floating point weights between 0 and 1")
    return to_numpy(value)


def _names(
    what: str, names: TokenNames | Sequence[TokenNames] | None, n_examples: int, length: int
) -> list[Tokens] | None:
    if names is None:
        return None
    examples = list(each_tokens(names))
    if len(examples) == 1:
        examples *= n_examples
    if len(examples) != n_examples:
        raise ValueError(
            f"{what} name {len(examples)} examples and the weights have {n_examples}; expected one list per example, "
            "or one for all"
        )
    for number, tokens in enumerate(examples):
        if len(tokens) != length:
            axis = "queries" if what == "tokens" else "keys"
            raise ValueError(
                f"{what} of example {number} hold {len(tokens)} names and the weights have {length} {axis}; "
                "expected one name per position, special tokens and padding included"
            )
    return examples


def _mask(mask: Any, shape: tuple[int, ...]) -> Mask | None:  # noqa: ANN401 - any array type
    if mask is None:
        return None
    array = to_numpy(mask)
    if array.dtype != np.bool_:
        raise TypeError(f"mask is of type {array.dtype}; expected bool, True where a query may look at a key")
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"mask has shape {shape_text(array)}; expected one that broadcasts to {shape}") from None
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    return recognise_mask(np.broadcast_to(array, (*array.shape[:2], *shape[2:])), n_queries=shape[2], n_keys=shape[3])
