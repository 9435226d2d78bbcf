"""How much a capture may hold, counted before it is copied, and the words where it is too much."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from attnwidget.attention.limits import limits
from attnwidget.attention.memory import MEMORY, free_bytes, size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from attnwidget.intercept.terms import Terms


class LimitError(Exception):
    """More would be held than may be.

    Args:
        nbytes: how much there would be, with what is held already.
        allowed: how much there may be.
    """

    def __init__(self, nbytes: int, allowed: int) -> None:
        super().__init__(f"{nbytes} bytes of {allowed}")
        self.nbytes, self.allowed = nbytes, allowed


class Budget:
    """Bytes that may be held, counted down.

    Args:
        limit: in all; `limits.capture_bytes` if None, and if that is None too, half of what is free on each device (in
            memory, on the CPU) when the first of it is kept there.
        measure: what is held in a place, or in all, at the moment: what was counted and let go of again is found so.
    """

    def __init__(self, limit: int | None, measure: Callable[[str | None], int]) -> None:
        self.device = torch.device("cpu")  # what was counted last is there
        self.limit = limits.capture_bytes if limit is None else limit
        self.taken = 0
        self._measure = measure
        self._allowed: dict[torch.device | None, int] = {}
        self._left: dict[torch.device | None, int] = {}

    def take(self, nbytes: int, device: torch.device) -> None:
        """Count what is about to be kept on a device.

        Raises:
            LimitError: it is more than may be.
        """
        key = None if self.limit is not None else device
        left = self._left.get(key)
        if left is None:
            left = self.allowed(device)
        if nbytes > left:
            held = self._measure(None if key is None else MEMORY if key.type == "cpu" else str(key))
            left = self.allowed(device) - held
            if nbytes > left:
                raise LimitError(held + nbytes, self.allowed(device))
        self._left[key] = left - nbytes
        self.taken += nbytes
        self.device = device

    def allowed(self, device: torch.device) -> int:
        """Bytes that may be held on a device, or in all where that was said."""
        key = None if self.limit is not None else device
        if key not in self._allowed:
            self._allowed[key] = half_of_free(device) if self.limit is None else self.limit
        return self._allowed[key]


def half_of_free(device: torch.device) -> int:
    """Half of the bytes that are free on a device, or in memory; whatever there is where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds in reserve is free too. Asked for as a whole: for a single number torch lays out hundreds.
        stats: dict[str, dict[str, dict[str, int]]] = torch.cuda.memory.memory_stats_as_nested_dict(device)
        reserved, allocated = (
            stats.get(name, {}).get("all", {}).get("current", 0) for name in ("reserved_bytes", "allocated_bytes")
        )
        return (free + reserved - allocated) // 2
    found = free_bytes()
    return sys.maxsize if found is None else found // 2


@dataclass(frozen=True)
class Load:
    """What a capture would keep.

    Attributes:
        nbytes: in all.
        n_tokens: queries, of all examples.
        n_layers: that are kept.
        n_heads: of each of them.
        is_least: there would be more.
    """

    nbytes: int
    n_tokens: int
    n_layers: int
    n_heads: int
    is_least: bool = False


def too_much(load: Load, allowed: int, *, is_given: bool, before: bool) -> str:
    """The words for what is refused.

    Args:
        load: what would be kept.
        allowed: bytes that may be.
        is_given: somebody has set the limit.
        before: nothing has run yet.
    """
    each = load.nbytes / max(1, load.n_tokens * load.n_layers)
    limit = "the limit" if is_given else "half of the memory that is free"
    return (
        f"this capture would hold {'at least' if load.is_least else 'about'} {size_text(load.nbytes)}, and "
        f"{size_text(allowed)} are allowed ({limit}): {load.n_tokens} tokens, {load.n_layers} layers of {load.n_heads} "
        f"heads, {size_text(each)} per token and layer. "
        + ("The model was not run. " if before else "The run went on without being recorded. ")
        + "Ways out: dtype=torch.bfloat16 keeps queries and keys in 2 bytes a number, layers= and heads= keep some of "
        'them, store="disk" keeps them in files, limit= allows more'
    )


def is_spread(module: nn.Module, terms: Terms) -> bool:
    """Whether layers are kept on several devices, each of which has a limit of its own."""
    devices = {parameter.device for parameter in module.parameters() if not parameter.is_meta}
    return terms.store == "device" and len(devices) > 1
