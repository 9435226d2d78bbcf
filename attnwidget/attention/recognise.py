"""From the mask a kernel received to a compact `Mask` that reproduces it exactly."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.arrays import to_numpy
from attnwidget.attention.masks import CLOSED, OPEN, RULE, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from attnwidget.attention.protocol import Bools

_BLOCK_BYTES = 8 << 20
_NDIM = 4
_REMEMBERED = 8
_COMPARED = 2
_RUN = 4
"""How many entries of a key tell what was asked; the others tell which tensor."""


def recognise_mask(
    mask: Any,  # noqa: ANN401 - any array type
    *,
    n_queries: int,
    n_keys: int,
    is_causal: bool = False,
    forbids: float | None = None,
) -> Mask | None:
    """A compact mask.

    Args:
        mask: boolean (True: may look) or additive, any shape that broadcasts to (B, H, Tq, Tk), NumPy or torch; None
            for no mask. Additive values of -inf, or below half of what the type can hold, forbid.
        n_queries: Tq.
        n_keys: Tk.
        is_causal: the kernel was also told to be causal, aligned to the upper left as PyTorch does.
        forbids: additive values of this or less forbid; half of what the type can hold if None.

    Returns:
        Rules that reproduce the mask exactly, packed bits where no rule does; None if everything is allowed and
        nothing added.
    """
    if mask is None:
        return Mask.causal(n_queries, n_keys) if is_causal else None
    array = _four_dimensional(mask, n_queries, n_keys)
    bias = None
    if array.dtype != np.bool_:
        array, bias = _split(array, _lowest(mask, array) if forbids is None else forbids)
    if is_causal:
        array = array & np.tri(n_queries, n_keys, dtype=np.bool_)
    array = _without_repeats(array)
    if array.shape[1] > 1 and all(np.array_equal(array[:, 0], array[:, head]) for head in range(1, array.shape[1])):
        array = array[:, :1]  # a bias per head often comes with one mask for all of them
    found = _recognise(array, n_queries, n_keys)
    if bias is None:
        open_everywhere = found.highest is None and found.lowest is None and found.nbytes == 0
        return None if open_everywhere else found
    return Mask(n_queries, n_keys, found.lowest, found.highest, found.keys, found.rows, found.bits, bias)


class MaskMemo:
    """Masks already recognised, so that layers that share a mask tensor share one `Mask`.

    A tensor is known by its place in memory and its version counter. It is kept alive while it is remembered, so that
    no other tensor can take that place.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], tuple[object, Mask | None]] = OrderedDict()

    def recognise(
        self,
        mask: Any,  # noqa: ANN401 - a torch tensor or None
        *,
        n_queries: int,
        n_keys: int,
        is_causal: bool = False,
        forbids: float | None = None,
    ) -> Mask | None:
        """As `recognise_mask`, for a torch tensor or None."""
        key: tuple[object, ...] = (n_queries, n_keys, is_causal, forbids)
        if mask is not None:
            key += (mask.data_ptr(), tuple(mask.shape), mask.stride(), mask.dtype, mask.device, _version(mask))
        if key not in self._known:
            same = self._same_contents(key, mask)
            found = (
                self._known[same][1]
                if same
                else recognise_mask(mask, n_queries=n_queries, n_keys=n_keys, is_causal=is_causal, forbids=forbids)
            )
            self._known[key] = (mask, found)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key][1]

    def _same_contents(self, key: tuple[object, ...], mask: Any) -> tuple[object, ...] | None:  # noqa: ANN401
        """A mask met lately with the same values: some models build theirs anew in every layer."""
        for other in [
            known for known in reversed(self._known) if known[:_RUN] == key[:_RUN] and len(known) == len(key)
        ][:_COMPARED]:
            tensor: Any = self._known[other][0]
            if _alike(tensor, mask) and _version(tensor) == other[-1] and bool((tensor == mask).all()):
                return other
        return None


def _alike(one: Any, other: Any) -> bool:  # noqa: ANN401 - torch tensors or None
    if one is None or other is None:
        return False
    return bool(one.shape == other.shape and one.dtype == other.dtype and one.device == other.device)


def _version(mask: Any) -> object:  # noqa: ANN401 - a torch tensor
    """What changes when the tensor is written to. Inference tensors count no versions: their contents stand in."""
    if mask.is_inference():
        return hashlib.blake2b(np.ascontiguousarray(to_numpy(mask)).tobytes()).digest()
    return mask._version  # noqa: SLF001 - torch offers no other name for it


def _four_dimensional(mask: Any, n_queries: int, n_keys: int) -> NDArray[Any]:  # noqa: ANN401
    array = to_numpy(mask)
    array = array.reshape((1,) * (_NDIM - array.ndim) + array.shape)
    return np.broadcast_to(array, (*array.shape[:2], n_queries, n_keys))


