"""From one call of transformers' attention interface to a layer's factors, checked against what the model computed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from attnwidget.attention import DenseAttention, FactoredAttention, Mask
from attnwidget.attention.protocol import shape_text
from attnwidget.intercept.byhand.handmade import from_hand
from attnwidget.intercept.calls import MODULE
from attnwidget.intercept.causalbias import with_readable_mask
from attnwidget.intercept.dropout import keep_dropped
from attnwidget.intercept.explaining import gives_output, gives_survivors, gives_weights
from attnwidget.intercept.flex import flex_factors, mask_of
from attnwidget.intercept.packing import is_packed, packed_masks
from attnwidget.intercept.sdpa import as_kernel_saw, check_readable
from attnwidget.intercept.taking import take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from attnwidget.attention import Attention, Probe
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import FlexCall, InterfaceCall, KernelCall

AS_RETURNED = (
    f"the weights that {MODULE} returned are shown, and multiplied with its values they do not give its output: it may "
    "have computed with others"
)
_NDIM = 4
_PADDING_NDIM = 2


def from_interface(
    call: InterfaceCall,
    result: Any,  # noqa: ANN401
    keeper: Keeper,
    notes: list[str],
) -> Attention:
    """The attention of one call.

    Args:
        call: what went in, and the kernel calls seen inside.
        result: (output, weights or None).
        keeper: of the run.
        notes: what the capture should tell is added here.

    Returns:
        Factors; the model's own weights where the factors do not explain its output.

    Raises:
        ValueError: neither is to be had.
    """
    check_readable(call.query)
    if call.query.ndim != _NDIM or call.key.ndim != _NDIM:
        raise ValueError(
            f"queries have shape {shape_text(call.query)} and keys {shape_text(call.key)}; expected (batch, heads, "
            "tokens, head size)"
        )
    if len(call.kernels) == 1:
        return _from_kernel(call, call.kernels[0], result, keeper)
    if call.kernels:
        raise ValueError(
            f"{len(call.kernels)} calls of scaled_dot_product_attention in one attention call; expected one"
        )
    if len(call.flexes) == 1:
        return _from_flex(call, call.flexes[0], result, keeper, notes)
    return _from_arguments(call, result, keeper, notes)


def take_interface(call: InterfaceCall, result: Any, keeper: Keeper) -> Callable[[Keeper], Attention] | None:  # noqa: ANN401
    """As `take`, of a call in which one kernel ran over the queries, keys and values that the call says."""
    if len(call.kernels) != 1 or not call.passes_on:
        return None
    kernel, query, output = call.kernels[0], call.query, result[0]
    key, value = _key(call, kernel), call.value
    value = kernel.value if kernel.value.shape[1] == value.shape[1] else value
    if query.ndim != _NDIM or key.ndim != _NDIM or kernel.query.shape != query.shape:
        return None
    batch, heads, n_queries, _ = query.shape
    n_keys = kernel.key.shape[2]
    if kernel.key.shape[1] not in (key.shape[1], heads) or not key.shape[2] == n_keys == value.shape[2]:
        return None
    if output.shape != (batch, n_queries, heads, value.shape[-1]):
        return None
    return take(kernel, key, value, output.transpose(1, 2), keeper)


def _from_flex(
    call: InterfaceCall,
    flex: FlexCall,
    result: Any,  # noqa: ANN401
    keeper: Keeper,
    notes: list[str],
) -> Attention:
    """flex_attention ran inside, with a score_mod that transformers made of the arguments, and sinks afterwards."""
    if isinstance(call.mask, torch.Tensor) or call.options.get("position_bias") is not None:
        # The score_mod reads whole matrices, which are kept smaller as masks.
        with suppress(ValueError):
            return _from_arguments(call, result, keeper, notes)
    key = _key(call, flex)
    probe = _probe(call, result, key.shape[2], keeper)
    return flex_factors(replace(flex, key=key), keeper, probe, sinks=call.options.get("s_aux"))


def _from_kernel(call: InterfaceCall, kernel: KernelCall, result: Any, keeper: Keeper) -> Attention:  # noqa: ANN401
    """SDPA ran inside: what it saw counts, and of its keys those before heads were repeated."""
    kernel = with_readable_mask(kernel)
    query, key, lse, mask, dropped = kernel.query, _key(call, kernel), kernel.lse, kernel.mask, kernel.dropped
    shape, n_keys = call.query.shape, key.shape[2]
    if query.shape[1] * query.shape[2] == shape[1] and shape[2] == 1 < query.shape[2]:
        # One query with grouped heads, packed as (B, Hkv, group, d): unpack what came with it.
        query = query.reshape(shape)
        lse = None if lse is None else lse.reshape(*shape[:3])
        dropped = None if dropped is None else dropped.reshape(*shape[:3], n_keys)
        if mask is not None and mask.ndim == _NDIM and mask.shape[1] > 1:
            mask = mask.reshape(mask.shape[0], shape[1], 1, mask.shape[3])
    elif query.shape != shape or key.shape[1] not in (call.key.shape[1], shape[1]):
        raise ValueError(
            f"queries have shape {shape_text(call.query)} and the kernel saw {shape_text(query)}; expected the same"
        )
    query, key = as_kernel_saw(query), as_kernel_saw(key)
    found = keeper.masks.recognise(mask, n_queries=query.shape[2], n_keys=n_keys, is_causal=kernel.is_causal)
    # A function of somebody's own may change values too, and what comes out of the kernel.
    own = not call.passes_on and kernel.query.shape == shape
    probe = keeper.probe(kernel.value, kernel.output) if own else _probe(call, result, n_keys, keeper)
    if kernel.dropout and keeper.dropout:
        return keep_dropped(dropped, found, keeper, probe)
    return FactoredAttention(
        keeper.keep(query),
        keeper.keep(key),
        keeper.keep_lse(lse),
        scale=kernel.scale,
        mask=found,
        probe=None if kernel.dropout else probe,
    )


def _key(call: InterfaceCall, kernel: KernelCall | FlexCall) -> torch.Tensor:
    """(B, Hkv, Tk, d): what a kernel saw, each head once where they were only repeated for groups of query heads."""
    seen, given = kernel.key, call.key[:, :, : kernel.key.shape[2]]  # a static cache is longer than what is seen of it
    if seen.shape[1] == given.shape[1] or seen.shape[1] % given.shape[1] or seen.shape[2:] != given.shape[2:]:
        return seen
    if call.passes_on and not seen.is_cpu:  # elsewhere a look would wait for all that is queued
        return given
    grouped = seen.reshape(given.shape[0], given.shape[1], -1, *given.shape[2:])
    return given if _same(grouped, given[:, :, None].expand_as(grouped)) else seen


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether numbers are the same; what is no number is like what is none."""
    return torch.equal(one, other) or (bool(other.isnan().any()) and torch.equal(one.nan_to_num(), other.nan_to_num()))


