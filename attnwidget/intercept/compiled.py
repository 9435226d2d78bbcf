"""Code compiled by torch.compile, whose inside Python cannot see: run as it was written while a capture is on.

Before each call of compiled code torch asks a global object, its stance, whether to compile. That object is replaced
while captures run, by one that gives the same answers, except to a thread or task that captures: compiled code then
runs as the Python it was compiled from. Nothing compiled is touched: the next call without a capture finds it.

`flex_attention`, and what makes its masks, stay compiled, since their plain forms hold a whole matrix of scores. What
goes in and comes out is seen in the frame of torch's own wrapper, which also calls back when it has finished.
"""

from __future__ import annotations

import functools
import inspect
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from attnwidget.intercept.aside import set_aside
from attnwidget.intercept.calls import tell
from attnwidget.intercept.changing import CHANGES
from attnwidget.intercept.recorder import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_FLEX = "torch.nn.attention.flex_attention"
_EAGER = "force_eager"
_WARNING = "flex_attention_performance"
_AS_IT_IS: ContextVar[bool] = ContextVar("attnwidget_compile_as_it_is", default=False)
ROUNDING = (
    "outputs equal those without capture to rounding, not to the bit: code compiled by torch.compile ran as the Python "
    "it was compiled from"
)


def can_run_eagerly() -> bool:
    """Whether this torch asks before it runs compiled code (2.6 on)."""
    from torch._dynamo import eval_frame

    return hasattr(eval_frame, "_stance") and hasattr(eval_frame, "_callback_from_stance")


def install() -> list[Callable[[], None]]:
    """Replace the stance, if anything can have been compiled.

    Returns:
        What puts it back.
    """
    if "torch._dynamo.eval_frame" not in sys.modules or not can_run_eagerly():
        return []
    module: Any = sys.modules["torch._dynamo.eval_frame"]
    ours = module._stance = _Stance(module._stance)  # noqa: SLF001 - torch.compiler.set_stance sets it for all threads

    def put_back() -> None:
        if module._stance is ours:  # noqa: SLF001 - else somebody has set another meanwhile
            module._stance = ours.original  # noqa: SLF001
        ours.forget()

    return [put_back]


def as_it_is() -> Callable[[], None]:
    """Let what is called next compile and run as it would without a capture.

    Returns:
        What ends that.
    """
    token = _AS_IT_IS.set(True)
    put_back = set_aside()

    def end() -> None:
        put_back()
        _AS_IT_IS.reset(token)

    return end


class _Stance:
    """What torch's stance says, unless this thread captures."""

    def __init__(self, original: Any) -> None:  # noqa: ANN401 - torch's own type
        self.original = original
        self._quiet = False

    @property
    def stance(self) -> str:
        """Torch reads this before a call of compiled code, several times if need be."""
        if (ACTIVE.get() or CHANGES.get()) and not _AS_IT_IS.get():
            frame = _wrapper(sys._getframe(1))  # noqa: SLF001 - the documented way to the running frames
            asked = frame is not None and self.original.stance != _EAGER
            if frame is not None and asked and not _watch_flex(frame):
                tell(ROUNDING)
                self._hush()
                return _EAGER
        found: str = self.original.stance
        return found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.original, name)

    def _hush(self) -> None:
        """Torch warns once of an uncompiled flex attention: not for one that is compiled when nobody captures."""
        module = sys.modules.get(_FLEX)
        shown = getattr(module, "_WARNINGS_SHOWN", None)
        if isinstance(shown, set) and _WARNING not in shown:
            shown.add(_WARNING)
            self._quiet = True

    def forget(self) -> None:
        """Let torch warn again."""
        if self._quiet:
            sys.modules[_FLEX]._WARNINGS_SHOWN.discard(_WARNING)  # noqa: SLF001


def _wrapper(frame: FrameType | None) -> FrameType | None:
    """The frame of torch's wrapper around compiled code that is about to run it; None if something else asks."""
    if frame is not None and frame.f_code.co_name == "_callback_from_stance":
        if not callable(frame.f_locals.get("callback")):  # code that is not to be compiled
            return None
        frame = frame.f_back
    is_wrapper = frame is not None and frame.f_code.co_name in {"compile_wrapper", "_fn"} and "fn" in frame.f_locals
    return frame if is_wrapper else None


def _watch_flex(frame: FrameType) -> bool:
    """Whether a wrapper runs flex attention, or makes a mask for it; if so, it is let be and watched."""
    names = frame.f_locals
    function, cleanups = names["fn"], names.get("cleanups")
    if getattr(function, "__module__", "") != _FLEX or not isinstance(cleanups, list):
        return False
    if any(isinstance(cleanup, _Finish) for cleanup in cleanups):  # asked before
        return True
    cleanups.append(_Finish(function, names.get("args", ()), names.get("kwargs", {})))
    return True


class _Finish:
    """Called back by torch's wrapper when compiled code has run."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._call = function, args, kwargs
        self._error = sys.exc_info()[1]
        self._end = as_it_is()
        self.unseen = function.__name__ == "flex_attention"
        self._token = _RUNNING.set(self)

    def __call__(self) -> None:
        _RUNNING.reset(self._token)
        try:
            function, args, kwargs = self._call
            if self.unseen and sys.exc_info()[1] is self._error:  # it has not failed
                from attnwidget.intercept.flex import saw_compiled

                result = sys._getframe(1).f_locals.get("result")  # noqa: SLF001
                saw_compiled(_signature(function).bind(*args, **kwargs).arguments, result)
        finally:
            self._end()


_RUNNING: ContextVar[_Finish | None] = ContextVar("attnwidget_compiled_flex", default=None)


def saw_uncompiled() -> None:
    """A compiled flex attention ran its plain form after all, as torch has it run what it compiled too often."""
    running = _RUNNING.get()
    if running is not None:
        running.unseen = False


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)
