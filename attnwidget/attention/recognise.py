"""From the mask a kernel received to a compact `Mask` that reproduces it exactly."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from attnwidget.attention.arrays import is_tensor, to_numpy
from attnwidget.attention.biases import compact_bias
from attnwidget.attention.masks import Mask
from attnwidget.attention.packed import PackedMask, four_dimensional, lowest_of, pack
from attnwidget.attention.rules import find_rule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    Raises:
        ValueError: the mask does not broadcast to queries x keys.
    """
    if mask is None:
        return Mask.causal(n_queries, n_keys) if is_causal else None
    array = four_dimensional(mask, n_queries, n_keys)
    lowest = lowest_of(mask) if forbids is None else forbids
    adds: bool | None = None
    if _is_elsewhere(array):
        from attnwidget.attention.devicemask import DeviceMask

        # A device may lack one of the operations, or the memory for them: then the mask comes here.
        with suppress(RuntimeError):
            there = DeviceMask(array, n_queries, n_keys, lowest, is_causal=is_causal)
            found, adds = find_rule(there, n_queries, n_keys), there.adds
    if adds is None:
        here = pack(array, n_queries, n_keys, lowest, is_causal=is_causal)
        found, adds = find_rule(here, n_queries, n_keys), here.adds
    if adds:
        bias, relative = compact_bias(to_numpy(array), lowest)
        return replace(found, bias=bias, relative=relative)
    return _unless_open(found)


def _is_elsewhere(array: Any) -> bool:  # noqa: ANN401 - NumPy or torch
    return is_tensor(array) and array.device.type != "cpu"


def recognise_bits(bits: NDArray[np.uint8], *, n_queries: int, n_keys: int) -> Mask | None:
    """A compact mask from a packed one, (B | 1, H | 1, Tq | 1, ceil(Tk / 8)); None if everything is allowed."""
    return _unless_open(find_rule(PackedMask(bits, n_keys), n_queries, n_keys))


def _unless_open(found: Mask) -> Mask | None:
    """A mask, if there is something that it forbids."""
    open_everywhere = found.highest is None and found.lowest is None and found.nbytes == 0
    return None if open_everywhere else found