def _lowest(mask: Any, array: NDArray[Any]) -> float:  # noqa: ANN401
    """What counts as minus infinity for the type the mask came in."""
    if "bfloat16" in str(mask.dtype):
        return float(np.finfo(np.float32).min) / 2
    return float(np.finfo(array.dtype).min) / 2


def _split(array: NDArray[Any], lowest: float) -> tuple[Bools, NDArray[np.float32] | None]:
    """An additive mask -> what is allowed, and what is added where it is; None for nothing."""
    small = _without_repeats(array)
    allowed = np.greater(small, lowest)
    if not np.where(allowed, small, 0).any():
        return allowed, None
    # A repeated axis of a bias stays one entry long. Forbidden pairs add nothing: the allowed part speaks for them.
    for axis in (2, 3):
        if small.strides[axis] == 0:
            small = small.take([0], axis=axis)
    return allowed, np.where(small > lowest, small, 0).astype(np.float32)


def _without_repeats(array: NDArray[Any]) -> NDArray[Any]:
    """Batch and head axes that only repeat one entry are cut to it."""
    for axis in (0, 1):
        if array.shape[axis] > 1 and array.strides[axis] == 0:
            array = array.take([0], axis=axis)
    return array


def _recognise(array: Bools, n_queries: int, n_keys: int) -> Mask:
    if array.shape[1] == 1:
        flat = array[:, 0]  # (B, Tq, Tk)
        if flat.strides[1] == 0 or n_queries == 1:  # one row for all queries
            return Mask(n_queries, n_keys, keys=None if flat[:, 0].all() else flat[:, 0].copy())
        for spare_open_rows in (False, True):
            found = _find_rules(flat, n_queries, n_keys, spare_open_rows=spare_open_rows)
            if found is not None:
                return found
    return Mask(n_queries, n_keys, bits=np.packbits(array, axis=-1))


def _find_rules(flat: Bools, n_queries: int, n_keys: int, *, spare_open_rows: bool) -> Mask | None:
    """A band and key padding that reproduce the mask exactly, a few closed or open rows aside."""
    ruled: Bools = np.ones(flat.shape[:2], dtype=np.bool_)  # (B, Tq): rows the rules are read from
    if spare_open_rows:
        # Some models open rows that would see nothing: such a row says nothing about the rule.
        ruled = np.invert(flat.all(axis=-1))
        if not ruled.any():
            return None
    keys = np.zeros((flat.shape[0], n_keys), dtype=np.bool_)
    lowest, highest = n_keys, -n_queries
    for example in range(flat.shape[0]):
        for start, block in _blocks(flat[example]):
            rows = ruled[example, start : start + len(block)] & block.any(axis=-1)
            if not rows.any():
                continue
            picked = block if rows.all() else block[rows]
            numbers = np.flatnonzero(rows) + start
            keys[example] |= picked.any(axis=0)
            lowest = min(lowest, int((picked.argmax(axis=-1) - numbers).min()))
            highest = max(highest, int((n_keys - 1 - picked[:, ::-1].argmax(axis=-1) - numbers).max()))
    padding = None if keys.all() else keys[:1] if (keys == keys[0]).all() else keys
    for low, high in ((None, None), (None, highest), (lowest, None), (lowest, highest)):
        rule = Mask(n_queries, n_keys, lowest=low, highest=high, keys=padding)
        kinds = _row_kinds(rule, flat)
        if kinds is not None:
            return rule if not kinds.any() else Mask(n_queries, n_keys, low, high, padding, kinds)
    return None


def _row_kinds(rule: Mask, flat: Bools) -> NDArray[np.int8] | None:
    """What each row does under this rule, (B, Tq); None if some row is neither ruled, closed nor open."""
    kinds = np.full(flat.shape[:2], RULE, dtype=np.int8)
    anything, columns = slice(0, 1), slice(0, flat.shape[2])
    for example in range(flat.shape[0]):
        for start, block in _blocks(flat[example]):
            predicted = rule.allowed(example, anything, slice(start, start + len(block)), columns)[0]
            off = np.flatnonzero((predicted != block).any(axis=-1))
            closed, opened = ~block[off].any(axis=-1), block[off].all(axis=-1)
            if not (closed | opened).all():
                return None
            kinds[example, start + off[closed]] = CLOSED
            kinds[example, start + off[opened]] = OPEN
    return kinds


def _blocks(rows: Bools) -> Iterator[tuple[int, Bools]]:
    """Blocks of rows of a (Tq, Tk) mask, with the number of the first row."""
    step = max(1, _BLOCK_BYTES // max(1, rows.shape[1]))
    for start in range(0, rows.shape[0], step):
        yield start, rows[start : start + step]
