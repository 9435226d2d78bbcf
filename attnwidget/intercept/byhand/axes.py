"""Axes of tensors told apart by what they count, through reshapes, transposes and slices.

An axis is a tuple of atoms, outermost first: batch and heads merged into one are two atoms, and an axis of length 1 is
none. Atoms are compared by identity, so that two axes of one length are never taken for each other.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch


class Side(Enum):
    """A factor of a product."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(eq=False, slots=True)
class Atom:
    """Something counted along an axis.

    Attributes:
        size: how many there are, at least 2.
        parts: the two it was split into by a reshape, outer and inner.
        source: the atom it is a slice of, with start and stop.
        is_head: told by queries, keys or values, by what they were split off from or as batch and heads were merged,
            that it counts heads (True) or not (False).
        may_be_head: told by scores or weights in a shape like (batch, heads, ...), which may have another order.
        beside_features: lies just outside the features in memory, as heads do that were split off from them.
        side: which factor of a product it comes from alone; None for what both share, and for anything else.
    """

    size: int
    parts: tuple[Atom, ...] = ()
    source: tuple[Atom, int, int] | None = None
    is_head: bool | None = None
    may_be_head: bool | None = None
    beside_features: bool = False
    side: Side | None = None

    def split(self, outer: int) -> tuple[Atom, Atom]:
        """Into an outer part of this size and what is left."""
        first, rest = (Atom(size, side=self.side, is_head=self.is_head) for size in (outer, self.size // outer))
        self.parts = (first, rest)
        return first, rest


Axis: TypeAlias = tuple[Atom, ...]
Axes: TypeAlias = tuple[Axis, ...]


def fresh(shape: Sequence[int]) -> Axes:
    """Axes nothing is known of yet."""
    return tuple((Atom(size),) if size > 1 else () for size in shape)


def alike(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """The same axes where they are as long as they were, and new ones from the same side; None if there are others."""
    if len(axes) != len(shape):
        return None
    return tuple(axis if length(axis) == size else like(axis, size) for axis, size in zip(axes, shape, strict=True))


def like(axis: Axis, size: int) -> Axis:
    """An axis of another length, from the same side."""
    sides = {atom.side for atom in axis}
    return (Atom(size, side=sides.pop() if len(sides) == 1 else None),) if size > 1 else ()


def leaves(axis: Axis) -> Axis:
    """The atoms of an axis, with those replaced that have been split since."""
    if not any(atom.parts for atom in axis):
        return axis
    return tuple(leaf for atom in axis for leaf in (leaves(atom.parts) if atom.parts else (atom,)))


def length(axis: Axis) -> int:
    """How long an axis is."""
    return math.prod(atom.size for atom in axis)


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """After a reshape; None where the new axes cut across the old ones, or nothing is left to count."""
    queue = deque(leaf for axis in axes for leaf in leaves(axis))
    result = []
    for size in shape:
        taken: list[Atom] = []
        count = 1
        while count < size and queue:
            atom = queue.popleft()
            if size % (count * atom.size):
                outer, uneven = divmod(size, count)
                if uneven or atom.size % outer:
                    return None
                atom, rest = atom.split(outer)
                queue.appendleft(rest)
            taken.append(atom)
            count *= atom.size
        if count != size:
            return None
        result.append(tuple(taken))
    return None if queue else tuple(result)


def narrowed(axis: Axis, start: int, stop: int) -> Axis | None:
    """A slice of an axis; None if the axis counts several things at once."""
    if stop - start == length(axis):
        return axis
    if stop - start == 1:
        return ()
    atoms = leaves(axis)
    if len(atoms) != 1 or stop <= start:
        return None
    (atom,) = atoms
    return (Atom(stop - start, source=(atom, start, stop), side=atom.side, is_head=atom.is_head),)


def grown(axes: Axes, shape: Sequence[int]) -> Axes:
    """After broadcasting to this shape."""
    axes = ((),) * (len(shape) - len(axes)) + axes
    return tuple(
        axis if length(axis) == size else (Atom(size),) if size > 1 else ()
        for axis, size in zip(axes, shape, strict=True)
    )


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """A tensor that took part in something, and what its axes count.

    Attributes:
        tensor: right-aligned with the axes, of full length or 1 along each.
        axes: what they count.
        version: of the tensor at that time; another one means that it has been written to since.
    """

    tensor: torch.Tensor
    axes: Axes
    version: int | None = field(default=None)

    @classmethod
    def of(cls, tensor: torch.Tensor, axes: Axes) -> Part:
        """As it is now."""
        return cls(tensor, axes, version_of(tensor))

    def is_unchanged(self) -> bool:
        """Whether nobody wrote to the tensor since."""
        return version_of(self.tensor) == self.version


def version_of(tensor: torch.Tensor) -> int | None:
    """How often a tensor has been written to; not known of inference tensors."""
    return None if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch offers no other name for it


def align(part: Part, groups: Sequence[Axis]) -> torch.Tensor | None:
    """Bring a tensor into a frame.

    Args:
        part: a tensor and its axes.
        groups: what each axis of the frame counts.

    Returns:
        A tensor with one axis per group, of full length or 1, a view where there can be one; None if the tensor counts
        something that the frame does not.
    """
    shape = (1,) * (len(part.axes) - part.tensor.ndim) + tuple(part.tensor.shape)
    names: list[Atom] = []
    sizes: list[int] = []
    for axis, size in zip(part.axes, shape, strict=True):
        atoms = leaves(axis)
        if size not in (1, length(atoms)):
            return None
        names += atoms
        sizes += [atom.size if size > 1 else 1 for atom in atoms]
    tensor = part.tensor.detach().reshape(sizes)
    order: list[int | None] = []
    wanted = [leaves(group) for group in groups]
    for atom in (atom for group in wanted for atom in group):
        found = _find(atom, names)
        if found is None:
            order.append(None)
            continue
        index, start, stop = found
        if tensor.shape[index] > 1:
            tensor = tensor.narrow(index, start, stop - start)
        order.append(index)
    picked = [index for index in order if index is not None]
    spare = [index for index in range(len(names)) if index not in picked]
    if len(set(picked)) < len(picked) or any(tensor.shape[index] > 1 for index in spare):
        return None
    tensor = tensor.permute((*picked, *spare))
    tensor = tensor.flatten(len(picked)) if spare else tensor
    found_sizes = iter(tensor.shape)
    return _merge(tensor, wanted, [1 if index is None else next(found_sizes) for index in order])


def _find(atom: Atom, names: Sequence[Atom]) -> tuple[int, int, int] | None:
    """Which of these atoms one is, or is a slice of; with start and stop."""
    root, start, stop = _root(atom)
    for index, name in enumerate(names):
        if name is atom:
            return index, 0, atom.size
        other, first, last = _root(name)
        if other is root and first <= start and stop <= last:
            return index, start - first, stop - first
    return None


def _root(atom: Atom) -> tuple[Atom, int, int]:
    """What an atom is a slice of in the end, with start and stop."""
    start, stop = 0, atom.size
    while atom.source is not None:
        atom, first, _ = atom.source
        start, stop = start + first, stop + first
    return atom, start, stop


def _merge(tensor: torch.Tensor, groups: Sequence[Axis], sizes: list[int]) -> torch.Tensor:
    tensor = tensor.reshape(sizes)
    full, merged, done = list(sizes), [], 0
    for group in groups:
        found = sizes[done : done + len(group)]
        if any(size > 1 for size in found):
            full[done : done + len(group)] = [atom.size for atom in group]
            merged.append(length(group))
        else:
            merged.append(1)
        done += len(group)
    return tensor.expand(full).reshape(merged)


def mark(atoms: Iterable[Atom], *, is_head: bool) -> None:
    """Write down what atoms count, where nobody has."""
    for atom in atoms:
        if atom.is_head is None:
            atom.is_head = is_head


def mark_likely(atoms: Iterable[Atom], *, is_head: bool) -> None:
    """Write down what atoms may count, where nobody has."""
    for atom in atoms:
        if atom.may_be_head is None:
            atom.may_be_head = is_head


def told_heads(atoms: Axis) -> Axis | None:
    """Which atoms were told to count heads; None if nobody told of any of them."""
    told = [atom.may_be_head if atom.is_head is None else atom.is_head for atom in atoms]
    if all(value is None for value in told):
        return None
    return tuple(atom for atom, value in zip(atoms, told, strict=True) if value)
