"""Where a capture keeps what it keeps: on the device where it was made, in memory, or in files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from attnwidget.attention.mapped import MappedFiles

if TYPE_CHECKING:
    from collections.abc import Hashable

    from attnwidget.intercept.budget import Budget

Where: TypeAlias = "str | os.PathLike[str]"
_DEVICE, _CPU, _DISK = "device", "cpu", "disk"
MEMORY = torch.device("cpu")


def check_where(where: Where) -> Path | None:
    """The folder for files, or None for no files.

    Raises:
        TypeError: neither a word nor a path.
        ValueError: no such word, and no such folder.
    """
    expected = f"expected {_DEVICE!r}, {_CPU!r}, {_DISK!r} or a folder that exists"
    if not isinstance(where, (str, os.PathLike)):
        raise TypeError(f"store is {type(where).__name__} {where!r:.60}; {expected}")
    if where in (_DEVICE, _CPU):
        return None
    folder = _temporary() if where == _DISK else Path(where).expanduser()
    if not folder.is_dir():
        raise ValueError(f"store is {os.fspath(where)!r}; {expected}")
    return folder


class Store:
    """Copies of tensors, in one place.

    Args:
        where: "device": where each tensor is; "cpu": in memory; "disk": in memory-mapped files in the system's folder
            for temporary ones; a folder: in files there.

    Attributes:
        budget: what may be held; whatever there is if None.

    Raises:
        TypeError: neither a word nor a path.
        ValueError: no such word, and no such folder.
        CaptureError: no file can be made in the folder.
    """

    def __init__(self, where: Where = _DEVICE) -> None:
        folder = check_where(where)
        self._files: MappedFiles | None = None
        self._copying: list[torch.cuda.Event] = []
        self.budget: Budget | None = None
        self.key: Hashable = str(where) if folder is None else folder.resolve()
        """Stores with equal keys keep the same things in the same place."""
        if folder is not None:
            self._files = MappedFiles(folder)

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy with a storage of its own. Before it is read, call `settle`.

        Raises:
            CaptureError: the disk is full.
            LimitError: it is more than may be held.
        """
        self.count(tensor.numel() * tensor.element_size(), tensor.device)
        tensor = tensor.detach()
        if self.leaves(tensor):
            return tensor.clone(memory_format=torch.contiguous_format)
        return self._elsewhere(tensor)

    def move(self, tensor: torch.Tensor) -> torch.Tensor:
        """What nobody else holds, put where it is to be kept: no copy where it is there already."""
        return tensor if self.leaves(tensor) else self._elsewhere(tensor)

    def count(self, nbytes: int, device: torch.device) -> None:
        """Count what is about to be kept of something on a device; what is kept in files takes no memory.

        Raises:
            LimitError: it is more than may be held.
        """
        if self.budget is not None and self._files is None:
            self.budget.take(nbytes, device if self.key == _DEVICE else MEMORY)

    def aside(self, tensor: torch.Tensor) -> torch.Tensor:
        """A few numbers that are not worth a file, and that nobody else holds."""
        return tensor if self.key == _DEVICE or tensor.device.type == "cpu" else self._in_memory(tensor)

    @property
    def taken(self) -> int:
        """Bytes counted so far."""
        return 0 if self.budget is None else self.budget.taken

    def leaves(self, tensor: torch.Tensor) -> bool:
        """Whether a copy of this tensor would be in the same place as the tensor is."""
        return self._files is None and (self.key == _DEVICE or tensor.device.type == "cpu")

    def settle(self) -> None:
        """Wait for copies that are still on their way from a device."""
        while self._copying:
            self._copying.pop().synchronize()

    def close(self) -> None:
        """Keep nothing more; what was kept stays."""
        self.settle()
        if self._files is not None:
            self._files.close()

    def _elsewhere(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._in_memory(tensor) if self._files is None else _on_disk(tensor, self._files)

    def _in_memory(self, tensor: torch.Tensor) -> torch.Tensor:
        """From a device. CUDA copies while the model runs on, if the memory is page-locked."""
        if tensor.device.type != "cuda":
            return tensor.to("cpu", memory_format=torch.contiguous_format)
        try:
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
        except RuntimeError:  # the system allows only so much of it
            return tensor.to("cpu", memory_format=torch.contiguous_format)
        kept.copy_(tensor, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(tensor.device))
        self._copying.append(done)
        return kept


def _on_disk(tensor: torch.Tensor, files: MappedFiles) -> torch.Tensor:
    if not tensor.numel():
        return tensor.to("cpu", copy=True)
    # NumPy knows no bfloat16, and bytes are bytes.
    data = tensor.to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
    return torch.from_numpy(files.append(data)).view(tensor.dtype).reshape(tensor.shape)


def _temporary() -> Path:
    """Where large temporary files go. /tmp is in memory on many systems, and /var/tmp on none (file-hierarchy(7))."""
    folder = Path(tempfile.gettempdir())
    chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    large = Path("/var/tmp")  # noqa: S108 - what is made there has no name
    if not chosen and folder == Path("/tmp") and os.access(large, os.W_OK | os.X_OK):  # noqa: S108 - as above
        return large
    return folder
