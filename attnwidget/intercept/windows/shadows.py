"""Where the rows of a tensor come from, written down while a model runs, worked out when somebody asks.

A model with local attention cuts its sequence into windows by moving data: padding, rolling, reshaping, transposing.
What is written down of a tensor is a `Shadow`: a base, a tensor in whose own coordinates tokens can be counted,
and the movements since. To work it out, the same movements are made with the numbers of the base's tokens.
"""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from attnwidget.intercept.byhand.axes import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Move: TypeAlias = Callable[..., Any]

PADDING, UNKNOWN = -1, -2
_DEEPEST = 8
"""How many bases are remembered before a base."""


class LostError(Exception):
    """Rows cannot be told to come from tokens of the base."""


@dataclass(eq=False, slots=True)
class Base:
    """A tensor in whose coordinates tokens can be counted: what a layer computes row by row, or a sum of such tensors.

    Attributes:
        shape: of it.
        source: what it was computed from row by row; None where that is not known, or several things.
        axis: the axis of the source that was summed over; None where each number comes from one number.
        channel: the axis that likely counts channels.
        depth: how many bases are known before it.
        number: the later it was made, the higher.
        key: see `Shadows.key`.
    """

    shape: tuple[int, ...]
    source: Moved | Base | None = None
    axis: int | None = -1
    channel: int = -1
    depth: int = 0
    number: int = field(default_factory=itertools.count().__next__)
    key: int | None = None

    @classmethod
    def after(cls, shape: Sequence[int], source: Shadow | None, axis: int | None = -1) -> Base:
        """Computed row by row from something, whose own past is remembered up to a point."""
        before, channel = None if source is None else base_of(source), -1 if axis is None else axis
        if before is None or isinstance(source, Constant) or before.depth >= _DEEPEST:
            return cls(tuple(shape), channel=channel)
        return cls(tuple(shape), source, axis, channel, before.depth + 1)


@dataclass(eq=False, slots=True)
class Constant:
    """A tensor filled with one number, which is no token."""

    shape: tuple[int, ...]
    key: int | None = None


@dataclass(eq=False, slots=True)
class Moved:
    """A tensor whose numbers are those of others, in other places.

    Attributes:
        shape: of it.
        base: of those it comes from.
        move: makes the same movement.
        args: what it takes after the tensors.
        parents: the tensors.
        pick: which of the results, where there are several.
        versions: of tensors among the arguments, which hold places and not data.
        depth: how many movements lie between it and its base.
        key: see `Shadows.key`.
    """

    shape: tuple[int, ...]
    base: Base
    move: Move
    args: tuple[Any, ...]
    parents: tuple[Shadow, ...]
    pick: int | None = None
    versions: tuple[tuple[torch.Tensor, int | None], ...] = ()
    depth: int = 1
    key: int | None = None


Shadow: TypeAlias = Base | Constant | Moved


def base_of(shadow: Shadow) -> Base | None:
    """In whose coordinates a shadow is; None for constants."""
    if isinstance(shadow, Moved):
        return shadow.base
    return shadow if isinstance(shadow, Base) else None


def frozen(args: Any) -> Any:  # noqa: ANN401 - any arguments
    """Arguments as a key of a dictionary, in which True is not 1."""
    if isinstance(args, (tuple, list)):
        return tuple(frozen(part) for part in args)
    if isinstance(args, slice):
        return slice, args.start, args.stop, args.step
    if isinstance(args, torch.Tensor):
        return torch.Tensor  # told apart by `versions`
    return (bool, args) if isinstance(args, bool) else args


def token_shape(shape: Sequence[int], channels: Iterable[int]) -> tuple[int, ...]:
    """Lengths of the axes that count tokens, some of them counting channels."""
    hidden = {axis % len(shape) for axis in channels}
    return tuple(size for axis, size in enumerate(shape) if axis not in hidden)


def codes(shadow: Shadow, channels: tuple[int, ...]) -> torch.Tensor:
    """The number of the base's token that each number of a tensor comes from.

    Args:
        shadow: of the tensor.
        channels: axes of the base that do not count tokens.

    Returns:
        int64 in the tensor's shape; PADDING for what comes from no token.

    Raises:
        LostError: places were written to since.
        RuntimeError: the movement cannot be made.
    """
    return _codes(shadow, channels, {})


def _codes(shadow: Shadow, channels: tuple[int, ...], known: dict[Any, Any]) -> torch.Tensor:
    found = known.get(id(shadow))
    if found is None:
        if isinstance(shadow, Base):
            found = _numbers(shadow.shape, channels)
        elif isinstance(shadow, Constant):
            found = torch.full((1,) * len(shadow.shape), PADDING, device="cpu").expand(shadow.shape)
        else:
            found = _moved(shadow, channels, known)
        known[id(shadow)] = found
    result: torch.Tensor = found
    return result


