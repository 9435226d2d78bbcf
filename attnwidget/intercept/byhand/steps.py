"""One call of a function that has a followed tensor among its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from attnwidget.intercept.byhand.trails import Trail, Trails

JOINS = {torch.cat, torch.concat, torch.concatenate}
"""Functions of a list of tensors, which stands for their arguments here."""
FORBIDS = -1e4
"""A score this low, or lower, is meant as "not allowed": exp of it is 0 in every type beside any ordinary score."""


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A call.

    Attributes:
        func: the function.
        args: its arguments.
        kwargs: likewise.
        known: trails of those of its positional arguments that have one, by position, from before the call.
        saved: what the first argument was, where it is overwritten and must be known.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    known: dict[int, Trail]
    saved: torch.Tensor | None = None

    @classmethod
    def of(
        cls, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], trails: Trails
    ) -> Step | None:
        """Before the call; None if nothing followed takes part."""
        if func in JOINS and args and isinstance(args[0], (list, tuple)):
            kwargs = {"dim": args[1], **kwargs} if len(args) > 1 else kwargs
            args = tuple(args[0])
        if "input" in kwargs:
            args, kwargs = (kwargs["input"], *args), {name: kwargs[name] for name in kwargs if name != "input"}
        known = {}
        for number, argument in enumerate(args):
            trail = trails.get(argument)
            if trail is not None:
                known[number] = trail
        return cls(func, args, kwargs, known) if known else None

    def argument(self, position: int, name: str, default: Any = None) -> Any:  # noqa: ANN401 - any argument
        """By position or name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def is_in_place(self) -> bool:
        """Whether the first argument is overwritten."""
        name = getattr(self.func, "__name__", "")
        return (name.endswith("_") and not name.endswith("__")) or bool(self.kwargs.get("inplace"))

    def again(self, position: int, tensor: torch.Tensor) -> Any:  # noqa: ANN401 - what the function returns
        """The same call on another tensor, which is left as it is.

        Raises:
            ValueError: the call writes its result somewhere.
        """
        if self.kwargs.get("out") is not None:
            raise ValueError("the result goes into a tensor of the model's own")
        if self.is_in_place and position == 0:
            tensor = tensor.clone()
        args = (*self.args[:position], tensor, *self.args[position + 1 :])
        with torch.no_grad():
            return self.func(*args, **self.kwargs)


def name_of(func: object) -> str:
    """What a function is called, whether or not it writes in place: add_, __radd__ and add are two names."""
    return str(getattr(func, "__name__", "")).strip("_")


def lowest(dtype: torch.dtype) -> float:
    """What counts as minus infinity in a type: half of the lowest number."""
    return torch.finfo(dtype).min / 2


def as_number(value: object, *, waits: bool = False) -> float | None:
    """A number, or a tensor of one; None for anything else.

    Args:
        value: whatever it is.
        waits: read it also where a device has to finish first what is queued there.
    """
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, torch.Tensor) and value.ndim == 0 and (waits or value.device.type == "cpu"):
        return float(value)
    return None
