"""Finds attention in a run on its own, by following data: what went through a softmax and then into a product."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import nn

_KERNELS = {
    functional.scaled_dot_product_attention,
    torch._C._nn.scaled_dot_product_attention,
    functional.multi_head_attention_forward,
}
_SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax, torch.special.softmax}
_PRODUCTS = {
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.bmm,
    torch.Tensor.bmm,
    torch.einsum,
    torch.functional.einsum,
    torch.baddbmm,
}
_SAME = {
    "__getitem__",
    "__mul__",
    "__truediv__",
    "bfloat16",
    "chunk",
    "clone",
    "contiguous",
    "div",
    "dropout",
    "expand",
    "flatten",
    "float",
    "gather",
    "half",
    "index_select",
    "masked_fill",
    "masked_fill_",
    "movedim",
    "mul",
    "mul_",
    "nan_to_num",
    "narrow",
    "permute",
    "reshape",
    "split",
    "squeeze",
    "swapaxes",
    "to",
    "transpose",
    "type",
    "type_as",
    "unflatten",
    "unsqueeze",
    "view",
    "where",
}
"""Functions after which weights are still weights, as far as a witness needs to know."""


def witnessed(root: nn.Module, call: Callable[[], object]) -> dict[tuple[str, str], int]:
    """Run something, and tell which modules computed attention.

    Args:
        root: the model.
        call: runs it.

    Returns:
        How often, by the path of the module and how: "kernel" or "by hand".
    """
    witness = _Witness(root)
    try:
        with torch.no_grad(), witness:
            call()
    finally:
        witness.close()
    return dict(witness.seen)


class _Witness(TorchFunctionMode):
    """Notes which modules compute attention, and how often.

    Args:
        root: the model; paths are counted from it.
    """

    def __init__(self, root: nn.Module) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self._stack: list[str] = []
        self._tagged: dict[int, torch.Tensor] = {}
        self._handles = []
        super().__init__()
        for path, module in root.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._entering(path)))
            self._handles.append(module.register_forward_hook(self._leaving, always_call=True))

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._tagged.clear()

    def _entering(self, path: str) -> Any:
        def hook(*_: Any) -> None:
            self._stack.append(path)

        return hook

    def _leaving(self, *_: Any) -> None:
        self._stack.pop()

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if func in _KERNELS:
            self._note("kernel")
        elif func in _SOFTMAX:
            if isinstance(result, torch.Tensor) and result.ndim >= 3 and result.shape[-1] > 1:
                self._tag(result)
        elif func in _PRODUCTS:
            if any(self._is_tagged(value) for value in _flat(args)):
                self._note("by hand")
        elif name in _SAME and args and self._is_tagged(args[0]):
            for value in _flat((result,)):
                self._tag(value)
        return result

    def _note(self, kind: str) -> None:
        self.seen[self._stack[-1] if self._stack else "", kind] += 1

    def _tag(self, tensor: torch.Tensor) -> None:
        self._tagged[id(tensor)] = tensor

    def _is_tagged(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and id(value) in self._tagged


def _flat(values: Any) -> list[torch.Tensor]:
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found.extend(_flat(value))
    return found
