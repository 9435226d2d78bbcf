"""Route 2: `scaled_dot_product_attention`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from attnwidget.attention import FactoredAttention
from attnwidget.intercept.byhand.kernelaxes import heads_elsewhere, with_four_axes
from attnwidget.intercept.calls import dropout_is_asked_for, record_call, tell
from attnwidget.intercept.causalbias import with_readable_mask
from attnwidget.intercept.dropout import keep_dropped, run_showing_weights
from attnwidget.intercept.kernels import MATH, PROBATION, Facts, additive_mask, call_kernel, kernel_of
from attnwidget.intercept.plain import PLAIN, has_values
from attnwidget.intercept.records import InterfaceCall, KernelCall
from attnwidget.intercept.taking import take
from attnwidget.intercept.windows.framing import frame_shadows
from attnwidget.intercept.windows.leading import in_four_axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from attnwidget.attention import Attention, Probe
    from attnwidget.intercept.keeping import Keeper

CURRENT: ContextVar[InterfaceCall | None] = ContextVar("attnwidget_interface_call", default=None)
"""The interface call this thread or task is in: kernel calls inside belong to it and are not layers of their own."""

SDPA = {functional.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention}  # noqa: SLF001
# By these names where torch.export wrote the module.
SDPA |= {torch.ops.aten.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default}
FAKE = (
    "it ran on fake tensors, which have shapes and hold no values (torch.export and FakeTensorMode use them); export "
    "the module outside of the capture, and run it on tensors"
)
_HIP = torch.version.hip is not None
_NDIM = 4


def watched(func: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
    """Run a call, and record it: as a layer, or as what ran inside a call of transformers' interface."""
    output, call = run_kernel(func, *args, **kwargs)
    inside = CURRENT.get()
    if inside is not None:
        inside.kernels.append(call)
    else:
        odd = heads_elsewhere(call.query)
        if odd is not None:
            tell(odd)
        notes: list[str] = []
        record_call(
            lambda keeper: _attention(call, keeper, notes),
            take=lambda keeper: take(call, call.key, call.value, output, keeper),
            implementation="sdpa",
            notes=notes,
            outputs=(output,),
        )
    return output


def run_kernel(
    func: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002 - torch's signature
    **options: Any,  # noqa: ANN401 - torch's signature: scale, enable_gqa
) -> tuple[torch.Tensor, KernelCall]:
    """Run a call as it would have run, keeping the kernel's lse where it gives one."""
    scale = options.get("scale")
    lse = dropped = None
    is_usual = False
    if dropout_p and dropout_is_asked_for():
        output, dropped = _showing_weights(
            func, query, key, value, attn_mask, dropout_p, is_causal=is_causal, options=options
        )
    else:
        output, lse, is_usual = _with_lse(
            func, query, key, value, attn_mask, dropout_p, is_causal=is_causal, options=options
        )
    return output, KernelCall(query, key, value, attn_mask, is_causal, scale, lse, output, dropout_p, dropped, is_usual)


