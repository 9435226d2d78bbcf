"""The arrays of a capture file: gathered under names when it is written, checked and read when it is loaded."""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from attnwidget.attention import CaptureError
from attnwidget.attention.arrays import is_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What weights, queries and keys may be, from the names of the file format to those of NumPy and torch."""


class ArrayWriter:
    """Arrays under names of their own. One that several layers share is written once."""

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}
        self._names: dict[tuple[Any, ...], str] = {}

    def put(self, name: str, array: Any) -> str:  # noqa: ANN401 - NumPy or torch
        """Add an array; returns the name it has in the file."""
        found = self._names.setdefault(_identity(array), name)
        self._arrays.setdefault(found, array)
        return found

    def put_all(self, prefix: str, arrays: Mapping[str, Any]) -> dict[str, str]:
        """Add those that there are; returns their names in the file."""
        return {name: self.put(f"{prefix}.{name}", array) for name, array in arrays.items() if array is not None}

    def write(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the file as a whole: what stood there before is replaced only once that has succeeded.

        Raises:
            OSError: it cannot be written.
        """
        scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            if any(is_tensor(array) for array in self._arrays.values()):
                from safetensors.torch import save_file

                save_file({name: _own_tensor(array) for name, array in self._arrays.items()}, scratch, metadata)
            else:
                from safetensors.numpy import save_file as save_arrays

                arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays.items()}
                save_arrays(arrays, scratch, metadata)
            scratch.replace(path)
        except SafetensorError as error:  # what the system says reaches us in the library's own clothes
            raise OSError(f"{path} cannot be written: {error}") from error
        finally:
            with suppress(FileNotFoundError):
                scratch.unlink()


def _identity(array: Any) -> tuple[Any, ...]:  # noqa: ANN401 - NumPy or torch
    """Equal for arrays that are the same numbers in the same place."""
    if is_tensor(array):
        return str(array.device), array.data_ptr(), tuple(array.shape), array.stride(), str(array.dtype)
    return "numpy", array.__array_interface__["data"][0], array.shape, array.strides, str(array.dtype)


def _own_tensor(array: Any) -> Any:  # noqa: ANN401 - NumPy or torch
    """A tensor in memory whose storage is its own, as the library wants them."""
    import torch

    tensor = array if is_tensor(array) else torch.from_numpy(np.require(array, requirements=["C", "W"]))
    tensor = tensor.detach().cpu().contiguous()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


class ArrayReader:
    """The arrays of an open file, by name; each is read where it is asked for.

    Attributes:
        nbytes: of the file.
    """

    def __init__(self, file: Any, nbytes: int) -> None:  # noqa: ANN401 - the library's own handle
        self._file = file
        self._names = set(file.keys())
        self.nbytes = nbytes

    @property
    def metadata(self) -> Mapping[str, str]:
        """What stands beside the arrays."""
        return self._file.metadata() or {}

    @property
    def holds_bfloat16(self) -> bool:
        """Whether an array is of the type that NumPy does not have."""
        return any(self._file.get_slice(name).get_dtype() == "BF16" for name in self._names)

    def read(self, names: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 - NumPy or torch
        """An array that has to be there.

        Raises:
            CaptureError: it is not.
        """
        found = self.read_any(names, name)
        if found is None:
            raise _missing(name)
        return found

    def read_any(self, names: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 - NumPy or torch, or None
        """An array, or None where the header names none.

        Raises:
            CaptureError: the header names one that is not in the file.
        """
        return self._file.get_tensor(names[name]) if self._has(names, name) else None

    def measure(self, names: Mapping[str, str], name: str) -> tuple[tuple[int, ...], str]:
        """Shape and type of an array that has to be there, as the file declares them; nothing of it is read.

        Raises:
            CaptureError: it is not there.
        """
        if not self._has(names, name):
            raise _missing(name)
        declared = self._file.get_slice(names[name])
        return tuple(declared.get_shape()), _DTYPES.get(declared.get_dtype(), declared.get_dtype())

    def read_numpy(self, names: Mapping[str, str], name: str, dtype: type[np.generic]) -> Any:  # noqa: ANN401
        """An array for NumPy of this type, or None where the header names none.

        Raises:
            CaptureError: it is not in the file, or of another type.
        """
        found = self.read_any(names, name)
        if found is None:
            return None
        array = found.numpy() if is_tensor(found) else found
        if array.dtype != dtype:
            raise CaptureError(f"array {name!r} is of type {array.dtype}; expected {np.dtype(dtype)}")
        return array

    def _has(self, names: Mapping[str, str], name: str) -> bool:
        if name not in names:
            return False
        if names[name] not in self._names:
            raise CaptureError(f"the header names an array {names[name]!r:.80} that is not in the file")
        return True


def _missing(name: str) -> CaptureError:
    return CaptureError(f"array {name!r} of a layer is missing from the header")


@contextmanager
def opened(path: Path, *, torch: bool) -> Iterator[ArrayReader]:
    """Open a file. Its own header is checked first: no array may reach beyond the file, or over another.

    Args:
        path: of the file.
        torch: arrays are wanted as tensors, memory-mapped; else as NumPy's.

    Raises:
        CaptureError: it is no whole safetensors file.
        OSError: it cannot be read.
    """
    try:
        handle = safe_open(path, framework="pt" if torch else "np", device="cpu")
    except SafetensorError as error:
        raise CaptureError(f"it is not a whole safetensors file ({error})") from error
    with handle as file:
        yield ArrayReader(file, path.stat().st_size)
