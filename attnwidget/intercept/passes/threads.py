"""One layer through several runs: where the keys of a run stand among those seen before, told by their values."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from attnwidget.attention import FactoredAttention, FramedAttention
from attnwidget.attention.arrays import to_numpy
from attnwidget.attention.mapped import place_of
from attnwidget.attention.maskparts import compact, cut
from attnwidget.attention.memory import MEMORY
from attnwidget.intercept.passes.marks import ROUNDING, apart, apart_in_place, chosen, marks_of
from attnwidget.intercept.passes.pieces import (
    Piece,
    Place,
    constants_of,
    first_piece,
    implied_mask,
    later_piece,
    looks_behind,
    same_rows,
    seen_keys,
    sees,
    visible_keys,
    weights_of,
)
from attnwidget.intercept.passes.runs import AstrayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attnwidget.attention import Attention
    from attnwidget.attention.protocol import Floats
    from attnwidget.intercept.keeping import Keeper, Lender
    from attnwidget.intercept.passes.runs import Run, Top

_RERUN = 1e-3
"""How far keys that are computed again may be from what they were, in units of their size."""
_RELATED = 0.25
"""Mean squared difference up to which changed keys count as those from before: half of their size."""
_MOST_CHANGES = 64
_TRIED = 8


class _Match(NamedTuple):
    """How well keys agree with earlier ones: of the worst example, and all with all (B, B') where that was needed."""

    worst: float
    distances: Floats | None = None
    fresh: Floats | None = None  # marks of the new keys


class Thread:
    """The calls of one layer.

    Attributes:
        record: number of the record that stands for the layer.
        kind: whether its keys grow from run to run (self attention) or are fixed (cross attention).
        pieces: what each run added.
        past: keys that came before the first query.
        changed: keys of earlier tokens were not always what they had been.
    """

    def __init__(self, attention: Attention, run: Run, record: int) -> None:
        self.record = record
        self.kind: Literal["open", "growing", "fixed"] = "open"
        self.pieces: list[Piece] = [first_piece(attention, run)]
        self.past = 0
        self.changed = False
        self._first = self._latest = attention
        self._n_keys = attention.n_keys
        self._marks: Floats | None = None  # (B, Hkv, keys), in the order that run `_order` has its examples in
        self._fresh: Floats | None = None  # of the keys that run `_newest` brought, in its own order
        self._order = self._newest = run.number
        self._changes = 0

    @property
    def held(self) -> Counter[str]:
        """Bytes of what runs after the first have added, by where they are."""
        held: Counter[str] = Counter()
        for piece in self.pieces[1:]:
            for part in (piece.q, piece.k, piece.lse, piece.whole, piece.weights):
                if part is not None:
                    held[place_of(part)] += int(part.nbytes)
            if piece.probe is not None:
                held[MEMORY] += piece.probe.nbytes
        return held

    def extend(self, attention: Attention, run: Run, top: Top, keeper: Keeper, lender: Lender) -> None:
        """Add what a later run brings.

        Args:
            attention: the layer's call in that run, of tensors that are only lent.
            run: that run.
            top: whose run it is.
            keeper: of the capture.
            lender: that the call was built with.

        Raises:
            AstrayError: the call continues nothing that this layer has seen.
        """
        self._check(attention)
        self._take_weights()
        keys = attention.k if isinstance(attention, FactoredAttention) else lender.value
        self._catch_up(run, top, keeper)
        tried = []
        for place in self._places(attention, keys, run):
            match = self._match(place, attention, keys, run, everything=top.reordered)
            if match.worst <= self._tolerance(place, keys) ** 2 and self._agrees(place, run):
                self._accept(place, match, attention, run, keeper, lender)
                return
            tried.append((place, match))
        for place, match in tried:
            # A quantized cache hands back other keys than it was given: known by the cache, and still much alike.
            if (
                run.same_cache
                and place.n_keys
                and not place.offset
                and not place.rows[0]
                and match.worst <= _RELATED
                and self._only_rounded(place, keys)
            ):
                self._accept(place, match, attention, run, keeper, lender, changed=True)
                return
        if keys is not None and not bool(keys.isfinite().all()):
            raise AstrayError(
                "it came with numbers that are not finite: activations overflowed (load the model in bfloat16 or "
                "float32 instead of float16), or parameters hold some"
            )
        raise AstrayError(
            f"it came with {attention.n_queries} queries and {attention.n_keys} keys, which do not continue the "
            f"{self._n_keys} keys of the call before"
        )

    def settle(self) -> None:
        """There was one run and no more: what a static cache has no keys for yet is cut off all the same."""
        first, run = self._first, self.pieces[0].run
        n, m = first.n_queries, first.n_keys
        if self.kind != "open" or n != run.total_rows or m < n:
            return
        n_keys = visible_keys(first)
        unwritten = n_keys < m and isinstance(first, FactoredAttention) and not bool(first.k[:, :, n_keys:].any())
        if unwritten or (n > 1 and not sees(first, (0, 1), (n_keys - n + 1, n_keys))):
            self._begin_to_grow()

    def _only_rounded(self, place: Place, keys: torch.Tensor | None) -> bool:
        """Whether those keys that changed are still much like what they were, not one other among many that stayed."""
        if keys is None or self._marks is None:
            return True
        new, old = marks_of(keys[:, :, : place.key]), self._marks[:, :, : place.key]
        if new.shape != old.shape:
            return True
        far = np.square(new - old).mean(axis=1) / max(float(np.square(old).mean()), np.finfo(np.float32).tiny)
        changed = far[far > ROUNDING**2]
        return not changed.size or bool(changed.mean() <= _RELATED)

    def _agrees(self, place: Place, run: Run) -> bool:
        """Whether other layers of the run have found their rows in the same place."""
        if run.row is None or not place.n_keys or place.n_rows != run.n_rows:
            return True
        past = visible_keys(self._first) - self._first.n_queries if self.kind == "open" else self.past
        return place.key - past == run.row

    def _check(self, attention: Attention) -> None:
        first = self._first
        if getattr(attention, "modifier", None) is not None:
            raise AstrayError(
                "its scores are changed by a function of positions (a score_mod of flex_attention), which begin anew "
                'in each pass; load the model with attn_implementation="sdpa"'
            )
        if isinstance(attention, FramedAttention):
            raise AstrayError("it attends within windows, whose places begin anew in each pass")
        shapes = [(type(one).__name__, one.n_heads, one.n_key_heads, one.head_size) for one in (attention, first)]
        if shapes[0] != shapes[1]:
            words = ["{} with {} heads, {} key heads of size {}".format(*shape) for shape in shapes]
            raise AstrayError(f"it is a {words[0]}, and was a {words[1]} in the call before")

    def _places(self, attention: Attention, keys: torch.Tensor | None, run: Run) -> Iterator[Place]:
        """Where the call may belong, likeliest first."""
        behind = run.behind(attention.n_queries)
        likely = list(self._forward(attention, run))
        if behind is not None and not any(not place.n_keys or place.key == behind for place in likely):
            # Tokens that repeat may leave keys that repeat. The cache knows how long it was.
            places = [*likely, *self._back(attention, keys)]
            yield from sorted(places, key=lambda place: place.key != behind)
            return
        yield from sorted(likely, key=lambda place: bool(place.n_keys) and place.key != behind)
        yield from self._back(attention, keys)

    def _forward(self, attention: Attention, run: Run) -> Iterator[Place]:
        """Places behind all that was seen."""
        n, m = attention.n_queries, attention.n_keys
        seen = visible_keys(self._first) if self.kind == "open" else self._n_keys
        # Room for keys to come, and nothing to know them by: then it is a cache that grows.
        if self.kind != "growing" and m == self._n_keys and (self._marks is not None or seen == m):
            yield Place((run.repeated(n), n), (m, m), m, 0, m)
        if self.kind == "fixed":
            return
        if m >= seen + n:
            if not sees(attention, (0, n), (seen + n, m)):  # room in a static cache that nothing is written to yet
                yield Place((0, n), (seen, seen + n), seen, 0, seen + n)
        elif m > n:
            yield Place((0, n), (m - n, m), seen, seen + n - m, m)
        if m == n > seen and not sees(attention, (0, seen), (seen, n)):  # all of it is run again, as without a cache
            yield Place((seen, n), (seen, n), seen, 0, n)

    def _back(self, attention: Attention, keys: torch.Tensor | None) -> Iterator[Place]:
        """Places before the latest keys, which were taken back, as assisted decoding does."""
        n, m = attention.n_queries, attention.n_keys
        if self.kind == "fixed" or m <= n or keys is None or self._marks is None:
            return
        seen = visible_keys(self._first) if self.kind == "open" else self._n_keys
        # Behind the last key from before, wherever that stands. The first example speaks for all; each place is then
        # looked at in full.
        mark = marks_of(keys[:, :, m - n - 1 : m - n])[:1]
        if mark.shape[1] != self._marks.shape[1]:
            return
        unit = max(float(np.square(self._marks).mean()), np.finfo(np.float32).tiny)
        far = np.square(self._marks - mark).mean(axis=1).min(axis=0) / unit  # (keys,)
        for place in np.flatnonzero(far <= _RERUN**2)[::-1][:_TRIED]:
            stop = int(place) + 1
            if m - n <= stop < seen:
                yield Place((0, n), (m - n, m), stop, stop - (m - n), m)

    def _match(
        self, place: Place, attention: Attention, keys: torch.Tensor | None, run: Run, *, everything: bool
    ) -> _Match:
        """Compare the keys of a call that stand where earlier ones stood with those."""
        count = place.fresh[0]
        if keys is None or self._marks is None:
            # Then a cache has to tell.
            return _Match(0.0 if run.same_cache or run.behind(attention.n_queries) is not None else np.inf)
        some, latest = (slice(0, 0), slice(0, count)) if everything else chosen(count, run.number)
        looked = keys.detach()[:, :, latest.start : place.fresh[1]]
        old = self._marks[:, :, place.offset : place.offset + count]
        known = old[:, :, latest]
        seen = seen_keys(attention, place.rows, count)
        if seen is not None:
            seen = np.concatenate([seen[:, some], seen[:, latest]], axis=1) if len(seen) == len(looked) else None
        if some.stop:
            looked = torch.cat([keys.detach()[:, :, some], looked], dim=2)
            known = np.concatenate([old[:, :, some], known], axis=2)
        marks = marks_of(looked)
        new, fresh = marks[:, :, : marks.shape[2] - place.n_keys], marks[:, :, marks.shape[2] - place.n_keys :]
        if known.shape[1:] != new.shape[1:]:
            return _Match(np.inf)
        # Decoders of two prompts may have run the same tokens: then what they look at tells who moved where.
        if new.shape[0] == known.shape[0] and (place.n_keys or not run.moved):
            worst = float(apart_in_place(new, known, seen).max())
            if worst <= self._tolerance(place, keys) ** 2:
                return _Match(worst, None, fresh)
        distances = apart(new, known, seen)
        return _Match(float(distances.min(axis=1).max()), distances, fresh)

    def _accept(
        self,
        place: Place,
        match: _Match,
        attention: Attention,
        run: Run,
        keeper: Keeper,
        lender: Lender,
        *,
        changed: bool = False,
    ) -> None:
        if match.distances is not None:
            run.vote(match.distances)
        if not place.n_keys:
            self._accept_rows(place, attention, run, keeper, lender)
            return
        if self.kind == "open":
            past = visible_keys(self._first) - self._first.n_queries
            if past > 0 and not sees(self._first, (0, 1), (past, past + 1)):
                raise AstrayError(
                    f"its first query, of {self._first.n_queries} over {self._first.n_keys} keys, may not look at its "
                    "own: other keys stand behind those of tokens, and where they are in the next call cannot be told"
                )
            self._begin_to_grow()
        row = place.key - self.past
        if place.key < self._n_keys and any(looks_behind(piece, row, place.key) for piece in self.pieces):
            raise AstrayError("it takes back keys that queries before them have looked at")
        run.place(row - place.rows[0], row, place.n_rows, attention.n_examples)
        whole = changed or constants_of(attention) != constants_of(self._latest)
        self._changes += whole
        self.changed |= changed
        if self._changes > _MOST_CHANGES:
            raise AstrayError("the keys of earlier tokens change with nearly every call")
        self.pieces.append(later_piece(attention, place, row, run, keeper, lender, whole=whole))
        keys = attention.k if isinstance(attention, FactoredAttention) else lender.value
        self._latest, self._n_keys = attention, place.key + place.n_keys
        if keys is None or self._marks is None:
            return
        if changed:
            self._marks, self._fresh, self._order = marks_of(keys[:, :, : place.used]), None, run.number
        else:
            self._marks, self._fresh = self._marks[:, :, : place.key], match.fresh
        self._newest = run.number

    def _accept_rows(self, place: Place, attention: Attention, run: Run, keeper: Keeper, lender: Lender) -> None:
        """New queries over keys that are known already."""
        # An encoder that is run again. Beside keys that grew they are new rows, though tokens may be alike.
        if len(self.pieces) == 1 and run.row is None and same_rows(attention, self._first):
            return
        self.kind = "fixed"
        row = run.row if run.n_rows == place.n_rows else None
        self.pieces.append(later_piece(attention, place, row, run, keeper, lender, whole=False))

    def _take_weights(self) -> None:
        first = self.pieces[0]
        if first.q is None and first.weights is None:
            first.weights = weights_of(self._first, (0, self._first.n_queries), self._first.n_keys)

    def _begin_to_grow(self) -> None:
        """The first call was the beginning of a sequence: what a static cache has no keys for yet is cut off."""
        self._take_weights()
        first, n, n_keys = self.pieces[0], self._first.n_queries, visible_keys(self._first)
        if n_keys < n:
            raise AstrayError(f"the first call had {n} queries over {n_keys} keys")
        self.kind, self.past = "growing", n_keys - n
        first.run.place(0, 0, n, self._first.n_examples)
        first.place = Place((0, n), (0, n_keys), 0, 0, n_keys)
        first.mask = compact(cut(self._first.mask, (0, n), (0, n_keys)))
        if first.k is not None:
            first.k = first.k[:, :, :n_keys]
        if first.weights is not None:
            first.weights = first.weights[..., :n_keys]
            first.mask = first.mask or implied_mask(first.weights)

    def _catch_up(self, run: Run, top: Top, keeper: Keeper) -> None:
        """Bring the marks into the order that the examples of the run before had."""
        if self._marks is None and self._newest == self._order and self._fresh is None:
            first = self.pieces[0]
            keeper.settle()
            if first.k is not None:
                self._marks = marks_of(first.k)
            elif first.probe is not None:
                self._marks = to_numpy(first.probe.values)
        for earlier in top.runs[self._order + 1 : run.number]:
            parents = earlier.parents
            if self._marks is not None and parents is not None and self._marks.shape[0] > parents.max():
                self._marks = self._marks[parents]
            if self._marks is not None and self._fresh is not None and earlier.number == self._newest:
                self._marks, self._fresh = np.concatenate([self._marks, self._fresh], axis=2), None
            self._order = earlier.number

    def _tolerance(self, place: Place, keys: torch.Tensor | None) -> float:
        """How far rounding may have moved keys: while the model ran, and where the first are kept in a coarser type."""
        known = keys if self.pieces[0].k is None else self.pieces[0].k
        types = [part.dtype for part in (keys, known) if part is not None and part.is_floating_point()]
        eps = max((torch.finfo(dtype).eps for dtype in types), default=0.0)
        return max(_RERUN, 8 * eps) if place.rows[0] else max(ROUNDING, 2 * eps)
