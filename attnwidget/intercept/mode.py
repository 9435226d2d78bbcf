"""What this thread calls while a capture runs, seen by a function mode and handed to the route that knows it."""

from __future__ import annotations

import sys
from contextlib import suppress
from contextvars import ContextVar
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from attnwidget.attention.memo import EXPOSED
from attnwidget.intercept import multihead, sdpa
from attnwidget.intercept.byhand import route as byhand
from attnwidget.intercept.byhand import trails
from attnwidget.intercept.byhand.overloads import FUSED, MAPS, TWINS, overload
from attnwidget.intercept.byhand.products import PRODUCTS
from attnwidget.intercept.calls import refuse_call
from attnwidget.intercept.changing import CHANGES
from attnwidget.intercept.frames import owner_of
from attnwidget.intercept.overridable import as_written, is_overridable
from attnwidget.intercept.plain import PLAIN
from attnwidget.intercept.projecting import linear_map
from attnwidget.intercept.recorder import ACTIVE
from attnwidget.intercept.stopping import ASKED, Stopped
from attnwidget.intercept.windows import casting
from attnwidget.intercept.windows.shadows import shadows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import CodeType, FrameType

    from typing_extensions import Self

BUSY: ContextVar[bool] = ContextVar("attnwidget_busy", default=False)
"""A call is being handled: the mode of an outer capture, which sees what is called inside, has nothing to add."""

_is_traced = torch._C._is_tracing  # noqa: SLF001 - torch.jit.is_tracing, without what it asks before
_MULTIHEAD = torch.nn.MultiheadAttention.forward.__code__
_MAPS = {functional.linear, torch.addmm}
_DATA = torch.Tensor.data.__get__, torch.Tensor.data.__set__  # type: ignore[attr-defined]


