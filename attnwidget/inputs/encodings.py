"""From a tokenizer's encoding to `Tokens`: which characters of the source each token stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnwidget.attention import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_ID = 2**31
"""Tokenizers count in 32 bits."""


def tokens_of_encoding(encoding: Any, texts: Sequence[str]) -> Tokens:  # noqa: ANN401
    """Tokens of a fast tokenizer's encoding; the running text, special tokens aside, is the source to the character.

    Args:
        encoding: a `tokenizers.Encoding` with offsets.
        texts: the source: one text, or the two of a pair.

    Returns:
        Tokens; characters that several tokens share are shown by the first of them.
    """
    pieces, special, sequence = list(encoding.tokens), list(encoding.special_tokens_mask), list(encoding.sequence_ids)
    text, gap, segment = [""] * len(pieces), [""] * len(pieces), [0] * len(pieces)
    cursor = [0] * len(texts)
    last: dict[int, int] = {}
    current = 0
    for index, (start, stop) in enumerate(encoding.offsets):
        number = sequence[index]
        if special[index] or number is None:
            text[index], segment[index] = pieces[index], current
            continue
        current = segment[index] = number
        source, seen = texts[number], cursor[number]
        first = max(start, seen)
        gap[index] = source[seen:first] if stop > seen or start > seen else ""
        text[index] = source[first : max(first, stop)]
        if not text[index] and gap[index]:  # a token of nothing but spaces, which some tokenizers trim from its offsets
            gap[index], text[index] = "", gap[index]
        cursor[number] = max(seen, first, stop)
        last[number] = index
    for number, index in last.items():
        # What no token covers (spaces at the end) must not be lost from the running text.
        text[index] += texts[number][cursor[number] :]
    return Tokens(tuple(pieces), tuple(text), tuple(gap), tuple(bool(flag) for flag in special), tuple(segment))


def tokens_of_ids(tokenizer: Any, ids: Sequence[int], segment: Sequence[int] | None = None) -> Tokens:  # noqa: ANN401
    """Tokens of ids whose source text is not known."""
    bad = [number for number in ids if not 0 <= number < _NO_ID]
    if bad:
        raise ValueError(f"token id {bad[0]} does not exist; expected ids of the vocabulary, which begin at 0")
    pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids))]
    known = set(tokenizer.all_special_ids)
    unknown = getattr(tokenizer, "unk_token_id", None)
    special = [number in known and number != unknown for number in ids]
    if segment is not None:
        segment = [min(int(number), 1) for number in segment]
    return Tokens.from_pieces(pieces, special=special, segment=segment)