def _showing_weights(
    func: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: float,
    *,
    is_causal: bool,
    options: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a call with dropout as it would have run; its weights too, where no fused kernel hides them."""
    scale, grouped = options.get("scale"), options.get("enable_gqa", False)
    q, k, v = (as_kernel_saw(tensor) for tensor in (query, key, value))
    seen = None if mask is None else as_kernel_saw(mask)
    if _backend(q, k, v, seen, dropout, is_causal=is_causal, scale=scale, grouped=grouped) != MATH:
        return func(query, key, value, mask, dropout, is_causal, **options), None
    with torch.autocast(q.device.type, enabled=False):
        return run_showing_weights(
            q,
            k,
            v,
            None if seen is None else additive_mask(seen, q.dtype),
            dropout,
            is_causal=is_causal,
            scale=scale,
            grouped=grouped,
        )


def _with_lse(
    func: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: float,
    *,
    is_causal: bool,
    options: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor | None, bool]:
    """Run a call as it would have run; lse too, where the kernel that it would end in also returns that.

    Returns:
        The output, lse or None, and whether the call is a usual one, see `KernelCall`.
    """
    scale, grouped = options.get("scale"), options.get("enable_gqa", False)
    choice = _backend(query, key, value, mask, dropout, is_causal=is_causal, scale=scale, grouped=grouped)
    if choice is None:
        return func(query, key, value, mask, dropout, is_causal, **options), None, False
    device = query.device
    facts = Facts(
        device.type,
        choice,
        dropout != 0,
        torch.is_autocast_enabled(device.type),
        not (query.numel() and key.numel() and value.numel()),
        None if mask is None else mask.dtype,
        torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad),
        _HIP,
    )
    kernel = kernel_of(facts)
    if kernel is None:
        output = func(query, key, value, mask, dropout, is_causal, **options)
        return output, None, not (facts.dropout or facts.autocast or facts.empty)
    if kernel == "cpu flash":  # tested wherever the tests run
        return *call_kernel(kernel, query, key, value, mask, is_causal=is_causal, scale=scale), True
    output, lse = PROBATION.run(
        (kernel, device, query.dtype, query.shape[-1], value.shape[-1], facts, is_causal, grouped),
        lambda: func(query, key, value, mask, dropout, is_causal, **options),
        lambda: call_kernel(kernel, query, key, value, mask, is_causal=is_causal, scale=scale),
    )
    return output, lse, True


def _backend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: float,
    *,
    is_causal: bool,
    scale: float | None,
    grouped: bool,
) -> int | None:
    """What the plain call would choose for these tensors; None if something else decides."""
    if not (_is_plain(query) and _is_plain(key) and _is_plain(value) and (mask is None or _is_plain(mask))):
        return None
    # Function transforms have no rule for the kernels.
    if query.ndim != _NDIM or _in_transform():
        return None
    try:
        options = {"enable_gqa": True} if grouped else {}  # torch 2.4 does not know the word
        return int(
            torch._fused_sdp_choice(  # noqa: SLF001
                query, key, value, mask, dropout, is_causal, scale=scale, **options
            )
        )
    except (RuntimeError, TypeError):  # invalid arguments: the plain call has the better words
        return None


def _is_plain(tensor: torch.Tensor) -> bool:
    # Where torch chooses among kernels.
    is_there = type(tensor) in PLAIN and (tensor.is_cpu or tensor.is_cuda)
    return is_there and not tensor.is_nested and tensor.layout is torch.strided


def _in_transform() -> bool:
    return torch._C._functorch.peek_interpreter_stack() is not None  # noqa: SLF001 - torch offers no other name for it


def check_readable(tensor: torch.Tensor) -> None:
    """Raise if what ran here has no values to keep."""
    if tensor.is_meta:
        raise ValueError("it ran on the meta device, which holds no values; load the model's parameters")
    if hasattr(tensor, "device_mesh"):
        raise ValueError(
            "its tensors are DTensors, spread over ranks by a rule of their own; let its projections return local "
            "tensors (use_local_output=True)"
        )
    if _in_transform():
        raise ValueError("it ran inside a function transform (torch.func.vmap, grad ...); run the module without")
    if not has_values(tensor):
        raise ValueError(FAKE)


def _attention(call: KernelCall, keeper: Keeper, notes: list[str]) -> Attention:
    check_readable(call.query)
    call, query, key = in_four_axes(with_readable_mask(call), keeper.places)
    found = _factors(call, keeper, notes)
    if call.query.ndim != _NDIM:
        return found  # its axes were told by how its tensors lie in memory, not by where their rows come from
    return frame_shadows(found, query, key, keeper.places, notes)


def _factors(call: KernelCall, keeper: Keeper, notes: list[str]) -> Attention:
    if call.query.is_nested or call.key.is_nested:
        raise ValueError(
            "its queries or keys are nested tensors, whose examples differ in length; pass a padded tensor and a mask "
            "(nested.to_padded_tensor(0.0))"
        )
    call = with_four_axes(call, notes)
    query, key = as_kernel_saw(call.query), as_kernel_saw(call.key)
    mask = keeper.masks.recognise(call.mask, n_queries=query.shape[2], n_keys=key.shape[2], is_causal=call.is_causal)
    if keeper.dropout and call.dropout:
        return keep_dropped(call.dropped, mask, keeper, keeper.probe(call.value, call.output))
    return FactoredAttention(
        keeper.keep(query),
        keeper.keep(key),
        keeper.keep_lse(call.lse),
        scale=call.scale,
        mask=mask,
        probe=probe_of(call, keeper),
    )


def probe_of(call: KernelCall, keeper: Keeper) -> Probe | None:
    """What to check a kernel call by; nothing where dropout took part, which the kernel keeps to itself."""
    return None if call.dropout else keeper.probe(call.value, call.output)


def as_kernel_saw(tensor: torch.Tensor) -> torch.Tensor:
    """Autocast casts inside the public function: so do we."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.is_floating_point() and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(kind))
    return tensor
