"""A function of the score, as flex attention has it: kept, and applied to the scores somebody looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray


class ScoreModifier(Protocol):
    """f(score, b, h, i, j), for any of the scores.

    "Flex Attention: A Programming Model for Generating Optimized Attention Kernels" (Dong et al. 2024) calls it
    `score_mod`. It comes after the scale and before the mask.
    """

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes held, by where they are."""

    @property
    def words(self) -> str:
        """What it is, in a word or two."""

    @property
    def may_forbid(self) -> bool:
        """Whether it may return minus infinity, so that a pair it is asked about counts as not allowed."""

    def __call__(
        self,
        scores: torch.Tensor,
        example: int,
        heads: NDArray[np.intp],
        queries: NDArray[np.intp],
        keys: NDArray[np.intp],
    ) -> torch.Tensor:
        """Scores (h, q, k) of these heads, queries and keys -> what the softmax is taken of, float32."""
