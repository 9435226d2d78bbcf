"""What is kept of an attention that was only lent: some of its heads, in a smaller type."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention import DenseAttention, FactoredAttention, FramedAttention, Mask, Probe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import Attention
    from attnwidget.attention.modifier import ScoreModifier
    from attnwidget.intercept.keeping import Keeper


def with_heads(attention: Attention, heads: Sequence[int], keeper: Keeper) -> Attention:
    """Some heads of an attention that is lent, lent likewise.

    Args:
        attention: factors, weights, or windows of either.
        heads: ascending.
        keeper: of the run, in which layers share masks.
    """
    if len(heads) == attention.n_heads:
        return attention
    if isinstance(attention, FramedAttention):
        return attention.around(with_heads(attention.windows, heads, keeper), heads=heads)
    mask = keeper.mask_of_heads(attention.mask, tuple(heads))
    if isinstance(attention, FactoredAttention):
        return FactoredAttention(
            picked(attention.q, heads),
            picked(attention.k, key_heads(heads, attention.n_heads, attention.k.shape[1])),
            None if attention.known_lse is None else picked(attention.known_lse, heads),
            scale=attention.scale,
            softcap=attention.softcap,
            sinks=None if attention.sinks is None else attention.sinks[list(heads)],
            mask=mask,
            probe=_probe_of(attention.probe, heads, attention.n_heads),
            modifier=keeper.modifier_of_heads(attention.modifier, tuple(heads)),
        )
    assert isinstance(attention, DenseAttention)  # noqa: S101 - routes make no other; this is for the type checker
    probe = _probe_of(attention.probe, heads, attention.n_heads)
    return DenseAttention(picked(attention.array, heads), mask, probe, dropped=attention.dropped)


def kept(attention: Attention, keeper: Keeper) -> Attention:
    """An attention of copies, in the type that was asked for, of one that is lent."""
    if isinstance(attention, FramedAttention):
        return attention.around(kept(attention.windows, keeper))
    keeper.count_probe(attention.probe)
    if isinstance(attention, FactoredAttention):
        q, k = keeper.keep_factor(attention.q), keeper.keep_factor(attention.k)
        rounding = rounding_of(attention.q, q, attention.k, k)
        return FactoredAttention(
            q,
            k,
            # The kernel's belongs to what the kernel saw: next to rounded factors another is nearer to the truth.
            None if rounding else keeper.keep_lse(attention.known_lse),
            scale=attention.scale,
            softcap=attention.softcap,
            sinks=None if attention.sinks is None else keeper.keep(attention.sinks),
            mask=attention.mask,
            probe=rounded(attention.probe, rounding),
            modifier=attention.modifier,
        )
    assert isinstance(attention, DenseAttention)  # noqa: S101 - routes make no other; this is for the type checker
    lent = torch.as_tensor(attention.array)
    weights = keeper.keep_factor(lent)
    probe = rounded(attention.probe, rounding_of(lent, weights))
    return DenseAttention(weights, attention.mask, probe, dropped=attention.dropped)


def left_out(attention: Attention) -> Attention:
    """What is remembered of an attention that is not kept: its shape, and nothing in memory."""
    if isinstance(attention, FramedAttention):
        return attention.around(left_out(attention.windows))
    shape = attention.n_examples, attention.n_heads, attention.n_queries, attention.n_keys
    return DenseAttention(np.broadcast_to(np.float32(0), shape))


def rounding_of(*tensors: torch.Tensor) -> float:
    """Relative rounding of the coarsest copies that are coarser than what they were made of; 0 if none is.

    Args:
        *tensors: a tensor and its copy, another and its copy ...
    """
    eps = [torch.finfo(tensor.dtype).eps for tensor in tensors]
    return max((copy for lent, copy in zip(eps[::2], eps[1::2], strict=True) if copy > lent), default=0.0)


def rounded(probe: Probe | None, rounding: float) -> Probe | None:
    """A probe that knows what was rounded after the run."""
    return probe if probe is None or not rounding else replace(probe, kept=rounding)


def key_heads(heads: Sequence[int], n_heads: int, n_key_heads: int) -> list[int]:
    """The key heads that some heads look at, such that each is there for as many heads as any other.

    Those that more heads look at are there several times, where one number of heads does not fit all.
    """
    group = n_heads // n_key_heads
    counts = Counter(head // group for head in heads)
    each = gcd(*counts.values())
    return [number for number, count in counts.items() for _ in range(count // each)]


def picked(part: Any, heads: Sequence[int]) -> Any:  # noqa: ANN401 - a tensor or an array, and the like comes out
    """(B, H, ...) -> (B, h, ...): a view where heads stand at even distances."""
    steps = set(np.diff(heads).tolist())
    if len(steps) <= 1 and 0 not in steps:
        return part[:, heads[0] : heads[-1] + 1 : steps.pop() if steps else 1]
    return part[:, list(heads)]


def mask_of_heads(mask: Mask, heads: Sequence[int]) -> Mask:
    """A mask of which some parts may differ from head to head, for some heads."""

    def part(of: NDArray[Any] | None) -> Any:  # noqa: ANN401 - of the type that went in
        return of if of is None or of.shape[1] == 1 else of[:, list(heads)]

    parts = part(mask.bits), part(mask.bias), part(mask.ranges), part(mask.relative)
    if all(one is other for one, other in zip(parts, (mask.bits, mask.bias, mask.ranges, mask.relative), strict=True)):
        return mask
    return replace(mask, bits=parts[0], bias=parts[1], ranges=parts[2], relative=parts[3])


def _probe_of(probe: Probe | None, heads: Sequence[int], n_heads: int) -> Probe | None:
    if probe is None:
        return None
    values = probe.values[:, key_heads(heads, n_heads, probe.values.shape[1])]
    return replace(probe, values=values, outputs=probe.outputs[:, list(heads)])


class HeadsModifier:
    """A function of scores that knows heads by the numbers they had in the model."""

    def __init__(self, whole: ScoreModifier, heads: Sequence[int]) -> None:
        self._whole = whole
        self._heads = np.array(heads, dtype=np.intp)

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are."""
        return self._whole.held

    @property
    def words(self) -> str:
        """What it is, in a word or two."""
        return self._whole.words

    @property
    def may_forbid(self) -> bool:
        """Whether it may return minus infinity."""
        return self._whole.may_forbid

    def __call__(
        self,
        scores: torch.Tensor,
        example: int,
        heads: NDArray[np.intp],
        queries: NDArray[np.intp],
        keys: NDArray[np.intp],
    ) -> torch.Tensor:
        """Scores (h, q, k) -> what the softmax is taken of."""
        return self._whole(scores, example, self._heads[heads], queries, keys)