def _moved(shadow: Moved, channels: tuple[int, ...], known: dict[Any, Any]) -> torch.Tensor:
    if any(version_of(tensor) != version for tensor, version in shadow.versions):
        raise LostError("places were written to")
    # One call gives all pieces of a split.
    key = None if shadow.pick is None else (frozen(shadow.args), *(id(parent) for parent in shadow.parents))
    made = known.get(key)
    if made is None:
        made = shadow.move(*(_codes(parent, channels, known) for parent in shadow.parents), *shadow.args)
        if key is not None:
            known[key] = made
    result: torch.Tensor = made if shadow.pick is None else made[shadow.pick]
    if tuple(result.shape) != shadow.shape:
        raise LostError(f"a movement gave {tuple(result.shape)} instead of {shadow.shape}")
    return result


def _numbers(shape: tuple[int, ...], channels: tuple[int, ...]) -> torch.Tensor:
    """Each token's number, the same for all of its channels, which take no memory."""
    hidden = {axis % len(shape) for axis in channels}
    sizes = [1 if axis in hidden else size for axis, size in enumerate(shape)]
    return torch.arange(math.prod(sizes), device="cpu").view(sizes).expand(shape)


@dataclass(eq=False, slots=True)
class Shadows:
    """Shadows of the tensors of one thread, while they live.

    Attributes:
        captures: how many captures want them.
    """

    captures: int = 0
    _known: dict[int, tuple[weakref.ref[torch.Tensor], Shadow, int | None]] = field(default_factory=dict)
    _keys: dict[Any, int] = field(default_factory=dict)
    _round: dict[int, bool] = field(default_factory=dict)

    def get(self, tensor: object) -> Shadow | None:
        """What is known of a tensor; nothing if it has been written to in a way that was not followed."""
        entry = self._known.get(id(tensor))
        if entry is None or entry[0]() is not tensor:
            return None
        return entry[1] if version_of(tensor) == entry[2] else None  # type: ignore[arg-type]

    def put(self, tensor: torch.Tensor, shadow: Shadow) -> None:
        """Write down what is known of a tensor."""
        number, known = id(tensor), self._known

        def forget(dead: weakref.ref[torch.Tensor]) -> None:
            entry = known.get(number)
            if entry is not None and entry[0] is dead:
                del known[number]

        known[number] = (weakref.ref(tensor, forget), shadow, version_of(tensor))

    def drop(self, tensor: torch.Tensor) -> None:
        """Forget a tensor."""
        self._known.pop(id(tensor), None)

    def overwritten(self, tensor: torch.Tensor, *, constants: bool = False) -> None:
        """Forget whatever shares the memory of a tensor that other data has been written to; or constants alone."""
        storage = tensor.untyped_storage().data_ptr()
        for number, (reference, shadow, _) in list(self._known.items()):
            other = reference()
            if constants and not isinstance(shadow, Constant):
                continue
            if other is not None and other.untyped_storage().data_ptr() == storage:
                self._known.pop(number, None)

    def key(self, shadow: Shadow) -> int:
        """The same number for shadows of the same movements of bases of the same shape."""
        if shadow.key is None:
            parts: tuple[Any, ...]
            if isinstance(shadow, Moved):
                # Tensors are held here, so that no other can get their address.
                tensors = tuple((_Same(tensor), version) for tensor, version in shadow.versions)
                parents = tuple(self.key(parent) for parent in shadow.parents)
                parts = (shadow.move, frozen(shadow.args), shadow.pick, parents, tensors)
            elif isinstance(shadow, Base):
                parts = (Base, shadow.shape, shadow.axis, None if shadow.source is None else self.key(shadow.source))
            else:
                parts = (Constant, shadow.shape)
            shadow.key = self._keys.setdefault(parts, next(_numbers_of_keys))
        return shadow.key

    def is_back(self, shadow: Moved) -> bool:
        """Whether movements have brought every number back to where it was."""
        key = self.key(shadow)
        if key not in self._round:
            try:
                found = codes(shadow, ())
                self._round[key] = torch.equal(found.reshape(-1), torch.arange(found.numel(), device="cpu"))
            except (LostError, RuntimeError, IndexError):
                self._round[key] = False
        return self._round[key]

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._keys.clear()
        self._round.clear()


class _Same:
    """A tensor that is equal to itself alone."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.tensor is other.tensor

    def __hash__(self) -> int:
        return id(self.tensor)


_numbers_of_keys = itertools.count()


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.shadows = Shadows()


_local = _PerThread()


def shadows() -> Shadows:
    """Those of this thread."""
    return _local.shadows
