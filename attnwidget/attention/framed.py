"""Attention within windows, shown in the frame of the whole sequence."""

from __future__ import annotations

from collections import Counter
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention.memory import MEMORY, not_on_disk
from attnwidget.attention.pairdetail import pair_detail
from attnwidget.attention.protocol import Bools, Floats, Index, length_of, positions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.pairdetail import PairDetail
    from attnwidget.attention.probe import Probe
    from attnwidget.attention.protocol import Attention

    Places = NDArray[np.int64]


class FramedAttention:
    """Windows that a model runs as examples of a batch, put back where their tokens stand in the sequence.

    A pair of tokens that no window holds together is not allowed. Each window has some queries, which stand in it
    alone, and some keys, which other windows may hold too: as in Swin (Liu et al. 2021), where shifted windows are cut
    out, attended to and put back, or in Longformer (Beltagy et al. 2020), where chunks look at their neighbours.

    Args:
        windows: attention whose examples are the windows of all examples.
        query_places: (B * W, Tq) the place in the flattened batch, example * n_queries + position, of each query of
            each window; -1 for padding of the window.
        key_places: (B * W, Tk) likewise, example * n_keys + position; or (B * W, H | 1, Tq | 1, Tk), where heads or
            queries have keys of their own. A key that stands several times in a row gets all of their weight.
        n_examples: B.
        n_queries: of the whole sequence.
        n_keys: likewise.

    Raises:
        ValueError: places that do not fit the windows, two windows with the same query, or a window over two examples.
    """

    mask = None
    """No rule: what the windows allow is asked pair by pair."""

    def __init__(
        self,
        windows: Attention,
        query_places: Places,
        key_places: Places,
        *,
        n_examples: int,
        n_queries: int,
        n_keys: int,
    ) -> None:
        _check("query", query_places, (windows.n_examples, windows.n_queries), n_examples * n_queries)
        key_places = key_places[:, None, None] if key_places.ndim == len(("window", "key")) else key_places
        heads, rows = key_places.shape[1:3]
        whole = (windows.n_examples, min(heads, windows.n_heads), min(rows, windows.n_queries), windows.n_keys)
        _check("key", key_places, whole, n_examples * n_keys)
        self.windows = windows
        self.n_examples, self.n_queries, self.n_keys = n_examples, n_queries, n_keys
        known, inside = query_places >= 0, key_places >= 0
        if len(np.unique(query_places[known])) != known.sum():
            raise ValueError("two windows hold the same query; expected each query in one window")
        owner = np.where(known, query_places // n_queries, -1).max(axis=1)  # (B * W,) the example of each window
        stray = (known & (query_places // n_queries != owner[:, None])).any()
        mine = owner[:, None, None, None]
        if stray or (inside & (key_places // n_keys != mine) & (mine >= 0)).any():
            raise ValueError("a window holds tokens of two examples; expected windows within examples")
        # (B * Tq,) the window a query stands in, and where there; -1 for none.
        self._window = np.full(n_examples * n_queries, -1, dtype=np.int32)
        self._slot = np.full(n_examples * n_queries, -1, dtype=np.int32)
        self._window[query_places[known]], self._slot[query_places[known]] = np.nonzero(known)
        self._keys = np.where(inside, key_places % n_keys, -1).astype(np.int32)  # (B * W, H | 1, Tq | 1, Tk) positions
        ordered = np.sort(self._keys, axis=-1)
        twice = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)
        self._is_simple = self._keys.shape[1:3] == (1, 1) and not twice.any()

    def around(self, windows: Attention, *, heads: Sequence[int] | None = None) -> FramedAttention:
        """The same frame around other windows, with nothing worked out or kept twice.

        Args:
            windows: of the same shape; of fewer heads, where `heads` says which.
            heads: of these windows; all of them if None.
        """
        same = copy(self)
        same.windows = windows
        if heads is not None and self._keys.shape[1] > 1:
            same._keys = self._keys[:, list(heads)]  # noqa: SLF001 - of its own class
        return same

    @property
    def places(self) -> tuple[Places, Places]:
        """Query places (B * W, Tq) and key places (B * W, H | 1, Tq | 1, Tk) that make the same frame again."""
        query_places = np.full((self.windows.n_examples, self.windows.n_queries), -1, dtype=np.int64)
        standing = np.flatnonzero(self._window >= 0)
        query_places[self._window[standing], self._slot[standing]] = standing
        owner = np.where(query_places >= 0, query_places // self.n_queries, -1).max(axis=1)[:, None, None, None]
        # A window where no query stands belongs to nobody, and its keys are never asked for.
        key_places = np.where((self._keys >= 0) & (owner >= 0), owner * self.n_keys + self._keys, -1)
        return query_places, key_places.astype(np.int64)

    @property
    def counts_padding(self) -> bool:
        """Whether tokens may look at padding of their windows, which no weight of the whole sequence shows."""
        heads = slice(0, self.n_heads)
        for window in np.flatnonzero((self._keys < 0).any(axis=(1, 2, 3))):
            slots = self._slot[self._window == window].astype(np.intp)
            padding = self._places(int(window), heads, slots) < 0  # (h | 1, q | 1, Tk)
            some = np.flatnonzero(padding.any(axis=(0, 1)))
            if len(slots) and (self.windows.allowed(int(window), heads, slots, some) & padding[..., some]).any():
                return True
        return False

    @property
    def n_heads(self) -> int:
        """Query heads."""
        return self.windows.n_heads

    @property
    def n_key_heads(self) -> int | None:
        """Key-value heads; None where only weights are known."""
        return self.windows.n_key_heads

    @property
    def head_size(self) -> int | None:
        """Numbers in a query of one head; None where only weights are known."""
        return self.windows.head_size

    @property
    def probe(self) -> Probe | None:
        """What to check the windows by."""
        return self.windows.probe

    @property
    def window(self) -> int | None:
        """Keys of one window; where there is but one, what the most of its keys in a row are that a query looks at."""
        return self.windows.n_keys if self.windows.n_examples > self.n_examples else self.windows.window

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are."""
        held = Counter(self.windows.held)
        held[MEMORY] += self._window.nbytes + self._slot.nbytes + self._keys.nbytes
        return held

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""
        return not_on_disk(self.held)

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        count = self.windows.n_examples // self.n_examples
        if count == 1 and not (self._keys < 0).any():
            alike = (self.n_queries, self.n_keys) == (self.windows.n_queries, self.windows.n_keys)
            order = "in another order" if alike else f"within {self.n_queries} x {self.n_keys}"
            return f"{self.windows.detail}, {order}"
        size = f"{self.windows.n_queries} x {self.windows.n_keys}"
        return f"{self.windows.detail}, {count} window{'s' * (count != 1)} of {size}"

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights after the softmax, (h, q, k); 0 between tokens that no window holds together."""
        found: Floats = self._put(self.windows.weights, np.add, np.float32(0), example, heads, queries, keys)
        return found

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Scores before the softmax, (h, q, k); NaN between tokens that no window holds together."""
        found: Floats = self._put(self.windows.scores, np.fmax, np.float32(np.nan), example, heads, queries, keys)
        return found

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs a window holds and its mask allows, (h, q, k)."""
        found: Bools = self._put(self.windows.allowed, np.logical_or, np.bool_(False), example, heads, queries, keys)
        return found

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row goes to an attention sink that is no token, (h, q)."""
        share = np.zeros((length_of(heads, self.n_heads), length_of(queries, self.n_queries)), dtype=np.float32)
        for window, rows, slots in self._rows(example, queries):
            share[:, rows] = self.windows.sink_share(window, heads, slots)
        return share

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:
        """How one weight came about, in the window that holds both tokens.

        Raises:
            ValueError: no window does, or it holds the key several times.
        """
        for window, _, slots in self._rows(example, np.array([query])):
            heads = np.array([head])
            found = np.flatnonzero(self._places(window, heads, slots)[0, 0] == key)
            allowed = np.broadcast_to(self.windows.allowed(window, heads, slots, found), (1, 1, len(found)))[0, 0]
            # Of several places of one key mostly one may be looked at.
            found = found[allowed] if allowed.any() else found[:1]
            if len(found) > 1:
                raise ValueError(
                    f"q and k of one score are not known: key {key} stands {len(found)} times in the window of query "
                    f"{query}, and its weight is their sum"
                )
            if len(found):
                return pair_detail(self.windows, window, head, int(slots[0]), int(found[0]))
        raise ValueError(
            f"there is no score: no window holds both query {query} and key {key}, so their weight is 0; ask for a "
            "pair within a window"
        )

    def probe_errors(self) -> Floats | None:
        """(B * W, H, r), how far softmax(...) v is from the output of the run; None without a probe."""
        return self.windows.probe_errors()

    def has_nan(self) -> bool:
        """Whether weights that the mask allows are not numbers."""
        return self.windows.has_nan()

    def _rows(self, example: int, queries: Index) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
        """For each window that holds some of the queries: its number, their rows in the answer, their slots in it."""
        places = positions_of(queries, self.n_queries) + example * self.n_queries
        if not len(places):
            return
        numbers = self._window[places]
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        for number, rows in zip(found, np.split(order, starts[1:]), strict=True):
            if number >= 0:
                yield int(number), rows, self._slot[places[rows]].astype(np.intp)

    def _places(self, window: int, heads: Index, slots: NDArray[np.intp]) -> NDArray[np.int32]:
        """(h | 1, q | 1, Tk) positions of the keys of some rows of a window."""
        places: NDArray[np.int32] = self._keys[window]
        places = places[heads] if places.shape[0] > 1 else places
        return places[:, slots] if places.shape[1] > 1 else places

    def _put(
        self,
        question: Callable[[int, Index, Index, Index], NDArray[Any]],
        merge: np.ufunc,
        outside: np.generic,
        example: int,
        heads: Index,
        queries: Index,
        keys: Index,
    ) -> NDArray[Any]:
        """Answers of the windows at the places of their tokens, (h, q, k)."""
        wanted, back = np.unique(positions_of(keys, self.n_keys), return_inverse=True)
        column = np.full(self.n_keys + 1, -1, dtype=np.intp)  # by position; padding of the window comes last
        column[wanted] = np.arange(len(wanted))
        result = np.full((length_of(heads, self.n_heads), length_of(queries, self.n_queries), len(wanted)), outside)
        for window, rows, slots in self._rows(example, queries):
            columns = column[self._places(window, heads, slots)]  # (h | 1, q | 1, Tk)
            some = np.flatnonzero((columns >= 0).any(axis=(0, 1)))
            if not len(some):
                continue
            answer, columns = question(window, heads, slots, some), columns[..., some]
            if self._is_simple:
                result[:, rows[:, None], columns[0]] = answer
                continue
            shape = (len(result), len(rows), len(some))
            answer, columns = np.broadcast_to(answer, shape), np.broadcast_to(columns, shape)
            head, row, place = np.nonzero(columns >= 0)
            merge.at(result, (head, rows[row], columns[head, row, place]), answer[head, row, place])
        return result if isinstance(keys, slice) else result[:, :, back]


def _check(what: str, places: Places, shape: tuple[int, ...], count: int) -> None:
    if places.shape != shape or places.min(initial=0) < -1 or places.max(initial=-1) >= count:
        raise ValueError(
            f"{what}_places have shape {places.shape} and values {places.min(initial=0)} to {places.max(initial=0)}; "
            f"expected {shape}, windows x {what} positions, and values -1 to {count - 1}"
        )
