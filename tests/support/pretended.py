"""A device that is not there: tensors that say they are on cuda:0, compute on the CPU, and do not mix with others.

What runs on it proves nothing of kernels or times. It shows that everything is made where it is used, and read from
where it lies, which on a machine without a GPU nothing else does.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from torch import nn

DEVICE = torch.device("cuda:0")
READS: list[str] = []
"""What was read from there, for which a real device would finish all that waits: a function's name each."""
_READING = {"_local_scalar_dense", "equal", "nonzero"}
_MAY_MIX = {"copy_", "_to_copy"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class Pretended(torch.Tensor):
    """A tensor of the CPU that says it is elsewhere."""

    held: torch.Tensor
    device = property(lambda _: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda _: True)  # type: ignore[assignment]
    is_cpu = property(lambda _: False)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __repr__(self):
        return f"Pretended({self.held!r})"

    def to(self, *args, **kwargs):
        """As of any tensor: torch's own would take it for one of the CPU already."""
        device = kwargs.pop("device", None)
        rest = []
        for one in args:
            if isinstance(one, (str, torch.device)):
                device = one
                continue
            is_like = isinstance(one, torch.Tensor)
            device = one.device if is_like else device
            rest.append(one.dtype if is_like else one)
        source = self
        if device is not None and not _is_there(device):
            READS.append("to")
            source = self.held.detach().clone()
        return torch.Tensor.to(source, *rest, **kwargs) if rest or kwargs else source

    def type_as(self, other):
        return self.to(other.dtype)

    def cpu(self, *_, **__):
        return self.to("cpu")

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    def tolist(self):
        READS.append("tolist")
        return self.held.tolist()

    def data_ptr(self):
        return self.held.data_ptr()

    def untyped_storage(self):
        return self.held.untyped_storage()


class _Making(TorchDispatchMode):
    """Tensors that are made there are pretended too."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    name = func.overloadpacket.__name__
    given = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    there = [one for one in given if isinstance(one, Pretended)]
    here = [one for one in given if not isinstance(one, Pretended)]
    may_mix = name in _MAY_MIX or (name in _INDEXING and isinstance(args[0], Pretended))
    if there and any(one.ndim for one in here) and not may_mix:
        raise RuntimeError(f"Expected all tensors to be on the same device, found cuda:0 and cpu ({func})")
    if there and name in _READING:
        READS.append(name)
    device = kwargs.get("device")
    if _is_there(device):
        kwargs = {**kwargs, "device": "cpu"}
    args, kwargs = pytree.tree_map_only(Pretended, lambda one: one.held, (args, kwargs))
    result = func(*args, **kwargs)
    if not (_is_there(device) if device is not None else there):
        return result

    def back(one: torch.Tensor) -> torch.Tensor:
        written = next((other for other in there if other.held is one), None)
        return Pretended(one) if written is None else written

    return pytree.tree_map_only(torch.Tensor, back, result)


@contextmanager
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block, there seems to be one."""
    tensor = torch.tensor

    def made(data, *, device=None, **options):
        found = tensor(data, **options)
        return Pretended(found) if _is_there(device) else found

    monkeypatch.setattr(torch, "tensor", made)  # which reaches no mode
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (64 << 30, 80 << 30))
    for name, module in list(sys.modules.items()):
        if name.startswith("attnwidget") and hasattr(module, "PLAIN"):
            monkeypatch.setattr(module, "PLAIN", (torch.Tensor, torch.nn.Parameter, Pretended))
    with _Making():
        yield


def moved(module: nn.Module) -> nn.Module:
    """A module whose parameters and buffers are there."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(Pretended(parameter.detach()), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = Pretended(buffer)
    return module


def there(given: Any) -> Any:
    """What a module is given, there."""
    return pytree.tree_map_only(torch.Tensor, Pretended, given)
