"""What was made of tensors met before in a run: masks recognised, and copies kept."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from attnwidget.attention.recognise import recognise_mask

if TYPE_CHECKING:
    from collections.abc import Hashable

    from attnwidget.attention.masks import Mask

    Key = tuple[Hashable, ...]

Made = TypeVar("Made")
_REMEMBERED = 64
_SAMPLE = 256
_MANY = 1024


class TensorMemo(Generic[Made]):
    """What was made of a tensor, as long as neither its memory nor what is in it has changed.

    A tensor is known by its place in memory and its version counter, while that memory is in use; it is not kept alive.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Key, tuple[Any, Made]] = OrderedDict()

    def get(self, key: Key) -> tuple[Made] | None:
        """What was made, in a tuple; None where nothing is known."""
        known = self._known.get(key)
        if known is None or known[0].expired():
            return None
        self._known.move_to_end(key)
        return (known[1],)

    def put(self, key: Key, tensor: Any, made: Made) -> None:  # noqa: ANN401 - a torch tensor
        """Remember what was made of a tensor with this key."""
        self._known[key] = (_weakly(tensor), made)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


class Storages:
    """Memory of tensors, by where it is and while it is in use.

    Attributes:
        count: how often some was added.
    """

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[int, Any] = {}

    def add(self, tensor: Any) -> None:  # noqa: ANN401 - a torch tensor
        """Its memory is one of these from now on."""
        if len(self._known) > _MANY:
            self._known = {place: one for place, one in self._known.items() if not one.expired()}
        storage = _weakly(tensor)
        self._known[storage.cdata] = storage
        self.count += 1

    def holds(self, storage: Any) -> bool:  # noqa: ANN401 - torch's weak reference to one
        """Whether it is one of these."""
        known = self._known.get(storage.cdata)
        return known is not None and not known.expired()


EXPOSED = Storages()
"""What somebody got at by `tensor.data` or `tensor.numpy()` while a capture ran: writes there count no versions."""
_READ = Storages()
"""What was torch's own when it was read here, and is NumPy's too since."""


def key_of(tensor: Any, *more: Hashable) -> Key | None:  # noqa: ANN401 - a torch tensor
    """What identifies the contents of a tensor; None where writes may count no versions.

    That is so in inference mode, where memory was exposed, and where it is not torch's own, as an array of NumPy's.
    """
    if tensor.is_inference():
        return None
    storage = _weakly(tensor)
    if EXPOSED.holds(storage) or not (tensor.untyped_storage().resizable() or _READ.holds(storage)):
        return None
    place = (storage.cdata, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
    return (*place, tensor._version, *more)  # noqa: SLF001 - torch offers no other name for it


def _weakly(tensor: Any) -> Any:  # noqa: ANN401 - torch's own type
    from torch.multiprocessing.reductions import StorageWeakRef

    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


class _Seen:
    """The latest mask: mostly the next layer has the same tensor, which is told faster than by its memory.

    Args:
        mask: a torch tensor or None.
        question: what else was asked.
        found: the answer.
    """

    __slots__ = ("_mask", "_question", "_version", "found")

    def __init__(self, mask: Any, question: tuple[Hashable, ...], found: Mask | None) -> None:  # noqa: ANN401
        self._mask = None if mask is None else weakref.ref(mask)
        self._question, self.found = question, found
        self._version = None if mask is None or key_of(mask) is None else _contents(mask)

    def answers(self, mask: Any, question: tuple[Hashable, ...]) -> bool:  # noqa: ANN401
        """Whether this mask is that one, and has not been written to since."""
        if question != self._question or mask is None or self._mask is None:
            return question == self._question and mask is None and self._mask is None
        return self._mask() is mask and self._version is not None and self._version == _contents(mask)


def _contents(mask: Any) -> tuple[int, int, int]:  # noqa: ANN401
    """What changes if a tensor is written to, given other memory, or if some memory is exposed."""
    return mask._version, mask.data_ptr(), EXPOSED.count  # noqa: SLF001 - torch offers no other name for it


class MaskMemo:
    """Masks already recognised: layers that share a mask, or build one with the same values, share one `Mask`.

    A tensor that is not known is recognised again, which costs a few reads of it, and the result is compared with those
    met before.
    """

    def __init__(self) -> None:
        self._tensors: TensorMemo[Mask | None] = TensorMemo()
        self._met: list[Mask] = []
        self._last = _Seen(None, (), None)

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
        question = n_queries, n_keys, is_causal, forbids
        if self._last.answers(mask, question):
            return self._last.found
        key = None if mask is None else key_of(mask, *question)
        known = None if key is None else self._tensors.get(key)
        if known is None:
            if key is not None:
                _READ.add(mask)
            known = (
                self.share(
                    recognise_mask(mask, n_queries=n_queries, n_keys=n_keys, is_causal=is_causal, forbids=forbids)
                ),
            )
            if key is not None:
                self._tensors.put(key, mask, known[0])
        self._last = _Seen(mask, question, known[0])
        return known[0]

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
