"""Which module of the watched tree is running, read from the stack of Python frames, so that no hook is needed."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnwidget.intercept.methods import runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from torch import nn

_CALLS = {"_wrapped_call_impl", "_call_impl", "__call__", "forward"}
_LOOP = "generate"


@dataclass(frozen=True)
class Caller:
    """Who called attention.

    Attributes:
        module: the innermost running module of the tree.
        top: the outermost one that was called.
        run: the frame of that call; another frame means another run.
    """

    module: nn.Module
    top: nn.Module
    run: FrameType


def find_caller(tree: Mapping[int, str]) -> Caller | None:
    """Who is running.

    Args:
        tree: paths by the `id` of each module of the watched tree.

    Returns:
        None if no module of the tree is running in this thread.
    """
    innermost: nn.Module | None = None
    outermost: tuple[nn.Module, FrameType] | None = None
    called: tuple[nn.Module, FrameType] | None = None
    for owner, frame in _owners(tree):
        if innermost is None:
            innermost, outermost = owner, (owner, frame)
        if frame.f_code.co_name in _CALLS:
            called = (owner, frame)
        elif frame.f_code.co_name == _LOOP and hasattr(owner, "prepare_inputs_for_generation"):
            # transformers' loop: each call from it is a run, also where it is part of a larger module's forward. What
            # it calls and is not in the tree, as an assistant, is somebody else.
            if called is None:
                return None
            break
    if innermost is None or outermost is None:
        return None
    top, run = called or outermost
    return Caller(innermost, top, run)


class Callers:
    """Finds who is running, call after call: mostly in the run of the call before, which is told at a glance.

    Args:
        tree: paths by the `id` of each module of the watched tree.
    """

    def __init__(self, tree: Mapping[int, str]) -> None:
        self._tree = tree
        self._last: Caller | None = None

    def find(self, module: nn.Module | None) -> Caller | None:
        """Who is calling: the module that says so itself, or the innermost one running."""
        sayer = module if module is not None and id(module) in self._tree else None
        last = self._last
        if sayer is not None and last is not None and _is_running(last.run):
            return Caller(sayer, last.top, last.run)
        found = find_caller(self._tree)
        if found is not None and sayer is not None:
            found = Caller(sayer, found.top, found.run)
        # Within another method than a call, each call is a run.
        self._last = found if found is not None and found.run.f_code.co_name in _CALLS else None
        return found

    def forget(self) -> None:
        """Let go of the frame of the last run."""
        self._last = None


def _is_running(run: FrameType) -> bool:
    """Whether what runs was called from a frame, and from no loop of transformers' within it."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the running frames
    while frame is not None and frame is not run and frame.f_code.co_name != _LOOP:
        frame = frame.f_back
    return frame is run


def _owners(tree: Mapping[int, str]) -> Iterator[tuple[nn.Module, FrameType]]:
    """Frames that run a module of the tree, innermost first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the running frames
    while frame is not None:
        owner: Any = owner_of(frame)
        if id(owner) in tree and runs(owner, frame.f_code):
            yield owner, frame
        frame = frame.f_back


def owner_of(frame: FrameType) -> object:
    """The object whose method a frame runs: a method's first argument, whatever it is called."""
    code = frame.f_code
    # Reading f_locals copies them: only where it can help.
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def arguments_of(frame: FrameType, *, first: int = 1) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What runs was called with: its unnamed arguments, and those with names.

    Args:
        frame: that runs.
        first: the argument to begin with; a method's object is left out.
    """
    code, values = frame.f_code, frame.f_locals
    count = code.co_argcount + code.co_kwonlyargcount
    named = {name: values[name] for name in code.co_varnames[first:count] if name in values}
    unnamed: tuple[Any, ...] = ()
    if code.co_flags & inspect.CO_VARARGS:
        unnamed = tuple(values.get(code.co_varnames[count], ()))
        count += 1
    if code.co_flags & inspect.CO_VARKEYWORDS:
        named.update(values.get(code.co_varnames[count], {}))
    return unnamed, named
