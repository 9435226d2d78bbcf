"""What is measured of a head, in words and by whom: the columns of `AttentionCapture.patterns`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Measure:
    """One column.

    Attributes:
        name: of the column.
        title: in words, as it stands on screen.
        unit: "bits", "tokens", or "share", from 0 to 1.
        formula: for one row w of weights at query i; the column holds its mean over the rows that count.
        source: where the definition comes from.
        caution: what it can and cannot show, with who showed that.
        same_tokens: it compares queries with keys, and is NaN where those are different tokens (cross attention).
        over_rows: the column is a mean over rows; otherwise the formula is of all rows w_i at once.
    """

    name: str
    title: str
    unit: str
    formula: str
    source: str
    caution: str
    same_tokens: bool = False
    over_rows: bool = True

    @property
    def words(self) -> str:
        """What it is, as a sentence."""
        how = (
            "w the weights of one query i, mean over queries" if self.over_rows else "w the weights, i queries, j keys"
        )
        unit = _UNITS.get(self.unit, f"in {self.unit}")
        return f"{self.title[:1].upper()}{self.title[1:]}, {unit}: {self.formula}; {how}."


_CLARK = "Clark et al. 2019, What Does BERT Look At?"
_VOITA = "Voita et al. 2019, Analyzing Multi-Head Self-Attention"
_VIG = "Vig and Belinkov 2019, Analyzing the Structure of Attention in a Transformer Language Model"
_OLSSON = "Olsson et al. 2022, In-context Learning and Induction Heads"
_UNITS: Final = {"share": "a share from 0 to 1"}

LOOKED = (
    "They say where heads looked in one text, not what came of it: other weights can give the same output "
    "(Jain and Wallace 2019), though not always in a model trained as a whole (Wiegreffe and Pinter 2019). A survey "
    "of many texts shows whether it is the head or the text, an ablation whether the output depends on it."
)
"""What holds of every measure."""

MEASURES: Final = (
    Measure(
        "entropy",
        "entropy",
        "bits",
        "-sum_j w_j log2 w_j",
        _CLARK,
        "It grows with the number of keys, so that texts and rows of different lengths cannot be compared by it. A "
        "narrow head is not an important one, nor a broad one idle (Jain and Wallace 2019).",
    ),
    Measure(
        "spread",
        "entropy over that of an even row",
        "share",
        "entropy / log2 n, n the keys that the mask allows",
        f"{_CLARK}; normalised by the most a row of this length can have (Shannon 1948)",
        "1 is an even look at everything allowed, which still moves the mean of what stands there. It says how wide, "
        "and not at what.",
    ),
    Measure(
        "distance",
        "mean distance",
        "tokens",
        "sum_j w_j |i - j|",
        _VIG,
        "A head that rests on the first token seems to look far (Xiao et al. 2023): read it beside that share. It "
        "grows with the text.",
        same_tokens=True,
    ),
    Measure(
        "max",
        "largest weight",
        "share",
        "max_j w_j",
        f"{_VOITA}, there called confidence",
        "Large in short rows anyway, and on tokens where a head rests. What stands at the key may be so short a vector "
        "that little is moved (Kobayashi et al. 2020).",
    ),
    Measure(
        "first",
        "on the first token",
        "share",
        "w_0",
        f"{_VIG}; Xiao et al. 2023, Attention Sinks",
        "Often a place to rest, an attention sink, and no interest in that token (Xiao et al. 2023): a large share "
        "then means that there was nothing to do. Early rows have few other keys.",
    ),
    Measure(
        "special",
        "on special tokens",
        "share",
        "sum of w_j over special tokens j",
        _CLARK,
        "Clark et al. take it for a no-op where a head finds nothing; the vectors there tend to be short (Kobayashi "
        "et al. 2020), so that much weight moves little.",
    ),
    Measure(
        "punctuation",
        "on punctuation",
        "share",
        "sum of w_j over tokens j of punctuation alone",
        _CLARK,
        "It depends on how much punctuation a text has. As of special tokens, much weight may move little (Kobayashi "
        "et al. 2020).",
    ),
    Measure(
        "self",
        "on itself",
        "share",
        "w_i",
        _CLARK,
        "It is the position, and above the first layer no longer the token alone: other tokens have been mixed in "
        "there (Brunner et al. 2020).",
        same_tokens=True,
    ),
    Measure(
        "previous",
        "on the token before",
        "share",
        "w_(i-1)",
        f"{_CLARK}; {_VOITA}",
        "A rule of position. Such heads are half of an induction circuit (Olsson et al. 2022); whether this one "
        "serves in it, only a test of both tells.",
        same_tokens=True,
    ),
    Measure(
        "next",
        "on the token after",
        "share",
        "w_(i+1)",
        f"{_CLARK}; {_VOITA}",
        "A rule of position, and only of models that see what follows: under a causal mask there is nothing to see.",
        same_tokens=True,
    ),
    Measure(
        "near",
        "within the window",
        "share",
        "sum of w_j over |i - j| <= window",
        _VIG,
        "In a text not much longer than the window nearly everything is near. It cannot tell a rule of position from "
        "words that belong together and stand together (Voita et al. 2019).",
        same_tokens=True,
    ),
    Measure(
        "duplicate",
        "on the same token, earlier",
        "share",
        "sum of w_j over j < i with token j = token i, over the rows that have one",
        "Wang et al. 2022, Interpretability in the Wild, there called duplicate token heads",
        "Few rows have one, in a short text perhaps a comma: look at how many repeats there are, or survey texts that "
        "repeat.",
        same_tokens=True,
    ),
    Measure(
        "induction",
        "on the token after the same token, earlier",
        "share",
        "sum of w_j over j <= i with token j-1 = token i, over the rows that have one",
        f"{_OLSSON}, there the prefix matching score",
        "Olsson et al. take it on repeated random tokens: in a sentence few rows count, and a repeat may be of a "
        "comma. It is half of their definition: whether the head also copies, logit attribution or an ablation tells.",
        same_tokens=True,
    ),
    Measure(
        "sink",
        "on the key that takes most",
        "share",
        "max_j sum_i w_ij / sum_ij w_ij",
        "after Gu et al. 2024, When Attention Sink Emerges in Language Models",
        "Under a causal mask early keys are seen by more rows, and get more of an even look too. That a key takes "
        "much does not say that much comes from it (Xiao et al. 2023; Gu et al. 2024).",
        over_rows=False,
    ),
)

BY_NAME: Final = {measure.name: measure for measure in MEASURES}

SHAPES: Final = {
    "induction": "induction",
    "duplicate": "duplicate token",
    "previous": "previous token",
    "next": "next token",
    "self": "diagonal",
    "first": "first token",
    "special": "special tokens",
    "punctuation": "punctuation",
    "sink": "one key",
}
"""Names of the patterns that a share of a head's mass can make, by the column; a tie goes to the earlier one."""
