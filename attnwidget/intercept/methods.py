"""Whether code that got a module as its first argument runs that module, or was only handed it.

`attend(self.rope, q, k, v)` is attention of whoever calls it, and not of its embedding of positions.
"""

from __future__ import annotations

import functools
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEP = 4
"""How many decorators may lie around a method."""
_MATRIX = 2
_methods: WeakKeyDictionary[type, dict[CodeType, bool]] = WeakKeyDictionary()


def runs(module: nn.Module, code: CodeType) -> bool:
    """Whether code is the module's own, or does its work from outside.

    Args:
        module: its first argument.
        code: that runs.

    Returns:
        True for methods, in decorators or not, and for what was put in their place on the instance; and for any other
        function if the module can multiply something: an attention may be written as a function of the module that
        holds its projections.
    """
    known = _methods.setdefault(type(module), {})
    is_method = known.get(code)
    if is_method is None:
        is_method = known[code] = any(code in _codes(part, _DEEP) for part in _of_class(type(module)))
    return is_method or any(code in _codes(part, _DEEP) for part in vars(module).values()) or _multiplies(module)


def _of_class(kind: type) -> Iterator[Any]:
    for owner in kind.__mro__:
        yield from vars(owner).values()


def _codes(part: Any, depth: int) -> Iterator[CodeType]:  # noqa: ANN401 - any attribute
    """The code of a function, and of those that it wraps."""
    if isinstance(part, FunctionType):
        yield part.__code__
        if depth:
            inner = [cell.cell_contents for cell in part.__closure__ or () if hasattr(cell, "cell_contents")]
            for one in (getattr(part, "__wrapped__", None), *inner):
                yield from _codes(one, depth - 1)
    elif isinstance(part, property):
        yield from _codes(part.fget, depth)
    elif isinstance(part, (staticmethod, classmethod, MethodType)):
        yield from _codes(part.__func__, depth)
    elif isinstance(part, (functools.partial, functools.partialmethod)):
        yield from _codes(part.func, depth)


def _multiplies(module: nn.Module) -> bool:
    """Whether a module holds a matrix that is no table to look up in."""
    return any(
        parameter.ndim >= _MATRIX
        for part in module.modules()
        if not isinstance(part, nn.Embedding)
        for parameter in part.parameters(recurse=False)
    )
