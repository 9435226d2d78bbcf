"""The tokens along one axis, and how they read as running text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from attnwidget.attention.pieces import decode_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TokenNames: TypeAlias = "Tokens | Sequence[str]"


@dataclass(frozen=True)
class Tokens:
    """One entry per token in every column; the running text is `gap[0] + text[0] + gap[1] + text[1] ...`.

    Attributes:
        pieces: as the vocabulary writes them.
        text: as they stand in the running text; "" where an earlier token shows the same characters already.
        gap: the text between the token before and this one.
        special: put there by the tokenizer.
        segment: 0 or 1, the first or second text of a pair.

    Examples:
        >>> Tokens.from_pieces(["the", "cat", "##s"]).running_text
        'the cats'
    """

    pieces: tuple[str, ...]
    text: tuple[str, ...]
    gap: tuple[str, ...]
    special: tuple[bool, ...]
    segment: tuple[int, ...]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (self.pieces, self.text, self.gap, self.special, self.segment)}
        if len(lengths) > 1:
            raise ValueError(f"token columns have the lengths {sorted(lengths)}; expected one length for all of them")

    @classmethod
    def from_pieces(
        cls, pieces: Sequence[str], *, special: Sequence[bool] | None = None, segment: Sequence[int] | None = None
    ) -> Tokens:
        """Tokens known by name only; the markers of common vocabularies are decoded.

        Args:
            pieces: the names, or pieces of a vocabulary.
            special: which of them the tokenizer put there.
            segment: 0 or 1 for each.

        Returns:
            Tokens that read well as running text.

        Raises:
            TypeError: pieces are not a list of str.
            ValueError: columns of different lengths.
        """
        if (
            isinstance(pieces, str)
            or not hasattr(pieces, "__iter__")
            or not all(isinstance(piece, str) for piece in pieces)
        ):
            raise TypeError(f"tokens are {_shown(pieces)}; expected a list of str, one per token")
        flags = tuple(bool(flag) for flag in special) if special is not None else (False,) * len(pieces)
        text, gap = decode_pieces(pieces, flags)
        segments = tuple(int(number) for number in segment) if segment is not None else (0,) * len(pieces)
        return cls(tuple(pieces), tuple(text), tuple(gap), flags, segments)

    @classmethod
    def numbered(cls, count: int) -> Tokens:
        """Tokens nobody has named: "0", "1" ..."""
        return _numbered(count)

    def followed_by(self, names: Sequence[str]) -> Tokens:
        """These, and after them special tokens that stand for nothing in the text."""
        more = Tokens.from_pieces(names, special=[True] * len(names))
        return Tokens(
            self.pieces + more.pieces,
            self.text + more.text,
            (*self.gap, " ", *more.gap[1:]),
            self.special + more.special,
            self.segment + more.segment,
        )

    @property
    def running_text(self) -> str:
        """All of it, as it reads."""
        return "".join(gap + text for gap, text in zip(self.gap, self.text, strict=True))

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pieces)

    def __getitem__(self, part: slice) -> Tokens:
        """The tokens of a slice; the first keeps no gap before it."""
        gap = self.gap[part]
        first = ("",) if gap and (part.start or 0) > 0 else gap[:1]
        return Tokens(self.pieces[part], self.text[part], first + gap[1:], self.special[part], self.segment[part])

    def __repr__(self) -> str:
        return f"Tokens({self.running_text!r}, {len(self)} tokens)"


@lru_cache(maxsize=4)
def _numbered(count: int) -> Tokens:
    """Every stack of a capture without names asks for these."""
    names = tuple(map(str, range(count)))
    return Tokens(names, names, ("", *(" ",) * (count - 1))[:count], (False,) * count, (0,) * count)


def as_tokens(names: TokenNames) -> Tokens:
    """Tokens from what a person passes: Tokens already, or a list of names."""
    return names if isinstance(names, Tokens) else Tokens.from_pieces(names)


def each_tokens(names: TokenNames | Sequence[TokenNames]) -> tuple[Tokens, ...]:
    """One list of names for all examples, or a list of such lists, one per example."""
    if isinstance(names, (Tokens, str)) or not len(names) or isinstance(names[0], str):
        return (as_tokens(names),)  # type: ignore[arg-type]
    return tuple(as_tokens(example) for example in names)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:60]}..." if len(text) > len("..." * 21) else text
