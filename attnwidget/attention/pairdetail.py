"""How one weight came about: the query, the key, and every number between them and the weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from attnwidget.attention.protocol import Attention, Floats


@dataclass(frozen=True, eq=False, repr=False)
class PairDetail:
    """One pair of tokens of one head, from q and k to the weight: weight = exp(score + bias - lse).

    Scaled dot-product attention is that of "Attention Is All You Need" (Vaswani et al. 2017); the soft cap is that of
    Gemma 2 (2024). Scores, bias and lse are natural logarithms (nats), so differences between them are ratios between
    weights. All numbers are float32, as the weights are computed from them. Not finite where the model overflowed.

    Attributes:
        q: (d,) float32, the query as the attention kernel received it: after rotary positions, norms, and whatever else
            the model does to it; widened from the type it ran in.
        k: (d,) float32, the key likewise; under grouped queries that of key head `key_head`.
        key_head: the key-value head that this head shares.
        dot: q . k, the sum of `products`.
        scale: what the dot product is multiplied with.
        raw: scale * dot, the score before a soft cap.
        softcap: c of c * tanh(raw / c), None without one.
        capped: the score after the soft cap; `raw` without one.
        modified: what a score modifier (flex attention's score_mod) changed the score by; 0 without one.
        bias: what is added to the score: position bias (T5, ALiBi) and the additive mask; 0 without one.
        masked: the mask does not allow this pair: its weight is 0 whatever the numbers say.
        lse: log of the row's softmax denominator, sinks included; -infinity where the row may look at nothing.
        log_weight: score + bias - lse; -infinity where masked.
        weight: after the softmax, in [0, 1]; what `AttentionCapture.weights` says of this pair.
        sink_share: what of the row goes to a sink that is no token (GPT-OSS 2025), in [0, 1]; None in models without.
        pair: which pair this is, in words.
    """

    q: Floats
    k: Floats
    key_head: int
    dot: float
    scale: float
    raw: float
    softcap: float | None
    capped: float
    modified: float
    bias: float
    masked: bool
    lse: float
    log_weight: float
    weight: float
    sink_share: float | None
    pair: str = ""

    @property
    def products(self) -> Floats:
        """(d,) float32, q * k: what each component adds to the dot product."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a model that overflowed
            products: Floats = self.q * self.k
        return products

    @property
    def score(self) -> float:
        """The score as `AttentionCapture.scores` has it: scale, soft cap and modifier applied, bias not."""
        return self.capped + self.modified

    def components(self, share: float = 0.8) -> int:
        """How few components hold this share of sum |q * k|, the largest first.

        Magnitudes, because products of opposite signs cancel: shares of the dot product itself may exceed 1. All of
        them, where some are not finite.

        Raises:
            ValueError: share is not in [0, 1].
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share!r}; expected a number from 0 to 1")
        sizes = np.sort(np.abs(self.products.astype(np.float64)))[::-1]
        if not np.isfinite(sizes).all():
            return len(sizes)
        reached = np.concatenate([[0.0], np.cumsum(sizes)])
        # A rounding error must not ask for one component more.
        return int(np.argmax(reached >= share * reached[-1] * (1 - 1e-12)))

    def __repr__(self) -> str:
        size = len(self.q)
        rows = [
            ("q . k", self.dot, f"{size} components, {self.components()} of them hold 80 % of sum |q * k|"),
            ("* scale", self.scale, ""),
            ("= score", self.raw, "" if self.softcap is None else "before the soft cap"),
        ]
        if self.softcap is not None:
            rows.append(("soft cap", self.capped, f"{self.softcap:g} * tanh(score / {self.softcap:g})"))
        if self.modified:
            rows.append(("modifier", self.modified, "added by the score modifier"))
        rows += [
            ("+ bias", self.bias, "position bias and mask, as added" if self.bias else "nothing is added"),
            ("- lse", self.lse, "log of the row's softmax denominator"),
            ("= log weight", self.log_weight, "not allowed by the mask" if self.masked else ""),
            ("weight", self.weight, "exp(log weight)"),
        ]
        if self.sink_share is not None:
            rows.append(("sink", self.sink_share, "share of the row that goes to a sink that is no token"))
        lines = (f"  {name:<12} {value:>11.5g}  {words}".rstrip() for name, value, words in rows)
        return "\n".join([f"PairDetail({self.pair or f'{size} components'})", *lines])


@runtime_checkable
class KnowsPairs(Protocol):
    """Attention whose weights each come from one query and one key that are known."""

    def pair_detail(self, example: int, head: int, query: int, key: int) -> PairDetail:
        """How one weight came about.

        Raises:
            ValueError: not known for this pair, and why.
        """


def pair_detail(attention: Attention, example: int, head: int, query: int, key: int) -> PairDetail:
    """How one weight of any kind of attention came about.

    Raises:
        ValueError: q and k are not known, and why.
    """
    if isinstance(attention, KnowsPairs):
        return attention.pair_detail(example, head, query, key)
    raise ValueError(
        f"q and k are not known: these weights ({attention.detail}) are made from several others; ask the capture they "
        "were made from"
    )
