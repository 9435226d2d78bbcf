"""Lift of factored attention, pooled block by block: a longer row is a smaller softmax denominator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from attnwidget.attention.blocks import HeadBlocks, plain_maths

if TYPE_CHECKING:
    from attnwidget.attention.denominators import LogSums
    from attnwidget.attention.factored import FactoredAttention
    from attnwidget.attention.lift import LiftAttention
    from attnwidget.attention.protocol import Index


class LiftBlocks(HeadBlocks):
    """Blocks of one head whose rows are weighted by the keys they may look at: exp(score - (lse - log share)).

    Args:
        lift: whose shares.
        attention: whose head.
        example: of the batch.
        head: which head.
    """

    def __init__(self, lift: LiftAttention, attention: FactoredAttention, example: int, head: int) -> None:
        super().__init__(attention, example, head)
        self._lift = lift

    def _log_sums(self, rows: Index) -> LogSums:
        share = self._lift.share(self.example, slice(self.head, self.head + 1), rows)[0]
        # A row that may look at nothing is masked, whatever it is multiplied by.
        logs = np.log(np.where(share > 0, share, 1), dtype=np.float32)
        with plain_maths(self.device):
            sums = super()._log_sums(rows)
            return sums._replace(rest=sums.rest - torch.from_numpy(logs).to(self.device))
