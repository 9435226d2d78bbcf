"""Functions compiled by torch.jit.script, which run where no mode can see: found by who names them, and read."""

from __future__ import annotations

import re
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Script: TypeAlias = torch.jit.ScriptFunction[Any, Any]

_ATTENDS = re.compile(r"aten::scaled_dot_product_attention")
_SOFTMAX = re.compile(r"aten::(?:_?softmax|_safe_softmax)\b")
_PRODUCT = re.compile(r"aten::(?:matmul|bmm|baddbmm|einsum|__matmul__)\b")
_PAIR = 2
_DEEP = 2
"""How many functions of Python may stand between a method and the scripted function that it comes to."""


class Scripted(NamedTuple):
    """A scripted function that takes a softmax.

    Attributes:
        name: what it is called.
        attends: it takes it between two products.
    """

    name: str
    attends: bool


def scripted_in(modules: Iterable[tuple[str, nn.Module]]) -> dict[Scripted, dict[str, str]]:
    """Scripted functions with a softmax, with the paths and classes of the modules that call them.

    Args:
        modules: with their paths.

    Returns:
        Those that a module holds, or that its own code comes to by name.
    """
    found: dict[Scripted, dict[str, str]] = {}
    by_kind: dict[type, list[Script]] = {}  # a model has hundreds of modules, of few classes
    for path, module in modules if _are_there_any() else ():
        kind = type(module)
        if kind.__module__.startswith("torch."):
            continue
        if kind not in by_kind:
            by_kind[kind] = [script for method in _methods(kind) for script in _reached(method, _DEEP)]
        for script in (*by_kind[kind], *_held(module)):
            told = _read(script)
            if told is not None:
                found.setdefault(told, {})[path] = kind.__name__
    return found


def _are_there_any() -> bool:
    """Whether this process has scripted a function at all, which few do: torch keeps them where it compiles."""
    unit = getattr(getattr(torch.jit, "_state", None), "_python_cu", None)
    return unit is None or bool(unit.get_functions())


def _held(module: nn.Module) -> Iterator[Script]:
    for value in vars(module).values():
        if isinstance(value, torch.jit.ScriptFunction):
            yield value
        elif isinstance(value, FunctionType):
            yield from _reached(value, _DEEP)


def _methods(kind: type) -> Iterator[FunctionType]:
    for owner in kind.__mro__:
        if owner is nn.Module:
            return
        yield from (value for value in vars(owner).values() if isinstance(value, FunctionType))


def _reached(function: FunctionType, depth: int) -> Iterator[Script]:
    """Scripted functions that a function names, or that functions do that it names."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    for value in [*_looked_up(function), *cells]:
        if isinstance(value, torch.jit.ScriptFunction):
            yield value
        elif isinstance(value, FunctionType) and depth and not value.__module__.startswith("torch"):
            yield from _reached(value, depth - 1)


def _looked_up(function: FunctionType) -> Iterator[object]:
    """What the names in a function stand for: globals, and what modules among these hold."""
    names = set(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType) and not value.__name__.startswith("torch"):
            yield from (vars(value).get(inner) for inner in names)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _names(part)


def _is_filled(cell: object) -> bool:
    return hasattr(cell, "cell_contents")


def _read(function: Script) -> Scripted | None:
    try:
        graph = str(function.inlined_graph)
        name = str(function.name)
    except Exception:  # noqa: BLE001 - a function without a graph tells nothing
        return None
    if _ATTENDS.search(graph):
        return Scripted(name, attends=True)
    if _SOFTMAX.search(graph):
        return Scripted(name, attends=len(_PRODUCT.findall(graph)) >= _PAIR)
    return None
