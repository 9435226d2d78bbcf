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
        same_tokens: it compares queries with keys, and is NaN where those are different tokens (cross attention).
    """

    name: str
    title: str
    unit: str
    formula: str
    source: str
    same_tokens: bool = False


_CLARK = "Clark et al. 2019, What Does BERT Look At?"
_VOITA = "Voita et al. 2019, Analyzing Multi-Head Self-Attention"
_VIG = "Vig and Belinkov 2019, Analyzing the Structure of Attention in a Transformer Language Model"
_OLSSON = "Olsson et al. 2022, In-context Learning and Induction Heads"

MEASURES: Final = (
    Measure("entropy", "entropy", "bits", "-sum_j w_j log2 w_j", _CLARK),
    Measure(
        "spread",
        "entropy over that of an even row",
        "share",
        "entropy / log2 n, n the keys that the mask allows",
        f"{_CLARK}; normalised by the most a row of this length can have (Shannon 1948)",
    ),
    Measure("distance", "mean distance", "tokens", "sum_j w_j |i - j|", _VIG, same_tokens=True),
    Measure("max", "largest weight", "share", "max_j w_j", f"{_VOITA}, there called confidence"),
    Measure("first", "on the first token", "share", "w_0", f"{_VIG}; Xiao et al. 2023, Attention Sinks"),
    Measure("special", "on special tokens", "share", "sum of w_j over special tokens j", _CLARK),
    Measure("punctuation", "on punctuation", "share", "sum of w_j over tokens j of punctuation alone", _CLARK),
    Measure("self", "on itself", "share", "w_i", _CLARK, same_tokens=True),
    Measure("previous", "on the token before", "share", "w_(i-1)", f"{_CLARK}; {_VOITA}", same_tokens=True),
    Measure("next", "on the token after", "share", "w_(i+1)", f"{_CLARK}; {_VOITA}", same_tokens=True),
    Measure("near", "within the window", "share", "sum of w_j over |i - j| <= window", _VIG, same_tokens=True),
    Measure(
        "duplicate",
        "on the same token, earlier",
        "share",
        "sum of w_j over j < i with token j = token i, over the rows that have one",
        "Wang et al. 2022, Interpretability in the Wild, there called duplicate token heads",
        same_tokens=True,
    ),
    Measure(
        "induction",
        "on the token after the same token, earlier",
        "share",
        "sum of w_j over j <= i with token j-1 = token i, over the rows that have one",
        f"{_OLSSON}, there the prefix matching score",
        same_tokens=True,
    ),
    Measure(
        "sink",
        "on the key that takes most",
        "share",
        "max_j sum_i w_ij / sum_ij w_ij",
        "after Gu et al. 2024, When Attention Sink Emerges in Language Models",
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
