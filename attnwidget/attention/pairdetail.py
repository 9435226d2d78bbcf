"""How one weight came about: the query, the key, and every number between them and the weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from attnwidget.attention.protocol import Attention, Floats

Step: TypeAlias = tuple[str, str, str]
"""Words, a number, and words after it."""

_LARGE, _SMALL = 100, 1e-4
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


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
        key_head: the key-value head whose key this is.
        group: how many query heads share it.
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
    group: int
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
        """How few components hold this share of sum `|q * k|`, the largest first.

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

    @property
    def share(self) -> str:
        """How many components make most of the score, in words."""
        n = f"{self.components()} of {len(self.q)} component{'s' * (len(self.q) != 1)}"
        return f"{n} make 80 % of the sum of |q × k|"

    @property
    def steps(self) -> tuple[Step, ...]:
        """From the dot product to the weight, in words with numbers; what the model does not have is left out."""
        steps = [("score", number_text(self.raw), f"= scale {number_text(self.scale)} × q · k {number_text(self.dot)}")]
        if self.softcap is not None:
            steps.append((f"soft cap {number_text(self.softcap)} →", number_text(self.capped), ""))
        if self.modified:
            steps.append(("+ modifier", number_text(self.modified), ""))
        steps.append(("+ bias", number_text(self.bias), ""))
        if self.lse != -math.inf:
            steps.append(("− lse", number_text(self.lse), ""))
        if self.masked:
            steps.append(("weight", "0", "not allowed by the mask"))
        else:
            steps.append((f"weight = exp({number_text(self.log_weight)}) =", number_text(self.weight), ""))
        if self.sink_share is not None:
            steps.append(("sink", number_text(self.sink_share), "of the row"))
        if self.group > 1:
            steps.append(("key head", str(self.key_head), f"shared by {self.group} heads"))
        return tuple(steps)

    def __repr__(self) -> str:
        lines = (" ".join(filter(None, step)) for step in self.steps)
        return "\n  ".join([f"PairDetail({self.pair or f'{len(self.q)} components'})", *lines, self.share])


def number_text(value: float) -> str:
    """A number as the view prints it: three significant digits, one after the point where it is large."""
    size = abs(value)
    sign = "−" if value < 0 else ""
    if not math.isfinite(value):
        return f"{sign}∞" if math.isinf(value) else "not a number"
    if size >= _LARGE:
        return f"{sign}{size:.1f}"
    if size >= _SMALL:
        return f"{sign}{size:#.3g}"
    digits, _, power = f"{size:.2e}".partition("e-")
    return f"{sign}{digits} × 10⁻{power.lstrip('0').translate(_RAISED)}" if size else "0"


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
