"""What is known of tensors on the way from a product to a softmax to a product with values, while they live.

Tensors are known by identity, and only weakly: nothing here keeps one alive longer than the tensor made from it.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import torch

from attnwidget.intercept.byhand.axes import Axes, Axis, Part, version_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """A tensor that may become queries, keys or values, and what is known of its axes.

    Attributes:
        axes: what they count.
        learned: what the parameters counted that it is a product with, where that may be something else than features.
    """

    axes: Axes
    learned: Axis = ()


@dataclass(frozen=True, eq=False, slots=True)
class Learned:
    """A parameter in another type."""


@dataclass(frozen=True, eq=False, slots=True)
class Added:
    """Something added to scores, times a factor."""

    part: Part
    factor: float = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Forbidden:
    """Scores replaced by a large negative number, where a tensor is (or is not) true.

    Attributes:
        part: the tensor.
        where: what it is there.
        is_lowest: the number is minus infinity, or as good as that in its type.
    """

    part: Part
    where: bool
    is_lowest: bool


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """Comes from a product: outer * tanh(inner * left . right) + what was added; without outer also without tanh.

    Beside these there may be sinks: logits of columns that stand for no key.

    Attributes:
        axes: what its axes count.
        factors: the two factors of the product; None once something happened that this formula does not say.
        summed: what the product sums over.
        inner: what the product is multiplied with.
        outer: what its tanh is multiplied with; None before there is one.
        gains: tensors the product is multiplied with.
        added: in the order it was added.
        product: the two factors, whatever happened since.
        sinks: columns joined to the scores last of all.
        is_loose: parts of them were moved around, and which axis counts what is not known any more.
        is_bent: they were changed value by value, by another function than an exponential.
        is_picked: they were sorted, or the largest picked: of which keys they are is not known.
        has_own_keys: some keys are others for each query, or block of queries.
    """

    axes: Axes
    factors: tuple[Part, Part] | None
    summed: Axis
    inner: float = 1.0
    outer: float | None = None
    gains: tuple[Part, ...] = ()
    added: tuple[Added | Forbidden, ...] = ()
    product: tuple[Part, Part] | None = None
    sinks: tuple[Part, ...] = ()
    is_loose: bool = False
    is_bent: bool = False
    is_picked: bool = False
    has_own_keys: bool = False

    def unexplained(self, axes: Axes | None = None) -> Scores:
        """Still from a product, and no longer what the formula says; what was forbidden still is."""
        return replace(self, axes=self.axes if axes is None else axes, factors=None, gains=(), sinks=())


@dataclass(eq=False, slots=True)
class SoftmaxCall:
    """One softmax.

    Attributes:
        from_product: its scores come from a product of two tensors that are not parameters.
        is_known: its weights were recorded, or belong to a call recorded elsewhere.
        weighs: they are multiplied with values, over the axis they sum to 1 along.
        users: the modules that multiplied them with values, as far as that was recorded.
        is_other: no softmax, but what was made of scores in another way and multiplied with values.
        size: how many weights it made.
        meets_apart: weights of a single key, cut off from the others, were used for themselves.
    """

    from_product: bool
    is_known: bool = False
    weighs: bool = False
    is_other: bool = False
    size: int = 0
    meets_apart: bool = False
    users: tuple[nn.Module, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Weights:
    """Comes from a softmax.

    Attributes:
        axes: what its axes count.
        keys: the axis that sums to 1.
        call: the softmax.
        scores: what it was taken of; None if that does not come from a product.
        clean: what the tensor would be without dropout; None: what it is, or not known any more.
        source: what the softmax returned, if that has been changed since, other than by dropout.
        whole: the tensor before some of its keys were cut off.
        is_mixed: it has been multiplied with parameters, as where heads are mixed.
        is_blend: made of several softmaxes.
        is_log: the logarithm of weights.
        oddity: why no weights can be told; None: they can.
        is_touched: it has been written to since where it lies.
    """

    axes: Axes
    keys: Axis
    call: SoftmaxCall
    scores: Scores | None
    clean: Part | None = None
    source: Part | None = None
    whole: Part | None = None
    is_mixed: bool = False
    is_blend: bool = False
    is_log: bool = False
    oddity: str | None = None
    is_touched: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Exponentials:
    """The exponential of scores, on the way to weights.

    Attributes:
        axes: what its axes count.
        scores: whose exponential it is.
        token: known to its sums.
    """

    axes: Axes
    scores: Scores
    token: object


@dataclass(frozen=True, eq=False, slots=True)
class Total:
    """The sum of exponentials of scores along an axis, or its logarithm.

    Attributes:
        axes: what its axes count; none along the one that was summed.
        keys: what was summed.
        scores: whose exponentials.
        token: of the exponentials, or of the scores themselves.
        is_log: the logarithm.
        has_more: something was added, as in a softmax that may sum to less than 1.
        is_inverse: one over it.
    """

    axes: Axes
    keys: Axis
    scores: Scores
    token: object
    is_log: bool = False
    has_more: bool = False
    is_inverse: bool = False


Trail: TypeAlias = Layout | Learned | Scores | Weights | Exponentials | Total


class Trails:
    """Trails by tensor, for one thread.

    Attributes:
        entries: a reference, a trail and a version, by `id` of the tensor; empty where nothing is followed.
    """

    def __init__(self) -> None:
        self.entries: dict[int, tuple[weakref.ref[torch.Tensor], Trail, int | None]] = {}

    def __bool__(self) -> bool:
        return bool(self.entries)

    def get(self, tensor: object) -> Trail | None:
        """What is known of a tensor; less if it has been written to in a way that was not followed."""
        entry = self.entries.get(id(tensor))
        if entry is None or entry[0]() is not tensor:
            return None
        _, trail, version = entry
        if isinstance(tensor, torch.Tensor) and version_of(tensor) != version:
            return None if isinstance(trail, Total) else _touched(trail)
        return trail

    def touch(self, memory: torch.Tensor) -> None:
        """Somebody got at the memory of a tensor: what is written there is not followed, and counts no versions."""
        place = memory.untyped_storage().data_ptr()
        for known, _, _ in list(self.entries.values()):
            tensor = known()
            if tensor is not None and tensor.untyped_storage().data_ptr() == place:
                trail = self.get(tensor)
                if isinstance(trail, Weights):  # mostly it is only read
                    self.put(tensor, replace(trail, is_touched=True))
                elif trail is not None:
                    self.put(tensor, _touched(trail))

    def put(self, tensor: torch.Tensor, trail: Trail) -> None:
        """Write down what is known of a tensor while it lives."""
        number = id(tensor)

        def forget(dead: weakref.ref[torch.Tensor]) -> None:
            entry = self.entries.get(number)
            if entry is not None and entry[0] is dead:
                del self.entries[number]

        self.entries[number] = (weakref.ref(tensor, forget), trail, version_of(tensor))

    def drop(self, tensor: torch.Tensor) -> None:
        """Forget a tensor."""
        self.entries.pop(id(tensor), None)

    def clear(self) -> None:
        """Forget all of them."""
        self.entries.clear()


def _touched(trail: Trail) -> Trail:
    """What is left of a trail after its tensor was written to."""
    if isinstance(trail, Scores):
        return replace(trail.unexplained(), added=())
    if isinstance(trail, Exponentials):
        return replace(trail, scores=replace(trail.scores.unexplained(), added=()))
    if isinstance(trail, Weights):
        lost = trail.clean is not None
        return replace(
            trail, is_touched=True, oddity="its weights were overwritten after dropout" if lost else trail.oddity
        )
    return trail


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.trails = Trails()
        self.watchers = 0


_local = _PerThread()


def trails() -> Trails:
    """Those of this thread."""
    return _local.trails


def begin() -> None:
    """A capture begins in this thread."""
    _local.watchers += 1


def is_watched() -> bool:
    """Whether a capture watches what torch computes in this thread: one that began in another does not."""
    return _local.watchers > 0


def end() -> None:
    """A capture ends in this thread; after the last one nothing is remembered."""
    _local.watchers -= 1
    if _local.watchers == 0:
        _local.trails.clear()
