"""The same functions by the names that torch.ops.aten has for them, as in what torch.export makes.

A function mode sees them by these names. They are run by them too, and followed as what they are called in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from attnwidget.intercept.byhand import route
from attnwidget.intercept.byhand.reshaping import SHAPING, property_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


def overloads_of(names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """What torch.ops.aten holds by these names: each as a whole, and each of its overloads but those that write."""
    for name in names:
        whole = getattr(torch.ops.aten, name, None)
        if whole is not None:
            yield name, whole
            for overload in whole.overloads():
                if "out" not in overload:
                    yield name, getattr(whole, overload)


def _twins() -> dict[Any, Callable[..., Any]]:
    """What is followed, in Python, by its name in torch.ops.aten."""
    named: dict[str, Callable[..., Any]] = {}
    for func in (*route.FOLLOWED, *route.ROUTES):
        name = getattr(func, "__name__", "__")
        if name.startswith("__"):
            continue
        # A function of torch takes its arguments in the order in which the overload does: of `where` no method does.
        if name not in named or getattr(torch, name, None) is func:
            named[name] = func
    named.update(mT=property_of("mT"), mH=property_of("mH"), numpy_T=property_of("T"), _to_copy=torch.Tensor.to)
    twins = {overload: named[name] for name, overload in overloads_of(named) if name not in {"linear", "addmm"}}
    twins.update({func: func for func in SHAPING if isinstance(func, torch._ops.OpOverload)})  # noqa: SLF001
    return twins


TWINS = _twins()
MAPS: dict[Any, Callable[..., Any]] = {
    **{one: functional.linear for _, one in overloads_of(["linear"])},
    **{one: torch.addmm for _, one in overloads_of(["addmm"])},
}
FUSED = {torch._native_multi_head_attention, torch._transformer_encoder_layer_fwd}  # noqa: SLF001
FUSED |= {
    one
    for _, one in overloads_of(
        [
            "_native_multi_head_attention",
            "_transformer_encoder_layer_fwd",
            "_scaled_dot_product_attention_math",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_flash_attention_forward",
            "_efficient_attention_forward",
        ]
    )
}
"""Kernels that hand out neither weights nor what they are made of, where they are called by name."""


def overload(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run one of them, and follow it as what it is in Python."""
    twin = TWINS[func]
    follow: Callable[..., Any] = route.ROUTES.get(twin, route.follow)
    return follow(twin, args, kwargs, run=func)
