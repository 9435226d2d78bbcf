"""Numbers and tokens as the screen prints them: `js/src/format.ts` and `js/src/tokens.ts` in Python."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Tokens

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_NAMED = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
_HIDDEN_SPACES = frozenset("\u00a0\u202f\u3000") | {chr(code) for code in range(0x2000, 0x200B)}
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINER = "\u200d"
Kind: TypeAlias = Literal["weight", "lift", "amount", "signed"]
"""What numbers are: `Reading` in js/src/reading.ts."""

_LEAST_PLAIN = 1e-4
_TENTHS = 100
"""Numbers from this on are printed with one digit after the point."""
_LARGE = 1000
"""Lift from which it is a whole number."""


def format_weight(weight: float) -> str:
    """A weight with three significant digits: 0.312, 0.0500, 2.31 × 10⁻⁷."""
    if weight == 0:
        return "0"
    digits, power = f"{weight:.2e}".split("e")
    if weight < _LEAST_PLAIN:
        return f"{digits} × 10⁻{str(-int(power)).translate(_SUPERSCRIPTS)}"
    return f"{weight:.{2 - int(power)}f}"


def format_cell(value: float, kind: Kind, forbidden: str) -> str:
    """A cell as it is printed: the weight or what is shown in its place, or why there is none.

    Args:
        value: NaN where the pair is not allowed, infinity where the model overflowed.
        kind: what the number is.
        forbidden: what is said of pairs that are not allowed.
    """
    if math.isnan(value):
        return forbidden
    if not math.isfinite(value):
        return "not a number: the model overflowed"
    if kind == "lift":
        return f"{format_weight(value) if value < _LARGE else grouped(round(value))} × uniform"
    return format_signed(value)


def format_signed(value: float) -> str:
    """A number of either sign, with three significant digits and one after the point at the least."""
    size = abs(value)
    return f"{'−' if value < 0 else ''}{f'{size:.1f}' if size >= _TENTHS else format_weight(size)}"


def format_end(value: float, kind: Kind = "weight") -> str:
    """A number of a scale or a legend: two significant digits, no trailing zeros."""
    if kind == "lift":
        return f"{format_end(value)} × uniform"
    if value < 0:
        return f"−{format_end(-value)}"
    if value == 0:
        return "0"
    if value < _LEAST_PLAIN:
        digits, power = f"{value:.0e}".split("e")
        return f"{digits}e{int(power)}"
    return f"{float(f'{value:.2g}'):g}"


def grouped(number: int) -> str:
    """A whole number, its thousands set apart."""
    return f"{number:,}"


def counted(count: int, what: str) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{grouped(count)} {what}{'' if count == 1 else 's'}"


def visible(text: str) -> str:
    """Text with every invisible character made visible."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    first = len(text) - len(text.lstrip(" "))
    last = len(text.rstrip(" "))
    return "".join(_seen(text, place, char, inside=first <= place < last) for place, char in enumerate(text))


def _seen(text: str, place: int, char: str, *, inside: bool) -> str:
    if char == " ":
        return char if inside else "␣"
    if char in _NAMED:
        return _NAMED[char]
    category = unicodedata.category(char)
    if char == _JOINER and _pictures_around(text, place):
        return char
    if category in _HIDDEN or char in _HIDDEN_SPACES:
        return f"\\u{{{ord(char):x}}}"
    return f"◌{char}" if place == 0 and category.startswith("M") else char


def _pictures_around(text: str, place: int) -> bool:
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    joins = before == "\ufe0f" or "\U0001f3fb" <= before <= "\U0001f3ff" or _is_picture(before)
    return joins and _is_picture(after)


def _is_picture(char: str) -> bool:
    return char != "" and unicodedata.category(char) == "So"


def label(text: str, piece: str) -> str:
    """What stands for one token on an axis or in a list."""
    if text == "" or "\ufffd" in text:
        return _bytes_of(piece) or visible(text or piece) or "(empty)"
    return visible(text)


def labels_of(tokens: Tokens) -> tuple[str, ...]:
    """The labels of all tokens."""
    return tuple(label(text, piece) for text, piece in zip(tokens.text, tokens.pieces, strict=True))


def _bytes_of(piece: str) -> str | None:
    """`‹F0 9F›` for a piece that is part of a character only, or None if the piece is plain text."""
    fallback = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", piece)
    if fallback:
        return f"‹{fallback[1].upper()}›"
    found = [_byte_of(char) for char in piece]
    if None in found or not any(byte is not None and byte > ord("~") for byte in found):
        return None
    return f"‹{' '.join(f'{byte:02X}' for byte in found)}›"


def _byte_of(char: str) -> int | None:
    """The byte that a byte-level vocabulary writes as this character."""
    code = ord(char)
    if "!" <= char <= "~" or "¡" <= char <= "¬" or "®" <= char <= "ÿ":
        return code
    place = code - 256
    # The 68 bytes that do not print follow one another from U+0100 on: 0 to 32, 127 to 160, and 173.
    hidden = (*range(33), *range(127, 161), 173)
    return hidden[place] if 0 <= place < len(hidden) else None


def named(labels: Sequence[str], index: int) -> str:
    """A token named in a sentence: `12 "it"`."""
    return f'{index} "{labels[index]}"'