class WatchCalls(TorchFunctionMode):
    """Sees every attention call of this thread and passes everything else on unchanged.

    While any function mode is on, torch.nn takes no fused inference path, since a mode could not see into it.

    Torch's modes form a stack, and whoever leaves one takes the topmost off, whatever it is. That holds as long as
    blocks end in the order they began, which captures in generators and tasks need not do. So this mode goes in below
    everybody else's and comes out from wherever it is: others always find on top what they put there. There it also
    sees what really runs, after others have had their say.

    Attributes:
        left: its block has ended; it is to be taken away.

    Args:
        follows: write down where the rows of tensors come from.
    """

    attnwidget_watches = True

    def __init__(self, *, follows: bool = False) -> None:
        super().__init__()
        self.left = False
        self._follows = follows
        self._shadows = shadows()
        self._trails = trails.trails()
        self._stop = ASKED.get()
        self._written: set[CodeType] = set()  # of functions that run as they are written

    def __enter__(self) -> Self:
        trails.begin()
        self._shadows, self._trails = shadows(), trails.trails()
        self._shadows.captures += self._follows
        stack = _stack()
        others = _without_left(stack)
        # Torch's default device insists on the lowest place.
        default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)  # noqa: SLF001
        place = int(bool(others) and others[0] is default)
        _replace(stack, [*others[:place], self, *others[place:]])
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True
        self._shadows.captures -= self._follows
        if not self._shadows.captures:
            self._shadows.clear()
        # Usually this one. One that was left in another thread, as by a generator that the garbage collector closed
        # there, waits for the next capture of its own thread: nobody else can reach that thread's stack.
        stack = _stack()
        _replace(stack, _without_left(stack))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        handler = _HANDLERS.get(func)
        if handler is None and type(func) is FunctionType and is_overridable(func, types):
            return self._run_as_written(func, args, kwargs or {})
        # Nothing is followed, as mostly, and most calls tell nothing. Each line costs here, since what runs between two
        # products of matrices comes from memory anew.
        if handler is None and not (self._shadows.captures or self._trails.entries):
            return func(*args, **kwargs) if kwargs else func(*args)
        if self._stop is not None and func in _STOPS and self._stop():
            self._stop = None  # what is put back on the way out must not be stopped
            raise Stopped
        casts = self._shadows.captures > 0 and func in casting.RULES
        follows = casts or bool(self._trails.entries)
        if not follows and (handler is None or (func in _MAPS and _is_plain_map(sys._getframe(1), args))):  # noqa: SLF001
            return func(*args, **kwargs) if kwargs else func(*args)
        if not follows and args and (tells := byhand.BEGINNINGS.get(func)) is not None:
            return _begun(tells, func, args, kwargs or {})
        if handler is None:
            handler = _followed if self._trails.entries and func in byhand.FOLLOWED else _plain
        return _handled(handler, func, types, args, kwargs or {}, casts=casts)

    def _run_as_written(self, func: FunctionType, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        copy, args, kwargs = as_written(func, args, kwargs)
        if func.__code__ in self._written:  # it asks in another way than is known, and cannot be looked into
            return func(*args, **kwargs)
        self._written.add(func.__code__)
        TorchFunctionMode.__enter__(self)  # type: ignore[no-untyped-call]
        try:
            return copy(*args, **kwargs)
        finally:
            TorchFunctionMode.__exit__(self, None, None, None)  # type: ignore[no-untyped-call]
            self._written.discard(func.__code__)


def _handled(
    handler: Callable[..., Any],
    func: Callable[..., Any],
    types: Iterable[type],
    args: tuple[Any, ...],
    options: Mapping[str, Any],
    *,
    casts: bool,
) -> Any:  # noqa: ANN401
    """Run a function by its handler, if anybody listens."""
    if BUSY.get() or not (ACTIVE.get() or CHANGES.get()):
        return func(*args, **options)
    if _is_traced():
        return _traced(func, args, options)
    token = BUSY.set(True)
    try:
        if casts:
            return casting.watched(lambda: handler(func, types, args, options), func, args, options)
        return handler(func, types, args, options)
    finally:
        BUSY.reset(token)


def _traced(func: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a function that torch.jit.trace records: what else is done meanwhile would be recorded too."""
    if func in _ATTENDS:
        refuse_call(
            "it ran while torch.jit.trace recorded it; trace the module outside of the capture",
            implementation=func.__name__,
        )
    return func(*args, **options)


def _begun(
    tells: Callable[[Any, Any], bool], func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:  # noqa: ANN401
    """Run a function that may tell something of its result where nothing is followed yet; mostly it does not."""
    result = func(*args, **kwargs)
    if _is_traced():
        return result
    try:
        told = tells(args[0], result)
    except Exception:  # noqa: BLE001 - whatever kind of tensor it is, the run goes on
        told = False
    if told and not BUSY.get() and (ACTIVE.get() or CHANGES.get()):
        byhand.begin(func, args, kwargs, result)
    return result


def _is_plain_map(frame: FrameType, args: tuple[Any, ...]) -> bool:
    """Whether nothing is to be told of a linear map but that its module ran, which is told here.

    Args:
        frame: that called it.
        args: its arguments.
    """
    if args and args[0].ndim > _TOKENS_NDIM:  # heads may be mapped one by one
        return False
    caller = id(owner_of(frame))
    for recorder in ACTIVE.get():
        if recorder.pending is not None:
            return False
        recorder.ran.add(caller)
    return True


def _stack() -> list[TorchFunctionMode]:
    """The modes of this thread, topmost last, without those that are handling a call at the moment."""
    stack: list[TorchFunctionMode] = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return stack


def _replace(old: list[TorchFunctionMode], new: list[TorchFunctionMode]) -> None:
    """Take this thread's stack from one state to another."""
    same = next((place for place, (a, b) in enumerate(zip(old, new)) if a is not b), min(len(old), len(new)))  # noqa: B905
    # Not by the modes' own methods: the blocks of others go on.
    for mode in reversed(old[same:]):
        TorchFunctionMode.__exit__(mode, None, None, None)  # type: ignore[no-untyped-call]
    for mode in new[same:]:
        TorchFunctionMode.__enter__(mode)  # type: ignore[no-untyped-call]


def _without_left(stack: list[TorchFunctionMode]) -> list[TorchFunctionMode]:
    """The stack without those of ours whose block has ended: in this thread, it ends here."""
    left = [mode for mode in stack if isinstance(mode, WatchCalls) and mode.left]
    for _ in left:
        trails.end()
    return [mode for mode in stack if mode not in left]


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


def _exposing(func: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    with suppress(Exception):  # not every kind of tensor has memory to speak of
        EXPOSED.add(args[0])
        trails.trails().touch(args[0])
    return func(*args, **options)


def _multihead(
    func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...], options: Mapping[str, Any]
) -> Any:  # noqa: ANN401
    odd = [kind.__name__ for kind in types if kind not in PLAIN]
    if odd:  # Its own rule for this function counts, and what runs inside then cannot be seen.
        refuse_call(f"{odd[0]} handles nn.MultiheadAttention by a rule of its own", implementation="multihead")
        return func(*args, **options)
    return multihead.watched(func, args, options, alone=not _others_are_on())


def _others_are_on() -> bool:
    """Whether a function mode of somebody else is on, as this thread handles a call of nn.MultiheadAttention."""
    if any(not isinstance(mode, WatchCalls) for mode in _stack()):
        return True
    # Those above are off the stack while they pass the call on, and running.
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the running frames
    while frame is not None and frame.f_code is not _MULTIHEAD:
        code = frame.f_code
        if code.co_name == "__torch_function__" and code.co_argcount:
            mode = frame.f_locals.get(code.co_varnames[0])
            if isinstance(mode, TorchFunctionMode) and not isinstance(mode, WatchCalls):
                return True
        frame = frame.f_back
    return False


def _fused(
    func: Callable[..., Any],
    types: Iterable[type],  # noqa: ARG001 - one signature for all of them
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    refuse_call(
        f"it calls torch.{func.__name__.partition('.')[0]}, a fused kernel that keeps its queries, keys and weights to "
        "itself; run the module through scaled_dot_product_attention, nn.MultiheadAttention or "
        "nn.TransformerEncoderLayer",
        implementation="fused",
    )
    return func(*args, **options)


def _linear(
    func: Callable[..., Any],
    types: Iterable[type],  # noqa: ARG001 - one signature for all of them
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    func = MAPS.get(func, func)
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the running frames
    while frame is not None and frame.f_code is not _WATCHING:
        frame = frame.f_back
    caller = None if frame is None or frame.f_back is None else owner_of(frame.f_back)  # whose weights these are
    for recorder in ACTIVE.get():
        recorder.ran.add(id(caller))
    # Nested captures that keep the same share what is pending.
    pending = {id(recorder.pending): recorder for recorder in ACTIVE.get() if recorder.pending is not None}
    if pending and (found := linear_map(func, args, options)) is not None:
        with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001 - see `calls`
            for recorder in pending.values():
                recorder.multiplies(*found)
    return byhand.map_heads(func, args, options)


_TOKENS_NDIM = 3
_WATCHING = WatchCalls.__torch_function__.__code__
_followed = _by_hand(byhand.follow)
_plain = _by_hand(lambda func, args, options: func(*args, **options))
_HANDLERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(TWINS, _by_hand(overload)),
    **{func: _by_hand(route) for func, route in byhand.ROUTES.items()},
    **dict.fromkeys(sdpa.SDPA, _kernel),
    functional.multi_head_attention_forward: _multihead,
    **dict.fromkeys(FUSED, _fused),
    **dict.fromkeys((*_MAPS, *MAPS), _linear),
    **dict.fromkeys((*_DATA, torch.Tensor.numpy, torch.Tensor.__array__), _by_hand(_exposing)),
}
_ATTENDS = {*byhand.SOFTMAX, *sdpa.SDPA, functional.multi_head_attention_forward}
_STOPS = {*_ATTENDS, *PRODUCTS, *_MAPS}
"""Where a run may be stopped: what layers compute with. The end of no_grad is seen too, and must come through."""
