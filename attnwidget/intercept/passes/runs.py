"""The runs of a module within one capture: one, or several that continue one another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from attnwidget.intercept.frames import arguments_of
from attnwidget.intercept.passes.pieces import part_of_mask
from attnwidget.intercept.plain import has_values

if TYPE_CHECKING:
    from types import FrameType

    from numpy.typing import NDArray
    from torch import nn

    from attnwidget.attention import Mask
    from attnwidget.attention.maskparts import Tail
    from attnwidget.attention.protocol import Floats
    from attnwidget.intercept.frames import Caller
    from attnwidget.intercept.passes.generating import Generated
    from attnwidget.intercept.passes.threads import Thread

    Span = tuple[int, int]

_IDS = ("decoder_input_ids", "input_ids")
_CACHES = ("past_key_values", "past_key_value", "cache_params", "layer_past", "cache", "mems")
_IDS_NDIM = 2
_TIE = 1e-6
_UNASKED = -1


class AstrayError(ValueError):
    """A run does not continue the one before; the text says why."""


class Run:
    """One call of a module.

    Attributes:
        number: how many came before.
        ids: (B, n) token ids it was called with, where it was.
        lengths: of the first axes, and of the second ones, of the tensors that the first one was called with.
        cache: that it was handed, while it runs.
        same_cache: it was handed the cache object of the run before.
        calls: how often each module has called attention in it.
        batch: examples, as the layers that grow have them.
        n_rows: its new queries.
        first: of the whole, where its first query belongs; None until a layer has grown.
        row: where its first new query belongs: later than `first` if it ran earlier tokens again.
        parents: (B,), which example of the run before each of its examples continues; None: the same one.
    """

    def __init__(self, frame: FrameType, before: Run | None) -> None:
        self.number: int = 0 if before is None else before.number + 1
        self.frame: FrameType | None = frame  # kept, so that a later run cannot get the address of this one
        unnamed, named = arguments_of(frame)
        self.ids = _ids(unnamed, named)
        # Of runs that are joined nobody asks.
        self.lengths = _lengths((unnamed, named)) if before is None else (set[int](), set[int]())
        self.cache: object = next((named[name] for name in _CACHES if named.get(name) is not None), None)
        self.same_cache: bool = before is not None and self.cache is not None and self.cache is before.cache
        self.calls: Counter[int] = Counter()
        self.batch: int | None = None
        self.n_rows: int | None = None
        self.first: int | None = None
        self.row: int | None = None
        self.parents: NDArray[np.intp] | None = None
        self._behind: int | None = _UNASKED
        self._votes: list[Floats] = []
        self._masks: dict[tuple[object, ...], tuple[Mask | None, Mask | Tail | None]] = {}

    def behind(self, n_rows: int) -> int | None:
        """How many tokens its cache held before, asked when the first layer attends; None where it does not tell."""
        if self._behind == _UNASKED:
            self._behind = _cached_tokens(self.cache, n_rows)
        return self._behind

    @property
    def grew(self) -> bool:
        """Whether it added keys to those of the runs before."""
        return self.row is not None

    @property
    def has_ids(self) -> bool:
        """Whether it was called with ids, one for each of its queries."""
        return self.ids is not None and self.ids.shape == (self.batch, self.total_rows)

    @property
    def total_rows(self) -> int:
        """Its queries, with those of tokens that it ran again."""
        return (self.row or 0) - (self.first or 0) + (self.n_rows or 0)

    def repeated(self, n_rows: int) -> int:
        """How many of so many rows of it are tokens that it ran again."""
        return (self.row or 0) - (self.first or 0) if n_rows == self.total_rows else 0

    def place(self, first: int, row: int, n_rows: int, batch: int) -> None:
        """A layer has found where the rows of this run belong."""
        if self.row is None:
            self.first, self.row, self.n_rows, self.batch = first, row, n_rows, batch

    @property
    def moved(self) -> bool:
        """Whether a layer has found its examples in other places than in the run before."""
        return bool(self._votes)

    def vote(self, distances: Floats) -> None:
        """How far each example (B,) of a layer is from each (B',) of the run before."""
        self._votes.append(distances)

    def part(self, mask: Mask | None, rows: Span, used: int) -> Mask | Tail | None:
        """The mask of new rows over the columns in use: one object for all layers that share the mask."""
        key = id(mask), rows, used
        if key not in self._masks:
            self._masks[key] = mask, part_of_mask(mask, rows, used)
        return self._masks[key][1]

    def close(self) -> None:
        """No more calls will come: settle who continues whom, and let go of the rest."""
        votes = [vote for vote in self._votes if vote.shape[0] == self.batch]
        votes = [vote for vote in votes if vote.shape == votes[0].shape]
        if votes:
            total = np.sum(votes, axis=0)
            parents = total.argmin(axis=1)
            if total.shape[0] == total.shape[1]:  # where examples are alike, each continues itself
                own = np.arange(len(total))
                parents = np.where(total[own, own] <= total.min(axis=1) + _TIE * len(votes), own, parents)
            self.parents = None if np.array_equal(parents, np.arange(total.shape[1])) else parents
        self.frame = self.cache = None
        self._votes.clear()
        self._masks.clear()


class Top:
    """A module that was called by nobody else in the tree, and what its runs left.

    Attributes:
        module: the module.
        runs: in order.
        threads: the layers seen, by module and call number within a run.
        left_out: likewise, those of which nothing is kept.
        generated: what generate() made of its runs.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.runs: list[Run] = []
        self.threads: dict[tuple[int, int], Thread] = {}
        self.left_out: set[tuple[int, int]] = set()
        self.generated: Generated | None = None

    @property
    def is_several(self) -> bool:
        """Whether what it ran is joined: several runs, or one that generate() made."""
        return len(self.runs) > 1 or self.generated is not None

    @property
    def is_left_out(self) -> bool:
        """Whether nothing of what it ran is kept."""
        return bool(self.left_out) and not self.threads

    @property
    def reordered(self) -> bool:
        """Whether examples have changed places between runs, as beams do."""
        return any(run.parents is not None for run in self.runs)

    def run_of(self, caller: Caller) -> Run:
        """The run of a call.

        Raises:
            AstrayError: it is a new one, and the one before continued nothing.
        """
        last = self.runs[-1] if self.runs else None
        if last is not None and last.frame is caller.run:
            return last
        run = Run(caller.run, last)
        if last is not None:
            self.finish()
        self.runs.append(run)
        return run

    def finish(self) -> None:
        """The last run has ended.

        Raises:
            AstrayError: it continued nothing.
        """
        last = self.runs[-1]
        last.close()
        if last.number and not last.grew and not self.is_left_out:  # else nobody has looked
            raise AstrayError(f"call {last.number} of it brought no new token")


def _lengths(given: Any) -> tuple[set[int], set[int]]:  # noqa: ANN401 - whatever a module may be called with
    tensors = [one for one in tree_leaves(given) if isinstance(one, torch.Tensor) and not one.is_nested]
    first, second = ({tensor.shape[axis] for tensor in tensors if tensor.ndim > 1} for axis in (0, 1))
    return first, second


def _ids(unnamed: tuple[Any, ...], named: dict[str, Any]) -> NDArray[np.intp] | None:
    values = [*(named.get(name) for name in _IDS), *unnamed[:1]]
    for value in values:
        is_ids = isinstance(value, torch.Tensor) and value.ndim == _IDS_NDIM and not value.is_floating_point()
        if is_ids and has_values(value):
            try:
                ids: NDArray[np.intp] = value.detach().cpu().numpy()
            except Exception:  # noqa: BLE001 - within a function transform, or of a kind that hands out no numbers
                return None
            return ids
    return None


def _cached_tokens(cache: Any, n_rows: int) -> int | None:  # noqa: ANN401 - anything may be passed by that name
    try:
        if isinstance(cache, tuple):  # keys and values of each layer, as they were before this run
            return int(cache[0][0].shape[-2])
        return int(cache.get_seq_length()) - n_rows  # the first layer has handed over its new keys
    except Exception:  # noqa: BLE001 - whatever it is, keys tell by themselves
        return None
