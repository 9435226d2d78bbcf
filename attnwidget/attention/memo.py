"""Masks met before in a run, so that layers share what was recognised."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.recognise import recognise_mask

if TYPE_CHECKING:
    from attnwidget.attention.masks import Mask

_REMEMBERED = 64
_SAMPLE = 256


class MaskMemo:
    """Masks already recognised: layers that share a mask, or build one with the same values, share one `Mask`.

    A tensor is known by its place in memory and its version counter, for as long as its memory is in use; it is not
    kept alive. One that is not known is recognised again, which costs a few reads of it, and the result compared with
    those met before.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], tuple[Any, Mask | None]] = OrderedDict()
        self._met: list[Mask] = []

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
        storage = None
        if mask is not None and not mask.is_inference():  # inference tensors count no versions
            from torch.multiprocessing.reductions import StorageWeakRef

            storage = StorageWeakRef(mask.untyped_storage())  # type: ignore[no-untyped-call]
            place = (storage.cdata, mask.data_ptr(), tuple(mask.shape), mask.stride(), mask.dtype)
            key += (*place, mask._version)  # noqa: SLF001 - torch offers no other name for it
            known = self._known.get(key)
            if known is not None and not known[0].expired():
                self._known.move_to_end(key)
                return known[1]
        found = self.share(
            recognise_mask(mask, n_queries=n_queries, n_keys=n_keys, is_causal=is_causal, forbids=forbids)
        )
        if storage is not None:
            self._known[key] = (storage, found)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def share(self, mask: Mask | None) -> Mask | None:
        """The mask met before that says the same, or this one."""
        if mask is None:
            return None
        for met in self._met:
            if _same(met, mask):
                return met
        self._met.append(mask)
        return mask


def _same(one: Mask, other: Mask) -> bool:
    for part in fields(one):
        mine, yours = getattr(one, part.name), getattr(other, part.name)
        if type(mine) is not type(yours):
            return False
        if isinstance(mine, np.ndarray):
            if mine.shape != yours.shape or mine.dtype != yours.dtype:
                return False
            some = slice(None, None, max(1, mine.size // _SAMPLE))  # most that differ do so soon
            if not (np.array_equal(mine.flat[some], yours.flat[some]) and np.array_equal(mine, yours)):
                return False
        elif mine != yours:
            return False
    return True
