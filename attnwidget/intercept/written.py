"""Modules as a person wrote them, without the wrappers that torch.compile puts around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_WRAPPED = "_orig_mod"


def as_written(module: nn.Module) -> nn.Module:
    """The module that was compiled, or the module itself."""
    original = getattr(module, _WRAPPED, None)
    return original if is_wrapper(module) and isinstance(original, nn.Module) else module


def is_wrapper(module: nn.Module) -> bool:
    """Whether a module is what torch.compile made of another."""
    return type(module).__name__ == "OptimizedModule"  # by name: its package is slow to load


def plain_path(path: str) -> str:
    """The path of a module without these wrappers."""
    if _WRAPPED not in path:
        return path
    return ".".join(part for part in path.split(".") if part != _WRAPPED)


def written_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """As `named_modules`, without these wrappers."""
    for path, part in module.named_modules():
        if not is_wrapper(part):
            yield plain_path(path), part
