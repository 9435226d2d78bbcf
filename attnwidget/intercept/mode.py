"""What this thread calls while a capture runs, seen by a function mode and handed to the route that knows it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from attnwidget.intercept import byhand, multihead, sdpa, trails
from attnwidget.intercept.recorder import ACTIVE, refuse_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

_BUSY: ContextVar[bool] = ContextVar("attnwidget_busy", default=False)
"""A call is being handled: the mode of an outer capture, which sees what is called inside, has nothing to add."""

_FUSED = {torch._native_multi_head_attention, torch._transformer_encoder_layer_fwd}  # noqa: SLF001
_PLAIN = {torch.Tensor, torch.nn.Parameter}


class WatchCalls(TorchFunctionMode):
    """Sees every attention call of this thread and passes everything else on unchanged.

    While any function mode is on, torch.nn takes no fused inference path, since a mode could not see into it.
    """

    def __enter__(self) -> Self:
        trails.begin()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        trails.end()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        options = kwargs or {}
        handler = _HANDLERS.get(func)
        if handler is None:
            if func not in byhand.FOLLOWED or not trails.trails():
                return func(*args, **options)
            handler = _followed
        if _BUSY.get() or not ACTIVE.get():
            return func(*args, **options)
        token = _BUSY.set(True)
        try:
            return handler(func, types, args, options)
        finally:
            _BUSY.reset(token)


def _kernel(
    func: Callable[..., Any],
    types: Iterable[type],  # noqa: ARG001 - one signature for all of them
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    return sdpa.watched(func, *args, **options)


def _by_hand(run: Callable[..., Any]) -> Callable[..., Any]:
    def handler(
        func: Callable[..., Any],
        types: Iterable[type],  # noqa: ARG001 - one signature for all of them
        args: tuple[Any, ...],
        options: Mapping[str, Any],
    ) -> Any:  # noqa: ANN401
        return run(func, args, options)

    return handler


def _multihead(
    func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...], options: Mapping[str, Any]
) -> Any:  # noqa: ANN401
    below = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    others = [mode for mode in below if not isinstance(mode, WatchCalls)]
    odd = [kind.__name__ for kind in types if kind not in _PLAIN]
    # Torch's default device is a mode too, and has no say in attention.
    odd += [type(mode).__name__ for mode in others if not isinstance(mode, DeviceContext)]
    if odd:  # Its own rule for this function counts, and what runs inside then cannot be seen.
        refuse_call(f"{odd[0]} handles nn.MultiheadAttention by a rule of its own", implementation="multihead")
        return func(*args, **options)
    return multihead.watched(func, args, options, alone=not others)


def _fused(
    func: Callable[..., Any],
    types: Iterable[type],  # noqa: ARG001 - one signature for all of them
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    refuse_call(
        f"it calls torch.{func.__name__}, a fused kernel that keeps its queries, keys and weights to itself; run "
        "the module through nn.MultiheadAttention or nn.TransformerEncoderLayer",
        implementation="fused",
    )
    return func(*args, **options)


_followed = _by_hand(byhand.follow)
_HANDLERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(byhand.PRODUCTS, _by_hand(byhand.product)),
    **dict.fromkeys(byhand.SOFTMAX, _by_hand(byhand.softmax)),
    **dict.fromkeys(byhand.MERGES, _by_hand(byhand.merge)),
    **dict.fromkeys(byhand.CASTS, _by_hand(byhand.cast)),
    **dict.fromkeys(sdpa.SDPA, _kernel),
    functional.multi_head_attention_forward: _multihead,
    **dict.fromkeys(_FUSED, _fused),
}