def _from_arguments(
    call: InterfaceCall,
    result: Any,  # noqa: ANN401
    keeper: Keeper,
    notes: list[str],
) -> Attention:
    """No kernel seen (eager, or one of its own): what the arguments say is believed only if it explains the output."""
    sinks = call.options.get("s_aux")
    softcap = call.options.get("softcap")
    dropout = float(call.options.get("dropout") or 0)
    weights, every = _returned(call, result), not (call.is_known and _is_straight(call))
    if every and (weights is None or dropout):
        with suppress(ValueError):  # what weights it multiplied with values is known better than from its output
            return _by_hand(call, keeper)
    query, key = keeper.keep(call.query), keeper.keep(call.key)
    sinks = None if sinks is None else keeper.keep(sinks.reshape(-1))
    keeper.settle()
    for mask in _masks(call, keeper):
        factored = FactoredAttention(
            query,
            key,
            scale=call.options.get("scaling"),
            softcap=None if softcap is None else float(softcap),
            sinks=sinks,
            mask=mask,
            probe=None if dropout else _probe(call, result, key.shape[2], keeper),
        )
        if not dropout and _explains(factored, call, result, weights, every=every):
            return factored
        if dropout and weights is not None and gives_survivors(factored, weights, dropout, every=every):
            return _dropped(call, result, weights, mask, keeper) if keeper.dropout else factored
    if len(call.by_hand) == 1 and not (every and dropout):
        found = _by_hand_unless_returned(call, result, weights, keeper, every=every)
        if found is not None:
            return found
    if dropout:
        raise ValueError(
            "dropout took part in its output, and it returned no weights that tell whether its queries, keys and mask "
            'are understood; run the model in eval mode, or load it with attn_implementation="sdpa" or "eager"'
        )
    if weights is None:
        raise ValueError(_unexplained(call))
    # Made anew: what was tried meanwhile may have left another to check by.
    found = DenseAttention(keeper.keep(weights), factored.mask, _probe(call, result, key.shape[2], keeper))
    keeper.settle()
    if not (bool(weights.isnan().any()) or gives_output(found, call.value, result[0], every=every)):
        notes.append(AS_RETURNED)
    return found


def _unexplained(call: InterfaceCall) -> str:
    if is_packed(call.options):
        return (
            "several sequences are packed into one row, and none of the ways to attend within them that are known "
            'explains its output; pass them as a padded batch, or load the model with attn_implementation="sdpa"'
        )
    return (
        "its queries, keys and mask do not explain its output, and it returned no weights; "
        'load the model with attn_implementation="sdpa" or "eager"'
    )


def _is_straight(call: InterfaceCall) -> bool:
    """Whether all that happened between one product of queries and keys and one with values was followed."""
    if len(call.by_hand) != 1:
        return False
    trail = call.by_hand[0].trail
    followed = trail.scores is not None and trail.scores.factors is not None
    return followed and trail.source is None and not trail.is_touched


