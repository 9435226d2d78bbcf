"""From one call of transformers' attention interface to a layer's factors, checked against what the model computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention import DenseAttention, FactoredAttention, Mask
from attnwidget.attention.protocol import shape_text
from attnwidget.intercept.sdpa import as_kernel_saw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.attention import Attention, Probe
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.records import InterfaceCall, KernelCall

_NDIM = 4
_PADDING_NDIM = 2
_PACKED = ("cu_seq_lens_q", "cu_seqlens_q", "cu_seq_lens_k")


def from_interface(call: InterfaceCall, result: Any, keeper: Keeper) -> Attention:  # noqa: ANN401
    """The attention of one call.

    Args:
        call: what went in, and the kernel calls seen inside.
        result: (output, weights or None).
        keeper: of the run.

    Returns:
        Factors; the model's own weights where the factors do not explain its output.

    Raises:
        ValueError: neither is to be had.
    """
    if call.query.ndim != _NDIM or call.key.ndim != _NDIM:
        raise ValueError(
            f"queries have shape {shape_text(call.query)} and keys {shape_text(call.key)}; expected (batch, heads, "
            "tokens, head size)"
        )
    if any(call.options.get(name) is not None for name in _PACKED):
        raise ValueError("several sequences are packed into one row; pass them as a padded batch")
    if len(call.kernels) == 1:
        return _from_kernel(call, call.kernels[0], result, keeper)
    if call.kernels:
        raise ValueError(
            f"{len(call.kernels)} calls of scaled_dot_product_attention in one attention call; expected one"
        )
    return _from_arguments(call, result, keeper)


def _from_kernel(call: InterfaceCall, kernel: KernelCall, result: Any, keeper: Keeper) -> FactoredAttention:  # noqa: ANN401
    """SDPA ran inside: its mask, causality and scale are what counts, the keys those before heads were repeated."""
    query, key, lse, mask = call.query, call.key, kernel.lse, kernel.mask
    n_keys = kernel.key.shape[2]
    if kernel.query.shape == query.shape and kernel.key.shape[1] in (key.shape[1], query.shape[1]):
        query, key = kernel.query, key[:, :, :n_keys]  # a static cache is longer than what the kernel saw of it
    elif kernel.query.shape[2] * kernel.query.shape[1] == query.shape[1] and query.shape[2] == 1:
        # One query with grouped heads, packed as (B, Hkv, group, d): unpack what came with it.
        lse = None if lse is None else lse.reshape(*query.shape[:3])
        if mask is not None and mask.ndim == _NDIM and mask.shape[1] > 1:
            mask = mask.reshape(mask.shape[0], query.shape[1], 1, mask.shape[3])
    else:
        raise ValueError(
            f"queries have shape {shape_text(query)} and the kernel saw {shape_text(kernel.query)}; expected the same"
        )
    query, key = as_kernel_saw(query), as_kernel_saw(key)
    found = keeper.masks.recognise(mask, n_queries=query.shape[2], n_keys=key.shape[2], is_causal=kernel.is_causal)
    return FactoredAttention(
        keeper.keep(query),
        keeper.keep(key),
        keeper.keep_lse(lse),
        scale=kernel.scale,
        mask=found,
        probe=None if kernel.dropout else _probe(call, result, n_keys, keeper),
    )


def _from_arguments(call: InterfaceCall, result: Any, keeper: Keeper) -> Attention:  # noqa: ANN401
    """No kernel seen (eager, or one of its own): what the arguments say is believed only if it explains the output."""
    sinks = call.options.get("s_aux")
    softcap = call.options.get("softcap")
    query, key = keeper.keep(call.query), keeper.keep(call.key)
    for mask in _masks(call, keeper):
        factored = FactoredAttention(
            query,
            key,
            scale=call.options.get("scaling"),
            softcap=None if softcap is None else float(softcap),
            sinks=None if sinks is None else keeper.keep(sinks.reshape(-1)),
            mask=mask,
            probe=None if call.options.get("dropout") else _probe(call, result, key.shape[2], keeper),
        )
        if call.options.get("dropout") or _explains(factored, call.value, result[0]):
            return factored
    weights = result[1] if len(result) > 1 else None
    if isinstance(weights, torch.Tensor) and tuple(weights.shape[:3]) == (factored.n_examples, *query.shape[1:3]):
        return DenseAttention(keeper.keep(weights), factored.mask, factored.probe)
    raise ValueError(
        "its queries, keys and mask do not explain its output, and it returned no weights; "
        'load the model with attn_implementation="sdpa" or "eager"'
    )


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


def _explains(attention: FactoredAttention, value: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether softmax(...) @ v is the output (B, Tq, H, dv), looking at a few rows of every head of two examples."""
    n_queries, n_keys, n_heads = attention.n_queries, attention.n_keys, attention.n_heads
    if tuple(output.shape[:3]) != (attention.n_examples, n_queries, n_heads) or value.shape[2] < n_keys:
        return False
    rows = np.unique([0, n_queries // 3, n_queries // 2, n_queries - 1])
    heads, keys = slice(0, n_heads), slice(0, n_keys)
    coarse = torch.finfo(output.dtype).eps
    for example in {0, attention.n_examples - 1}:
        seen = np.broadcast_to(attention.allowed(example, heads, rows, keys), (n_heads, len(rows), n_keys)).any(-1)
        weights = torch.from_numpy(attention.weights(example, heads, rows, keys)).to(output.device)
        values = value[example if value.shape[0] > 1 else 0, :, :n_keys].detach().float()
        values = values.repeat_interleave(n_heads // values.shape[0], dim=0)
        expected = torch.matmul(weights, values)  # (H, rows, dv)
        actual = output[example, torch.from_numpy(rows).to(output.device)].detach().transpose(0, 1).float()
        tolerance = max(1e-4, 16 * coarse) * float(values.abs().amax().clamp(min=1e-6))
        error = (expected - actual).abs().amax(dim=-1).cpu().numpy()  # (H, rows)
        if (error[seen] > tolerance).any():
            return False
    return True
