"""The measures of pairs of tokens: what each is, who defined it, what it can and cannot show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class PairMeasure:
    """One way to say how much a query has to do with a key.

    Attributes:
        name: as `AttentionCapture.measure` takes it.
        title: in words, as it stands on screen.
        per: "head", or "layer" where heads answer together.
        formula: of query i and key j, in head h.
        range: which numbers it can be.
        source: where the definition comes from.
        caution: what it can and cannot show, with who showed that.
        needs: what the capture must have kept: "values", "gradient" or nothing.
        signed: whether it may be below 0.
    """

    name: str
    title: str
    per: Literal["head", "layer"]
    formula: str
    range: str
    source: str
    caution: str
    needs: Literal["", "values", "gradient"] = ""
    signed: bool = False

    @property
    def short_source(self) -> str:
        """Authors and year."""
        return self.source.split(",", maxsplit=1)[0]


_ABNAR = "Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers"
_KOBAYASHI = "Kobayashi et al. 2020, Attention is Not Only a Weight"

PAIR_MEASURES: Final = {
    measure.name: measure
    for measure in (
        PairMeasure(
            "weight",
            "attention weight",
            "head",
            "w[h,i,j]",
            "0 to 1",
            "Vaswani et al. 2017, Attention Is All You Need",
            "Where a head looked, not what the model used: other weights can give the same output (Jain and Wallace "
            "2019), though not always in a model trained as a whole (Wiegreffe and Pinter 2019)",
        ),
        PairMeasure(
            "score",
            "score before the softmax",
            "head",
            "f(scale * q[h,i] . k[h,j]), f a soft cap or nothing",
            "any number",
            "Vaswani et al. 2017, Attention Is All You Need",
            "Only differences within a row count: a score says nothing without the others of its row, and neither mask "
            "nor bias is in it",
            signed=True,
        ),
        PairMeasure(
            "lift",
            "lift over uniform",
            "head",
            "w[h,i,j] * n_i, n_i the keys that query i may look at",
            "0 to n_i, 1 is chance",
            "Brin et al. 1997, Dynamic Itemset Counting (lift), over an even row",
            "Makes rows of different lengths comparable, and has every limit of the weight: it does not know what the "
            "key's value holds",
        ),
        PairMeasure(
            "value-weighted",
            "length of the value-weighted vector",
            "head",
            "|w[h,i,j] f_h(x_j)|, f_h(x) = (x W_V + b_V) W_O[h]",
            "0 and above",
            _KOBAYASHI,
            "How much is added, not what for: a long vector can be cancelled by another head, by the residual stream, "
            "or be ignored by what reads it. A sink with a small value is told from a key that matters",
            needs="values",
        ),
        PairMeasure(
            "value-weighted-layer",
            "length of the value-weighted vector, heads summed",
            "layer",
            "|sum_h w[h,i,j] f_h(x_j)|",
            "0 and above",
            _KOBAYASHI,
            "As the measure of one head; heads that cancel each other are seen to, the residual connection, layer norm "
            "and MLP are not (Kobayashi et al. 2021 go on from here)",
            needs="values",
        ),
        PairMeasure(
            "rollout",
            "attention rollout",
            "layer",
            "(A_l ... A_0)[i,j], A = 0.5 mean_h W + 0.5 I, rows divided by their sum",
            "0 to 1, a row sums to 1",
            _ABNAR,
            "Tokens mix in deep layers, which weights of one layer do not show. Heads are averaged, values and MLPs "
            "left out, and the residual connection is taken to weigh as much as attention: a model of a model, not "
            "evidence of use (Bastings and Filippova 2020)",
        ),
        PairMeasure(
            "flow",
            "attention flow",
            "layer",
            "maximum flow from token i after layer l to input token j, capacities A",
            "0 to 1",
            _ABNAR,
            "The most that could pass, not what did: paths are not shared out among keys, and every assumption of "
            "rollout is made here too",
        ),
        PairMeasure(
            "gradient",
            "gradient × attention",
            "head",
            "w[h,i,j] dt/dw[h,i,j], t the target",
            "any number",
            "Serrano and Smith 2019, Is Attention Interpretable?; Barkan et al. 2021, Grad-SAM",
            "Tells apart what raises and what lowers one target, to first order, with every other weight held fixed "
            "and the softmax not renormalised: for a change as large as leaving a key out, ablate (Bastings and "
            "Filippova 2020 compare with saliency of inputs)",
            needs="gradient",
            signed=True,
        ),
    )
}
