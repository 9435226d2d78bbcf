"""What the tokens of each stack are called, and what of them is padding."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from attnwidget.attention import Tokens
from attnwidget.attention.tokens import TokenNames, each_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention.stack import Span
    from attnwidget.intercept.passes.outcome import Outcome

_OTHER = {"vision", "audio", "qformer", "resampler"}
"""Stacks that look from something else than text, which may be as many by chance."""


@dataclass(frozen=True)
class Axis:
    """Names of the tokens along an axis, per example, and what of it is not padding.

    Attributes:
        tokens: one for all examples, or one per example, padding included. Those that a person gave may leave it out.
        spans: per example, where padding ends and begins again; None: there is none.
        width: positions that the spans are counted in; None: as many as there are names.
        is_given: a person gave the names, and must be told if they do not fit; others are only offered.
    """

    tokens: tuple[Tokens, ...]
    spans: tuple[Span, ...] | None = None
    width: int | None = None
    is_given: bool = False

    def fits(self, length: int, n_examples: int) -> bool:
        """Whether these are names of so many positions."""
        if self.width is not None and self.width != length:
            return False
        if not self.is_given and self.spans is not None and len(self.spans) != n_examples:
            return False
        return self.is_given or (len(self.tokens[0]) == length and len(self.tokens) in (1, n_examples))

    @property
    def tells(self) -> bool:
        """Whether more is said than numbers would say."""
        numbered = Tokens.numbered(max(map(len, self.tokens)))
        is_whole = self.spans is None or all(span == (0, len(self.tokens[0])) for span in self.spans)
        return not is_whole or any(names != numbered[: len(names)] for names in self.tokens)


@dataclass(frozen=True)
class Naming:
    """Names for what is looked from and at.

    Attributes:
        queries: tokens of the sequence; of the decoder in an encoder-decoder.
        keys: tokens of the other sequence: the encoder's, where there is one.
        roles: tokens for one stack only, by its name; None: numbered.
    """

    queries: Axis | None = None
    keys: Axis | None = None
    roles: dict[str, Axis | None] = field(default_factory=dict)

    @classmethod
    def from_names(
        cls,
        tokens: TokenNames | Sequence[TokenNames] | None,
        key_tokens: TokenNames | Sequence[TokenNames] | None,
    ) -> Naming:
        """From what a person passes."""
        return cls(name_axis(tokens), name_axis(key_tokens))


@dataclass(frozen=True)
class Shape:
    """What a stack looks from and at.

    Attributes:
        name: of the stack.
        role: what kind of stack it is: "self", "encoder", "cross" ...
        n_examples: in it.
        n_queries: of each.
        n_keys: of each, those aside that stand for no token.
        extra: names of those.
    """

    name: str
    role: str
    n_examples: int
    n_queries: int
    n_keys: int
    extra: tuple[str, ...] = ()


def names_of_run(names: Naming, outcome: Outcome | None) -> Naming:
    """Names as a person gave them; of a generation, tokens that a sequence had no more are cut off."""
    if outcome is None or (outcome.ends == outcome.n_rows).all():
        return names
    queries = names.queries or Axis((Tokens.numbered(outcome.n_rows),))
    axis = replace(queries, spans=tuple((0, int(end)) for end in outcome.ends))
    return Naming(axis, names.keys, {"encoder": names.keys or names.queries, **names.roles})


def name_axis(names: TokenNames | Sequence[TokenNames] | None) -> Axis | None:
    """One list of names for all examples, or one per example."""
    return None if names is None else Axis(each_tokens(names), is_given=True)


def axes_of(shape: Shape, naming: Naming, notes: dict[str, None], *, aside: bool) -> tuple[Axis | None, Axis | None]:
    """Names for queries and keys of a stack; None for keys that are the queries, and for numbers.

    Args:
        shape: of the stack.
        naming: of the run.
        notes: where names that were offered do not fit, a sentence is added here.
        aside: the stack stands beside others, and may be a tower over something else (patches, frames), or sum the
            sequence up: that names do not fit is no news.
    """
    n_queries, n_keys = shape.n_queries, shape.n_keys

    def fitting(axis: Axis | None, length: int, what: str) -> Axis | None:
        if axis is None or axis.fits(length, shape.n_examples):
            return axis
        if axis.is_given:  # in full, which is refused if it is of another length
            return replace(axis, spans=None, width=None)
        if axis.tells:
            notes[_unnamed(shape, axis, length, what)] = None
        return None

    if shape.role in naming.roles:
        queries, keys = fitting(naming.roles[shape.role], n_queries, "queries"), None
    elif shape.role == "cross":
        queries, keys = fitting(naming.queries, n_queries, "queries"), fitting(naming.keys, n_keys, "keys")
        keys = keys or Axis((Tokens.numbered(n_keys),))  # not the queries, even where there are as many
    elif shape.role == "encoder":
        queries, keys = fitting(naming.keys or _if_given(naming.queries), n_queries, "queries"), None
    elif not aside:
        queries = fitting(naming.queries, n_queries, "queries")
        keys = fitting(naming.keys, n_keys, "keys") if n_queries != n_keys else None
    else:
        sees_text = not _OTHER.intersection(shape.role.split("-"))
        offered = [axis if sees_text else _if_given(axis) for axis in (naming.keys, naming.queries)]
        queries = _of_length(offered[1:], n_queries, shape)
        keys = None if n_queries == n_keys else _of_length(offered, n_keys, shape)
    if shape.extra:
        known = keys or (queries if n_queries == n_keys else None)
        keys = _followed(known or Axis((Tokens.numbered(n_keys),)), shape.extra)
    return queries, keys


def _if_given(axis: Axis | None) -> Axis | None:
    """Names that a person gave may be those of anything."""
    return axis if axis is not None and axis.is_given else None


def _of_length(offered: Sequence[Axis | None], length: int, shape: Shape) -> Axis | None:
    """The first that has as many names."""
    known = (axis for axis in offered if axis is not None)
    return next((axis for axis in known if len(axis.tokens[0]) == length and axis.fits(length, shape.n_examples)), None)


def _unnamed(shape: Shape, axis: Axis, length: int, what: str) -> str:
    if len(axis.tokens) not in (1, shape.n_examples):
        seen = f"{shape.n_examples} examples, and there are names for {len(axis.tokens)}"
    else:
        width = len(axis.tokens[0]) if axis.width is None else axis.width
        seen = f"{length} {what}, and the tokens or the mask that were given are {width}"
    return (
        f"stack {shape.name!r} has {seen}: its {what} are numbered, and no padding is cut off (tokens= and key_tokens= "
        "name them)"
    )


def _followed(axis: Axis, extra: tuple[str, ...]) -> Axis:
    """Keys that the module adds after those of the tokens, which padding before them cannot be cut from."""
    tokens = tuple(names.followed_by(extra) for names in axis.tokens)
    spans = axis.spans
    if spans is not None:
        spans = tuple((start, len(names)) for names, (start, _) in zip(tokens, spans, strict=True))
    return Axis(tokens, spans, is_given=axis.is_given)
