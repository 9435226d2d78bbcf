"""Masks in a capture file, each once, however many layers share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention import CaptureError, Mask
from attnwidget.saving.header import MaskPart

if TYPE_CHECKING:
    from attnwidget.saving.arrays import ArrayReader, ArrayWriter

_DTYPES: dict[str, type[np.generic]] = {
    "keys": np.bool_,
    "rows": np.int8,
    "bits": np.uint8,
    "bias": np.float32,
    "ranges": np.int32,
    "relative": np.float32,
}
_ANY = -1
"""A size that nothing else in the file decides: examples, heads, ranges."""


class MaskWriter:
    """The masks of all layers, and their numbers."""

    def __init__(self, arrays: ArrayWriter) -> None:
        self._arrays = arrays
        self._masks: list[Mask] = []
        self._parts: list[MaskPart] = []

    def put(self, mask: Mask | None) -> int | None:
        """Add a mask; returns its number."""
        if mask is None:
            return None
        known = next((number for number, other in enumerate(self._masks) if other is mask), None)
        if known is not None:
            return known
        number = len(self._masks)
        arrays = self._arrays.put_all(f"mask{number}", {name: getattr(mask, name) for name in _DTYPES})
        self._masks.append(mask)
        self._parts.append(MaskPart(mask.n_queries, mask.n_keys, mask.lowest, mask.highest, arrays))
        return number

    @property
    def parts(self) -> list[MaskPart]:
        """For the header."""
        return self._parts


def read_mask(part: MaskPart, reader: ArrayReader) -> Mask:
    """A mask whose arrays have the shapes that its numbers ask for.

    Raises:
        CaptureError: they have not.
    """
    unknown = part.arrays.keys() - _DTYPES.keys()
    if unknown:
        raise CaptureError(f"a mask has arrays {sorted(unknown)}; expected some of {sorted(_DTYPES)}")
    arrays = {name: reader.read_numpy(part.arrays, name, dtype) for name, dtype in _DTYPES.items()}
    rows, columns = part.n_queries, part.n_keys
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "keys": ((_ANY, columns),),
        "rows": ((_ANY, rows),),
        "bits": tuple((_ANY, _ANY, size, -(-columns // 8)) for size in {1, rows}),
        "bias": tuple((_ANY, _ANY, size, width) for size in {1, rows} for width in {1, columns}),
        "ranges": ((_ANY, _ANY, rows, _ANY, 2),),
        "relative": ((_ANY, _ANY, rows + columns - 1),),
    }
    for name, array in arrays.items():
        if array is not None and not any(_fits(array.shape, shape) for shape in shapes[name]):
            raise CaptureError(f"{name!r} of a mask of {rows} x {columns} has shape {array.shape}")
    return Mask(rows, columns, part.lowest, part.highest, **arrays)


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size == wanted or (wanted == _ANY and size > 0) for size, wanted in zip(shape, expected, strict=True)
    )
