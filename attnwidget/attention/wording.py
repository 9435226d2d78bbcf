"""Which tokens make one word, and words as tokens."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention.tokens import Tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

_APOSTROPHES, _POINTS = "'\N{RIGHT SINGLE QUOTATION MARK}", ".,"
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_SKIN = range(0x1F3FB, 0x1F400)
_ALONE = (
    "CJK UNIFIED", "CJK COMPATIBILITY", "HIRAGANA", "YI SYLLABLE",
)  # fmt: skip
"""Scripts that set no space between words: each of their characters stands alone, as WordPiece and BPE begin there."""


def word_starts(tokens: Tokens) -> NDArray[np.intp]:
    """The first token of each word.

    A token goes on with the word before it if nothing lies between them in the running text and no word ends there:
    between two letters, digits or marks, around an apostrophe between letters or a point between digits (after the
    rules of Unicode Standard Annex 29, section 4.1), or where it shows no character of its own. Special tokens stay
    alone, and so do the texts of a pair.

    Args:
        tokens: of one example.

    Returns:
        Positions, in order; the first is 0.
    """
    starts = [0] if len(tokens) else []
    text = "".join(gap + part for gap, part in zip(tokens.gap, tokens.text, strict=True))
    place = 0
    for index, (gap, part) in enumerate(zip(tokens.gap, tokens.text, strict=True)):
        before = index - 1
        apart = index == 0 or gap or tokens.special[index] or tokens.special[before]
        if index and (apart or tokens.segment[index] != tokens.segment[before] or (part and not _goes_on(text, place))):
            starts.append(index)
        place += len(gap) + len(part)
    return np.array(starts, dtype=np.intp)


def merged_tokens(tokens: Tokens, starts: NDArray[np.intp]) -> Tokens:
    """Words as tokens: a word of several tokens is called by its text, one of a single token as that is."""
    columns: list[tuple[str, str, str, bool, int]] = []
    ends = [*starts[1:].tolist(), len(tokens)]
    for start, stop in zip(starts.tolist(), ends, strict=True):
        text = "".join(tokens.text[start:stop])
        alone = stop - start == 1
        piece = tokens.pieces[start] if alone else text or "".join(tokens.pieces[start:stop])
        columns.append((piece, text, tokens.gap[start], tokens.special[start], tokens.segment[start]))
    if not columns:
        return tokens
    pieces, texts, gaps, special, segment = zip(*columns, strict=True)
    return Tokens(pieces, texts, gaps, special, segment)


def _goes_on(text: str, place: int) -> bool:
    """Whether no word ends between the characters before and at a place."""
    if not 0 < place < len(text):
        return False
    before, after = text[place - 1], text[place]
    if after in _JOINERS or before in _JOINERS or ord(after) in _SKIN or _is_mark(after):
        return not before.isspace()
    if _in_word(before) and _in_word(after):
        return not (_stands_alone(before) or _stands_alone(after))
    further_back, further_on = text[place - 2 : place - 1], text[place + 1 : place + 2]
    for between, is_part in ((_APOSTROPHES, str.isalpha), (_POINTS, str.isdigit)):
        if after in between and is_part(before) and is_part(further_on):
            return True
        if before in between and is_part(after) and is_part(further_back):
            return True
    return False


def _in_word(char: str) -> bool:
    return char.isalnum() or char == "_" or _is_mark(char)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char).startswith("M")


def _stands_alone(char: str) -> bool:
    return char > "\u2e00" and unicodedata.name(char, "").startswith(_ALONE)
