"""Functions of somebody's own that offer their calls to whoever overrides torch's functions.

Copies of `torch.nn.functional.multi_head_attention_forward` do, as DINO and its kin have them, and hand on fewer
arguments than they have: nobody has ever overridden them. A function mode is offered them too. They are run as they are
written, as if nobody had asked.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

from attnwidget.intercept.frames import arguments_of
from attnwidget.intercept.plain import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType

_ASKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
_NEAR = 4


def is_overridable(func: FunctionType, types: Iterable[type]) -> bool:
    """Whether a function is somebody else's than torch's, and no tensor has a rule for it."""
    return not (func.__module__ or "").startswith("torch.") and all(kind in PLAIN for kind in types)


def as_written(
    func: FunctionType, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]:
    """The same code, to which nobody overrides anything, and what it was really called with.

    Args:
        func: which offers its call.
        args: with these arguments.
        kwargs: likewise.
    """
    names = {**func.__globals__, **dict.fromkeys(_ASKS, _nobody)}
    copy = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the running frames
    for _ in range(_NEAR):
        if frame is None:
            break
        if frame.f_code is func.__code__:
            unnamed, named = arguments_of(frame, first=0)
            places = func.__code__.co_varnames[: func.__code__.co_argcount]
            return copy, (*(named.pop(name) for name in places), *unnamed), named
        frame = frame.f_back
    return copy, args, kwargs


def _nobody(*_: object) -> bool:
    return False
