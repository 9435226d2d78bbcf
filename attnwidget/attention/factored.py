"""Attention kept as its factors: exact weights on demand, memory linear in the number of tokens."""

from __future__ import annotations

import math
import threading
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention.blocks import HeadBlocks, of_example, plain_maths, torch_index
from attnwidget.attention.denominators import Denominators, largest
from attnwidget.attention.factorpair import factor_pair
from attnwidget.attention.mapped import place_of
from attnwidget.attention.memory import MEMORY, not_on_disk
from attnwidget.attention.protocol import Bools, Floats, Index, positions_of, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention.bins import Picks
    from attnwidget.attention.blockwise import Block
    from attnwidget.attention.denominators import LogSums
    from attnwidget.attention.masks import Mask
    from attnwidget.attention.modifier import ScoreModifier
    from attnwidget.attention.pairdetail import PairDetail
    from attnwidget.attention.pooling import Reduce
    from attnwidget.attention.probe import Probe

_NDIM = 4


class FactoredAttention:
    """w[h, i, j] = exp(f(scale * q[h, i] . k[h // group, j]) + bias[h, i, j] - lse[h, i]), f a soft cap or nothing.

    The arithmetic is float32 whatever the factors are stored in. A row that may look at nothing is all zeros.

    Keeping lse, one number per row, is what FlashAttention does for its backward pass (Dao et al. 2022). The soft cap
    is that of Gemma 2 (2024); sinks as a logit of the denominator are those of GPT-OSS (2025), after the first tokens
    that attract weight in "Efficient Streaming Language Models with Attention Sinks" (Xiao et al. 2023).

    Args:
        q: (B | 1, H, Tq, d).
        k: (B | 1, Hkv, Tk, d), H a multiple of Hkv.
        lse: (B, H, Tq) float32, the log of each row's softmax denominator as the kernel returned it; None: computed, a
            block at a time, for the heads that are looked at, once.
        scale: what the dot product is multiplied with; 1 / sqrt(d) if None.
        softcap: f(x) = softcap * tanh(x / softcap).
        sinks: (H,), logits that join each row's denominator; the row then sums to less than 1.
        mask: which pairs are allowed, and what is added to their scores.
        probe: what to check the weights by.
        modifier: what is done to the scores after scale and soft cap, before the mask (flex attention's score_mod).
        totals: sums () in float32, of all numbers of q, k and lse, or of lse alone if the kernel that gave it is known
            to tell by it that a score is no number; empty where they were not taken.

    Raises:
        ValueError: shapes that do not fit each other.

    Examples:
        >>> q = k = torch.eye(3)[None, None]
        >>> FactoredAttention(q, k, scale=0.0).weights(0, slice(0, 1), slice(0, 1), slice(0, 3)).tolist()[0][0][0]
        0.3333333432674408
    """

    def __init__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        lse: torch.Tensor | None = None,
        *,
        scale: float | None = None,
        softcap: float | None = None,
        sinks: torch.Tensor | None = None,
        mask: Mask | None = None,
        probe: Probe | None = None,
        modifier: ScoreModifier | None = None,
        totals: tuple[torch.Tensor, ...] = (),
    ) -> None:
        _check_shapes(q, k, lse, sinks, mask)
        self.q, self.k, self.sinks, self.mask, self.probe = q, k, sinks, mask, probe
        self.modifier, self._totals = modifier, totals
        self.scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
        self.softcap = softcap
        self._lock = threading.Lock()
        self._mask_words = "" if mask is None else mask.describe()
        self.denominators = Denominators((self.n_examples, self.n_heads, self.n_queries), q.device, lse)

    @property
    def n_examples(self) -> int:
        """Examples in the batch."""
        return max(self.q.shape[0], self.k.shape[0])

    @property
    def n_heads(self) -> int:
        """Query heads."""
        return self.q.shape[1]

    @property
    def n_key_heads(self) -> int:
        """Key-value heads."""
        return self.k.shape[1]

    @property
    def head_size(self) -> int:
        """Numbers in a query of one head."""
        return self.q.shape[3]

    @property
    def n_queries(self) -> int:
        """Rows, padding included."""
        return self.q.shape[2]

    @property
    def n_keys(self) -> int:
        """Columns, padding included."""
        return self.k.shape[2]

    @property
    def known_lse(self) -> torch.Tensor | None:
        """(B, H, Tq) float32, where it is known for every head; None where it has yet to be computed."""
        return self.denominators.lse

    @property
    def window(self) -> int | None:
        """The most keys in a row that a query may look at; None where nothing bounds them."""
        return None if self.mask is None else self.mask.window

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are."""
        held = Counter({MEMORY: 0 if self.mask is None else self.mask.nbytes})
        if self.probe is not None:
            held[place_of(self.probe.values)] += self.probe.nbytes
        if self.modifier is not None:
            held.update(self.modifier.held)
        for tensor in (self.q, self.k, self.sinks, *self.denominators.tensors):
            if tensor is not None:
                held[place_of(tensor)] += tensor.untyped_storage().nbytes()
        held[MEMORY] += self.denominators.nbytes_of_rows
        return held

    @property
    def nbytes(self) -> int:
        """Bytes held in memory and on devices, without what is on disk."""
        return not_on_disk(self.held)

    @property
    def detail(self) -> str:
        """In a few words, how this layer is kept."""
        words = [f"q k {str(self.q.dtype).removeprefix('torch.')}"]
        if self._mask_words:
            words.append(self._mask_words)
        if self.softcap:
            words.append(f"soft cap {self.softcap:g}")
        if self.modifier is not None:
            words.append(self.modifier.words)
        if self.sinks is not None:
            words.append("sinks")
        return ", ".join(words)

    def factors(self, example: int, heads: Index, queries: Index, keys: Index) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (h, q, d) and, for each head, its keys (h, k, d), as the kernel received them; float32."""
        group = self.n_heads // self.k.shape[1]
        device = self.q.device
        q = of_example(self.q, example)[torch_index(heads, device)][:, torch_index(queries, device)]
        key_heads = heads if group == 1 else positions_of(heads, self.n_heads) // group
        k = of_example(self.k, example)[torch_index(key_heads, device)][:, torch_index(keys, device)]
        return q.float(), k.float()

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:
        """How one weight came about."""
        return factor_pair(self, example, head, query, key)

    def scores(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Scores before the softmax, scale, soft cap and modifier applied, mask and bias not, (h, q, k)."""
        with plain_maths(self.q.device):
            scores: Floats = self._scores(example, heads, queries, keys).cpu().numpy()
        return scores

    def weights(self, example: int, heads: Index, queries: Index, keys: Index) -> Floats:
        """Weights after the softmax, (h, q, k)."""
        sums = self.log_sums(example, heads, queries)  # (h, q)
        with plain_maths(self.q.device):
            logits, forbidden = self._logits(example, heads, queries, keys)
            # Both are rounded: no weight may come out above 1.
            weights = torch.exp_(sums.per_key().taken_from(logits)).clamp_(max=1)
            # A row that may look at nothing has no denominator, and kernels disagree on what they return for it.
            weights.masked_fill_(torch.isneginf(sums.rest)[:, :, None], 0)
            if forbidden is not None:
                weights.masked_fill_(forbidden, 0)
        result: Floats = weights.cpu().numpy()
        return result

    def rows(self, example: int, heads: Index, queries: Index, *, without: NDArray[np.intp] | None = None) -> Floats:
        """Weights of whole rows, (h, q, Tk), for a look in passing: no denominators are asked for or kept.

        Keys in `without` are forbidden too: rows are what they are when those scores are -infinity.
        """
        result: Floats = self.whole_rows(example, heads, queries, without=without)[0].cpu().numpy()
        return result

    def whole_rows(
        self, example: int, heads: Index, queries: Index, *, without: NDArray[np.intp] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `rows`, where the factors are; and (h, q, 1), which rows may look at nothing."""
        with plain_maths(self.q.device):
            logits, forbidden = self._logits(example, heads, queries, slice(0, self.n_keys))
            if without is not None:
                logits[:, :, torch_index(without, logits.device)] = -torch.inf
            top = largest(logits, axis=-1)  # (h, q, 1)
            weights = torch.exp_(logits.sub_(top))
            denominators = weights.sum(-1, keepdim=True)
            empty = denominators == 0
            if self.sinks is not None:
                sinks = self.sinks[torch_index(heads, self.sinks.device)].float()[:, None, None]
                denominators += torch.exp(sinks - top)
            weights.div_(denominators).masked_fill_(empty, 0)
            if forbidden is not None:
                weights.masked_fill_(forbidden, 0)
        return weights, empty

    def allowed(self, example: int, heads: Index, queries: Index, keys: Index) -> Bools:
        """Which pairs the mask and the modifier allow, broadcastable to (h, q, k)."""
        allowed: Bools = np.ones((1, 1, 1), dtype=np.bool_)
        if self.mask is not None:
            allowed = self.mask.allowed(example, heads, queries, keys)
        if self.modifier is not None and self.modifier.may_forbid:
            allowed = allowed & (self.scores(example, heads, queries, keys) != -np.inf)
        return allowed

    def sink_share(self, example: int, heads: Index, queries: Index) -> Floats:
        """What of each row goes to an attention sink that is no token: exp(sink - lse), (h, q). 0 without sinks."""
        sums = self.log_sums(example, heads, queries)  # (h, q)
        if self.sinks is None:
            return np.zeros(tuple(sums.rest.shape), dtype=np.float32)
        with plain_maths(self.q.device):
            sinks = self.sinks[torch_index(heads, self.sinks.device)].float()[:, None]  # (h, 1)
            logs = sums.to(sinks.device).taken_from(sinks.repeat(1, sums.rest.shape[1]))
            share: Floats = torch.exp_(logs).clamp_(max=1).cpu().numpy()
        return share

    def lse(self, example: int, heads: Index, queries: Index | None = None) -> torch.Tensor:
        """The log of each row's softmax denominator, (h, q), computed on first use where no kernel gave it."""
        return self.log_sums(example, heads, slice(0, self.n_queries) if queries is None else queries).lse

    def log_sums(self, example: int, heads: Index, queries: Index) -> LogSums:
        """Likewise, and as precisely as weights need it."""
        if not self.denominators.knows(example, heads):
            rows = np.unique(positions_of(queries, self.n_queries))
            with self._lock:
                for head in positions_of(heads, self.n_heads).tolist():
                    for _ in HeadBlocks(self, example, head).denominators(rows):
                        pass
        return self.denominators.known_of(example, heads, queries)

    def under(self, mask: Mask, words: str) -> FactoredAttention:
        """The same factors under another mask; what the run left to check by does not go with them.

        Args:
            mask: the other one.
            words: what it does that this one's does not, as `detail` says it.
        """
        twin = FactoredAttention(
            self.q, self.k, scale=self.scale, softcap=self.softcap, sinks=self.sinks, mask=mask, modifier=self.modifier
        )
        twin._mask_words = ", ".join(filter(None, [self._mask_words, words]))
        return twin

    def pool(self, example: int, head: int, rows: Picks, keys: Picks, reduce: Reduce) -> Iterator[Block]:
        """Pool a rectangle of one head, block by block."""
        return HeadBlocks(self, example, head).pool(rows, keys, reduce)

    def entropies(self, example: int, head: int, rows: NDArray[np.intp]) -> Floats:
        """Entropy of whole rows in bits, (q,); NaN where nothing is allowed."""
        return HeadBlocks(self, example, head).entropies(rows)

    def probe_errors(self) -> Floats | None:
        """(B, H, r), how far softmax(...) v is from the output of the run; None without a probe."""
        return None if self.probe is None else self.probe.errors(self)

    @property
    def telling(self) -> tuple[torch.Tensor, ...]:
        """Elsewhere than on the CPU, what `is_told` wants the largest sizes of: q, k, and lse where it is known."""
        if self.q.is_cpu or not (self.q.numel() and self.k.numel()):
            return ()
        return (self.q, self.k) if self.known_lse is None else (self.q, self.k, self.known_lse)

    def is_told(self, sizes: Sequence[float]) -> bool:
        """Whether the mask, and the largest sizes of q, k and lse alone, tell that all weights are numbers."""
        finite = self._adds_numbers and all(map(math.isfinite, sizes))
        return finite and (len(sizes) > len("qk") or self._holds(sizes[0] * sizes[1]))

    def _holds(self, largest: float) -> bool:
        """Whether no score can be infinite where no product of a number of q and one of k is larger than this."""
        return largest * abs(self.scale) * self.q.shape[-1] < torch.finfo(torch.float32).max

    def has_nan(self) -> bool:
        """Whether weights that the mask allows are not numbers: q, k or the bias hold NaN or infinity, or scores do."""
        if not (self.q.numel() and self.k.numel()) or (self._adds_numbers and self._are_numbers()):
            return False
        # Only a suspicion: the numbers may belong to masked keys. Kernels disagree on the lse of such rows.
        again = FactoredAttention(
            self.q,
            self.k,
            scale=self.scale,
            softcap=self.softcap,
            sinks=self.sinks,
            mask=self.mask,
            modifier=self.modifier,
        )
        found = torch.stack([again.lse(example, slice(0, self.n_heads)) for example in range(self.n_examples)])
        self.denominators = again.denominators
        return not bool((found < torch.inf).all())

    @property
    def _adds_numbers(self) -> bool:
        return self.mask is None or self.mask.is_finite

    def _are_numbers(self) -> bool:
        """Whether scores are finite for certain, before anything is added to them."""
        # Cheap, and nearly always enough: no NaN among factors with finite sums, no infinite score in a finite lse.
        totals = self._totals
        if not totals and (lse := self.known_lse) is not None:
            with plain_maths(self.q.device):
                totals = self.q.sum(dtype=torch.float32), self.k.sum(dtype=torch.float32), lse.sum()
        if totals and math.isfinite(sum(total.item() for total in totals)):
            return True
        with plain_maths(self.q.device):
            sizes = [torch.stack(torch.aminmax(part)).abs().amax().double() for part in (self.q, self.k)]
            return self._holds(float(sizes[0] * sizes[1]))  # NaN does not, if there is one among the factors

    def _scores(self, example: int, heads: Index, queries: Index, keys: Index) -> torch.Tensor:
        """(h, q, k) float32, a tensor of its own."""
        q, k = self.factors(example, heads, queries, keys)
        scores = torch.matmul(q, k.transpose(1, 2)).mul_(self.scale)
        if self.softcap:
            scores.div_(self.softcap).tanh_().mul_(self.softcap)
        if self.modifier is not None:
            rows, columns = positions_of(queries, self.n_queries), positions_of(keys, self.n_keys)
            scores = self.modifier(scores, example, positions_of(heads, self.n_heads), rows, columns)
        return scores

    def _logits(
        self, example: int, heads: Index, queries: Index, keys: Index
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores with the bias added and -inf where the mask forbids, (h, q, k); and where it forbids, or None."""
        logits = self._scores(example, heads, queries, keys)
        if self.mask is None:
            return logits, None
        bias = self.mask.added(example, heads, queries, keys)
        if bias is not None:
            logits += torch.from_numpy(np.ascontiguousarray(bias)).to(logits.device)
        forbidden = torch.from_numpy(~self.mask.allowed(example, heads, queries, keys)).to(logits.device)
        return logits.masked_fill_(forbidden, -torch.inf), forbidden

    def __repr__(self) -> str:
        size = f"{self.n_examples} x {self.n_heads} heads, {self.n_queries} x {self.n_keys}"
        return f"FactoredAttention({size}, {self.detail})"


def _check_shapes(
    q: torch.Tensor, k: torch.Tensor, lse: torch.Tensor | None, sinks: torch.Tensor | None, mask: Mask | None
) -> None:
    if q.ndim != _NDIM or k.ndim != _NDIM:
        raise ValueError(
            f"q has shape {shape_text(q)} and k {shape_text(k)}; expected (batch, heads, tokens, head size)"
        )
    batches = {q.shape[0], k.shape[0]} - {1}
    if len(batches) > 1 or q.shape[1] % max(1, k.shape[1]) or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"q has shape {shape_text(q)} and k {shape_text(k)}; expected the same batch and head size, "
            "and a number of query heads that is a multiple of the key heads"
        )
    expected = (max(q.shape[0], k.shape[0]), q.shape[1], q.shape[2])
    if lse is not None and tuple(lse.shape) != expected:
        raise ValueError(f"lse has shape {shape_text(lse)}; expected (batch, heads, queries), here {expected}")
    if sinks is not None and tuple(sinks.shape) != (q.shape[1],):
        raise ValueError(f"sinks have shape {shape_text(sinks)}; expected one per head, here ({q.shape[1]},)")
    if mask is not None:
        mask.check_fits(*expected, k.shape[2])
