"""What else can be asked of a pair of tokens than its weight: what one takes from the other, or rests on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnwidget.attention.choosing import Choice
    from attnwidget.attention.protocol import Floats
    from attnwidget.attention.selection import Select


class Measuring(ABC):
    """The part of `AttentionCapture` that measures pairs of tokens in more ways than one."""

    @abstractmethod
    def _choose(
        self, layer: int | None, head: int | None, queries: Select, keys: Select, batch: int, stack: str | None
    ) -> Choice:
        """What is asked for, checked."""

    def measure(
        self,
        name: str,
        layer: int | None = None,
        head: int | None = None,
        *,
        queries: Select = None,
        keys: Select = None,
        batch: int = 0,
        stack: str | None = None,
    ) -> Floats:
        """A measure of every pair of tokens. `attnwidget.analysis.PAIR_MEASURES` has formulas, sources and cautions.

        Of each head:

        - "weight", "score", "lift": what `weights`, `scores` and `lift` return.
        - "value-weighted": the length of what a key adds to the output of its head, the weight times the projected
          value (Kobayashi et al. 2020). Needs a capture with values=True.
        - "gradient": the weight times the derivative of a target by the weight (Serrano and Smith 2019). Needs a
          capture with target=.

        Of each layer as a whole:

        - "value-weighted-layer": the same length, of the sum over all heads. Needs values=True.
        - "rollout": what of each token's state after this layer goes back to which input token, if attention and
          residual connection were all there is and weighed the same (Abnar and Zuidema 2020).
        - "flow": how much can flow at most from an input token to a token after this layer, in the same graph (Abnar
          and Zuidema 2020). For short texts; needs SciPy.

        None of these proves what a model used: `docs/measures.md` tells what each can and cannot show.

        Args:
            name: of the measure.
            layer: one layer, or all of them.
            head: one head, or all of them, of measures that belong to heads.
            queries: a slice, a range (start, stop) or a list of positions; all of them if None.
            keys: likewise; input tokens, of rollout and flow.
            batch: which example.
            stack: name of a stack; the first one if None.

        Returns:
            float32. Of heads, shaped as `weights`: (Tq, Tk) with a layer and a head, (H, Tq, Tk) with a layer, (L, Tq,
            Tk) with a head, (L, H, Tq, Tk) with neither. Of layers: (Tq, Tk) with a layer, else (L, Tq, Tk).

        Raises:
            CaptureError: this capture does not hold what the measure needs; the text says what to do.
            ImportError: "flow" without SciPy.
            IndexError: no such layer, head, query, key or example; they count from 0.
            KeyError: no such measure, or stack.
            MemoryError: the answer would take more than half of the free memory.
            ValueError: a head of a measure that belongs to layers, a stack that the measure has no meaning for, or more
                pairs than "flow" is worked out for.

        Examples:
            >>> import numpy as np
            >>> import attnwidget as aw
            >>> cap = aw.AttentionCapture.from_weights(np.array([[[[1.0, 0.0], [0.5, 0.5]]]] * 2))
            >>> cap.measure("rollout", 1).round(3).tolist()
            [[1.0, 0.0], [0.4375, 0.5625]]
        """
        from attnwidget.analysis import measure_pairs

        return measure_pairs(name, self._choose(layer, head, queries, keys, batch, stack))
