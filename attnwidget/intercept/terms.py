"""What a person asks a capture to keep: of which layers and heads, in which type, where, and how much at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from attnwidget.intercept.picks import Given, Picks
from attnwidget.intercept.store import check_where

if TYPE_CHECKING:
    from attnwidget.intercept.store import Where

Dtype: TypeAlias = "torch.dtype | str | None"
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Terms:
    """Checked.

    Attributes:
        store: where what is kept goes.
        dropout: weights are wanted as they are after dropout, where there is any.
        dtype: what queries, keys and weights are kept in; as they were computed if None.
        layers: which are kept, counted within each stack; all if None.
        heads: which are kept, counted within each layer; all if None.
        limit: bytes that may be held; `limits.capture_bytes` if None.
        progress: show a bar where it takes long.
        values: keep values too, and the map that each layer's output goes into.
        gradients: be ready to tell how a target depends on each layer's output; `values` is on too.
    """

    store: Where = "device"
    dropout: bool = False
    dtype: torch.dtype | None = None
    layers: Picks | None = None
    heads: Picks | None = None
    limit: int | None = None
    progress: bool = True
    values: bool = False
    gradients: bool = False

    @classmethod
    def of(
        cls,
        *,
        store: Where = "device",
        dropout: bool = False,
        dtype: Dtype = None,
        layers: Given | None = None,
        heads: Given | None = None,
        limit: int | None = None,
        progress: bool = True,
        values: bool = False,
        gradients: bool = False,
    ) -> Terms:
        """Check what a person passes.

        Raises:
            TypeError: it is of another kind.
            ValueError: no such type, store or limit.
        """
        check_where(store)
        return cls(
            store,
            dropout,
            _dtype(dtype),
            None if layers is None else Picks.of("layers", layers),
            None if heads is None else Picks.of("heads", heads),
            _limit(limit),
            bool(progress),
            bool(values or gradients),
            bool(gradients),
        )

    @property
    def is_plain(self) -> bool:
        """Whether queries and keys of all layers are kept as they were computed, where they were, and nothing else."""
        return self.store == "device" and not (self.narrows or self.dropout or self.values)

    @property
    def chooses(self) -> bool:
        """Whether some layers or heads may be left out."""
        return self.layers is not None or self.heads is not None

    @property
    def narrows(self) -> bool:
        """Whether something else is kept than what was computed."""
        return self.chooses or self.dtype is not None


def _dtype(value: Dtype) -> torch.dtype | None:
    if value is None:
        return None
    found = _DTYPES.get(value.removeprefix("torch.")) if isinstance(value, str) else value
    if found not in _DTYPES.values():
        raise ValueError(
            f"dtype is {value!r}; expected torch.bfloat16 or torch.float16, their names, or None to keep queries and "
            "keys as they are computed"
        )
    return found


def _limit(value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"limit is {type(value).__name__} {value!r:.60}; expected a number of bytes")
    if value <= 0:
        raise ValueError(f"limit is {value}; expected a number of bytes above 0")
    return int(value)
