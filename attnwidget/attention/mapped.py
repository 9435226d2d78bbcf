"""Arrays in memory-mapped files: written once, read a page at a time when somebody looks."""

from __future__ import annotations

import errno
import mmap
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import is_tensor
from attnwidget.attention.errors import CaptureError
from attnwidget.attention.memory import DISK, MEMORY, size_text

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

_ALIGNED = 64
_FIRST_BYTES, _MOST_BYTES = 1 << 20, 1 << 30
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_mapped: dict[int, int] = {}
"""Where in memory files are mapped: the first address, and the one behind the last."""


class MappedFiles:
    """Bytes appended to files that have no name, in a folder.

    The operating system gives the space back when the last array read from a file is gone, or the process is, however
    that comes about. Bytes are written to the file and read through its mapping: a full disk is then an error of the
    write, where writing through the mapping would end the process.

    A mapping takes an open file, and there may be few of those: files grow from 1 MB to 1 GB, and take no room that is
    not written to.

    Args:
        folder: where the files are.

    Raises:
        CaptureError: no file can be made there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nbytes = 0
        self._lock = threading.Lock()
        self._size = _FIRST_BYTES // 2
        self._file: FileIO | None = None
        self._bytes: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._used = 0
        try:
            self._new_file(_FIRST_BYTES)
        except OSError as error:
            self.close()
            if error.errno in _FULL:
                raise self._full(_FIRST_BYTES, error) from error
            raise CaptureError(
                f"no file can be made in {folder} ({error.strerror or error}); expected a folder that exists and can "
                "be written to"
            ) from error

    def append(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Write bytes.

        Args:
            data: (n,).

        Returns:
            (n,), the same bytes on disk.

        Raises:
            CaptureError: the disk is full; what was written before stays.
        """
        with self._lock:
            try:
                start = -(-self._used // _ALIGNED) * _ALIGNED
                if self._file is None or start + data.nbytes > len(self._bytes):
                    self._new_file(data.nbytes)
                    start = 0
                self._write(data, start)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                raise self._full(data.nbytes, error) from error
            self._used = start + data.nbytes
            self.nbytes += data.nbytes
            return self._bytes[start : self._used]

    def close(self) -> None:
        """Write no more. What was written can be read as long as somebody holds it."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file, self._bytes, self._used = None, np.empty(0, np.uint8), 0

    def _new_file(self, least: int) -> None:
        if self._file is not None:
            self._file.close()  # its mapping stays
            self._file = None
        self._size = max(least, min(2 * self._size, _MOST_BYTES))
        file = tempfile.TemporaryFile(prefix="attnwidget-", dir=self.folder, buffering=0)  # noqa: SIM115 - kept open
        try:
            file.truncate(self._size)
            self._bytes = np.frombuffer(mmap.mmap(file.fileno(), self._size), np.uint8)
        except BaseException:
            file.close()
            raise
        self._file, self._used = file, 0
        first = self._bytes.ctypes.data
        _mapped[first] = first + self._size
        # Arrays are parts of this one, which lives as long as any of them.
        weakref.finalize(self._bytes, _mapped.pop, first, None).atexit = False

    def _write(self, data: NDArray[np.uint8], start: int) -> None:
        assert self._file is not None  # noqa: S101 - opened by the caller; this is for the type checker
        self._file.seek(start)
        left = data.data
        while left:
            left = left[self._file.write(left) or 0 :]

    def _full(self, needed: int, error: OSError) -> CaptureError:
        return CaptureError(
            f"there is no room in {self.folder} for {size_text(needed)} more, after {size_text(self.nbytes)} "
            f"({error.strerror}): free some, or keep the factors in another folder with store="
        )


def place_of(value: Any) -> str:  # noqa: ANN401 - an array or a tensor
    """Where an array is: "memory", "disk", or a device such as "cuda:0"."""
    if is_tensor(value):
        if value.device.type != "cpu":
            return str(value.device)
        address = value.data_ptr()
    else:
        address = value.ctypes.data
    return DISK if any(first <= address < end for first, end in list(_mapped.items())) else MEMORY
