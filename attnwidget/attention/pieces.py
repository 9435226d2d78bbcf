"""What a vocabulary's pieces say as text: word-piece, byte-level and SentencePiece markers decoded."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PRINTABLE = (range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))


def decode_pieces(pieces: Sequence[str], special: Sequence[bool]) -> tuple[list[str], list[str]]:
    """Split pieces into text and the gap before it.

    The style is read from the pieces as a whole: a leading block marks SentencePiece, a leading G-with-dot or
    C-with-dot
    byte-level pieces, `##` word pieces; anything else is a list of plain names, shown with a space between them.

    Args:
        pieces: as the vocabulary writes them.
        special: which of them the tokenizer put there; those are taken literally.

    Returns:
        The text of each piece ("" where an earlier piece already shows its character) and the gap before each.
    """
    plain = [piece for piece, skip in zip(pieces, special, strict=True) if not skip]
    if any(_WORD_START in piece for piece in plain):
        return _join(_sentence_piece_bytes(pieces, special), special)
    alphabet = _byte_alphabet()
    if any(piece[:1] in {"\u0120", "\u010a"} for piece in plain) and all(
        set(piece) <= alphabet.keys() for piece in plain
    ):
        decoded = [
            piece.encode() if skip else bytes(alphabet[char] for char in piece)
            for piece, skip in zip(pieces, special, strict=True)
        ]
        return _join(decoded, special)
    word_pieces = any(piece.startswith("##") and len(piece) > len("##") for piece in plain)
    texts, gaps = [], []
    for index, (piece, skip) in enumerate(zip(pieces, special, strict=True)):
        continues = word_pieces and not skip and piece.startswith("##")
        texts.append(piece[2:] if continues else piece)
        gaps.append("" if continues or index == 0 else " ")
    return texts, gaps


def _sentence_piece_bytes(pieces: Sequence[str], special: Sequence[bool]) -> list[bytes]:
    decoded = []
    for piece, skip in zip(pieces, special, strict=True):
        byte = None if skip else _BYTE_PIECE.fullmatch(piece)
        text = piece if skip else piece.replace(_WORD_START, " ")
        decoded.append(bytes([int(byte[1], 16)]) if byte else text.encode("utf-8", "surrogatepass"))
    return decoded


def _join(decoded: list[bytes], special: Sequence[bool]) -> tuple[list[str], list[str]]:
    """Give each character to the piece that holds its first byte, and leading spaces to the gap."""
    texts, gaps = _characters(decoded), [""] * len(decoded)
    started = False
    for index, (text, skip) in enumerate(zip(texts, special, strict=True)):
        stripped = text.lstrip(" ")
        if skip or (not stripped and started):  # a piece of nothing but spaces shows them
            continue
        # The space in front of a whole text is an artefact of the vocabulary, not of the text.
        gaps[index] = text[: len(text) - len(stripped)] if started else ""
        texts[index] = stripped
        started = True
    return texts, gaps


def _characters(decoded: list[bytes]) -> list[str]:
    texts: list[str] = []
    index = 0
    while index < len(decoded):
        chunk, stop = decoded[index], index + 1
        # A character may be spread over pieces: take more of them until the bytes are whole, four bytes at most ahead.
        while not _whole(chunk) and stop < len(decoded) and stop - index < len("utf8"):
            chunk += decoded[stop]
            stop += 1
        if not _whole(chunk):
            chunk, stop = decoded[index], index + 1
        texts.extend(_share(decoded[index:stop], chunk))
        index = stop
    return texts


def _share(parts: list[bytes], chunk: bytes) -> list[str]:
    """Split the text of some joined parts, each character to the part its first byte is in."""
    starts, position = [], 0
    for part in parts:
        starts.append(position)
        position += len(part)
    texts = [""] * len(parts)
    position = 0
    for char in chunk.decode("utf-8", "replace"):
        owner = max(index for index, start in enumerate(starts) if start <= position and parts[index])
        texts[owner] += char
        position += len(char.encode("utf-8", "replace"))
    return texts


def _whole(chunk: bytes) -> bool:
    try:
        chunk.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason not in {"unexpected end of data", "invalid start byte"}
    return True


@cache
def _byte_alphabet() -> dict[str, int]:
    """The alphabet byte-level vocabularies write bytes in: printable Latin-1 as itself, the rest past 0xFF."""
    printable = {byte for part in _PRINTABLE for byte in part}
    moved = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(moved)}
