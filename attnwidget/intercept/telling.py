"""Whether the CPU's kernel tells by its lse that scores were not numbers: asked of the kernel itself, once."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from attnwidget.intercept.kernels import call_kernel

FEWEST = 32
"""Keys from which on the answer holds: fewer may not fill the registers that the kernel works in, and it drops them."""
_SIZE = 4
_LENGTHS = {40: (0, 7, 15, 16, 31, 39), 520: (511, 519)}
"""Tokens, and where the number that is none stands: in full registers, in what is left over, in blocks of keys."""


@lru_cache(maxsize=8)
def lse_tells(dtype: torch.dtype) -> bool:
    """Whether every row with a score that is no number has an lse that is none or infinite.

    It is nobody's promise: kernels take maxima in which such a number may get lost. So they are given some.
    """
    return all(_tells(dtype, length, places) for length, places in _LENGTHS.items())


def _tells(dtype: torch.dtype, length: int, places: tuple[int, ...]) -> bool:
    cases = [(part, place, value) for part in (0, 1) for place in places for value in (math.nan, math.inf)]
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.rand(len(cases), 1, length, _SIZE, generator=generator, device="cpu") + 0.5 for _ in range(2))
    for case, (part, place, value) in enumerate(cases):
        (q, k)[part][case, 0, place, -1] = value
    q, k = q.to(dtype), k.to(dtype)
    scores = q.float() @ k.float().mT
    later = torch.ones((length, length), dtype=torch.bool, device="cpu").triu(1)
    for is_causal, mask in (
        (False, None),
        (True, None),
        (False, torch.zeros((length, length), dtype=dtype, device="cpu")),
    ):
        _, lse = call_kernel("cpu flash", q, k, k, mask, is_causal=is_causal, scale=None)
        seen = scores.masked_fill(later, -torch.inf) if is_causal else scores
        broken = ~(seen < torch.inf).all(-1)
        if bool((broken & lse.isfinite()).any()):
            return False
    return True