def _by_hand(call: InterfaceCall, keeper: Keeper) -> Attention:
    """What a softmax inside tells.

    Raises:
        ValueError: there is none, or several, or it is of a part of the queries or heads.
    """
    if len(call.by_hand) != 1:
        raise ValueError(f"{len(call.by_hand)} softmaxes written by hand in one attention call; expected one")
    found = from_hand(call.by_hand[0], keeper, [])
    expected = (max(call.query.shape[0], call.key.shape[0]), *call.query.shape[1:3])
    if (found.n_examples, found.n_heads, found.n_queries) != expected:
        raise ValueError(
            f"its softmax is of {found.n_examples} x {found.n_heads} heads and {found.n_queries} queries; expected "
            f"{expected[0]} x {expected[1]} and {expected[2]}"
        )
    return found


def _by_hand_unless_returned(
    call: InterfaceCall,
    result: Any,  # noqa: ANN401
    weights: torch.Tensor | None,
    keeper: Keeper,
    *,
    every: bool,
) -> Attention | None:
    """Likewise; None where its softmax was not the last word, and weights that were returned may be."""
    try:
        found = _by_hand(call, keeper)
    except ValueError:
        if weights is None:
            raise
        return None
    return found if weights is None or gives_output(found, call.value, result[0], every=every) else None


def _explains(
    attention: FactoredAttention,
    call: InterfaceCall,
    result: Any,  # noqa: ANN401
    weights: torch.Tensor | None,
    *,
    every: bool,
) -> bool:
    """Whether factors give the output, and weights that were returned, if any were: these show more."""
    if not gives_output(attention, call.value, result[0], every=every):
        return False
    if not every or weights is None or weights.shape[3] != attention.n_keys:
        return True
    return gives_weights(attention, weights, every=True)


def _returned(call: InterfaceCall, result: Any) -> torch.Tensor | None:  # noqa: ANN401
    """The weights (B, H, Tq, Tk) the function returned beside its output."""
    weights = result[1] if len(result) > 1 else None
    expected = (max(call.query.shape[0], call.key.shape[0]), *call.query.shape[1:3])
    fits = isinstance(weights, torch.Tensor) and weights.ndim == _NDIM and tuple(weights.shape[:3]) == expected
    return weights if fits else None


def _dropped(
    call: InterfaceCall,
    result: Any,  # noqa: ANN401
    weights: torch.Tensor,
    mask: Mask | None,
    keeper: Keeper,
) -> Attention:
    """The returned weights, if they are those that met the values."""
    if not gives_output(DenseAttention(weights, mask), call.value, result[0], every=False):
        raise ValueError(
            "dropout=True, and the weights it returned are not those after dropout; leave dropout=True out for the "
            "weights before it"
        )
    return keep_dropped(weights, mask, keeper, _probe(call, result, call.key.shape[2], keeper))


def _probe(call: InterfaceCall, result: Any, n_keys: int, keeper: Keeper) -> Probe | None:  # noqa: ANN401
    """What to check the call by, if its output is (B, Tq, H, dv), as the interface has it."""
    output = result[0]
    batch, heads, n_queries, _ = call.query.shape
    if tuple(output.shape) != (batch, n_queries, heads, call.value.shape[-1]) or call.value.shape[2] < n_keys:
        return None
    return keeper.probe(call.value[:, :, :n_keys], output.transpose(1, 2))


def _masks(call: InterfaceCall, keeper: Keeper) -> Iterator[Mask | None]:
    """What the mask may have been, likeliest first."""
    n_queries, n_keys = call.query.shape[2], call.key.shape[2]
    mask, bias = call.mask, call.options.get("position_bias")
    if hasattr(mask, "mask_mod"):  # flex attention's own kind
        yield _with_bias(mask_of(mask, n_queries, n_keys, keeper, fused=not call.flexes), bias, keeper, call)
        return
    if mask is not None and mask.ndim == _PADDING_NDIM:
        mask = mask[:, None, None, :].bool()
    if mask is not None and mask.ndim == _NDIM:
        mask = mask[..., :n_keys]
    if bias is not None:
        mask = (
            bias if mask is None else bias + mask if mask.is_floating_point() else bias.masked_fill(~mask, -torch.inf)
        )
    yield keeper.masks.recognise(mask, n_queries=n_queries, n_keys=n_keys)
    if n_queries == n_keys:
        yield keeper.masks.recognise(mask, n_queries=n_queries, n_keys=n_keys, is_causal=True)
    if is_packed(call.options) and call.query.shape[0] == 1:
        yield from map(keeper.masks.share, packed_masks(call.options, n_queries, n_keys))


def _with_bias(found: Mask | None, bias: torch.Tensor | None, keeper: Keeper, call: InterfaceCall) -> Mask | None:
    """A mask, and what is added to the scores beside it."""
    n_queries, n_keys = call.query.shape[2], call.key.shape[2]
    added = keeper.masks.recognise(bias, n_queries=n_queries, n_keys=n_keys)
    if found is None or added is None:
        return found or added
    # What the bias forbids, if anything, is lost here; the output then tells.
    return keeper.masks.share(replace(found, bias=added.bias, relative=added.relative))
