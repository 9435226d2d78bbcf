"""A small world, told in sentences: what the model that ships was trained on. A seed gives the same text every time.

A text is one of six kinds. A *gift* has two people and one who gives: "when Mary and John went to the store, John
gave a drink to Mary." (the indirect objects of Wang et al. 2022, Interpretability in the Wild). A *present* has
people who want things: "here are the drink Mary wants and the ball John wants. Anna gave the ball to John." A *chant*
is random words, and the same words again (the repeated random sequences of Olsson et al. 2022); a *medley* is phrases
of random words, again and again in any order. A *verse* is sentences, and the same sentences again. A *story* has
things that are put somewhere, pronouns, and questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from attnwidget.smallworld.words import (
    ADJECTIVES,
    ANIMALS,
    COLOURS,
    CONTAINERS,
    FURNITURE,
    MOODS,
    NAMES,
    OBJECTS,
    PLACES,
    PRIZES,
    TOWNS,
    VOCABULARY,
    WAYS,
    WIDTHS,
    WOMEN,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

Split = Literal["train", "held out"]

_MEETINGS: Final = (
    "when {a} and {b} went to the {place}, ",
    "after {a} and {b} went to the {place}, ",
    "when {a} and {b} got to the {place}, ",
    "while {a} and {b} were working at the {place}, ",
    "then {a} and {b} had a long talk at the {place}, and ",
    "yesterday {a} and {b} met at the {place}. then ",
    "{a} and {b} sat in the {place}, and ",
)
_GIVING: Final = (
    "{giver} gave a {thing} to",
    "{giver} decided to give a {thing} to",
    "{giver} handed the {thing} to",
    "{giver} showed the {thing} to",
    "{giver} threw the {thing} to",
    "{giver} sold the {thing} to",
    "{giver} brought a {thing} to",
    "{giver} passed a {thing} to",
)


MIXED: Final = (7, 2, 5, 1.5, 1.5, 0)
"""Half of all words in chants and medleys; see `document`."""

_HANDING: Final = ("gave", "handed", "showed", "threw", "sold", "brought", "passed")


@dataclass(frozen=True)
class Gift:
    """A sentence that ends with the name of who gets something.

    Attributes:
        prompt: all of it but the last name and the full stop.
        receiver: who gets it, named once: the right name to go on with.
        others: who else is named.
    """

    prompt: str
    receiver: str
    others: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.prompt} {self.receiver}."


def gift(rng: Random, split: Split = "train") -> Gift:
    """Two people meet and one gives something to the other; who is named first and who gives are tossed for.

    Args:
        rng: where chance comes from.
        split: one pair of names in five is "held out": the model has never read a gift or a present with the two.

    Returns:
        The sentence; the giver is named twice.
    """
    a, b = _pair(rng, split)
    giver, receiver = rng.choice(((a, b), (b, a)))
    meeting = rng.choice(_MEETINGS).format(a=a, b=b, place=rng.choice(PLACES))
    prompt = meeting + rng.choice(_GIVING).format(giver=giver, thing=rng.choice(OBJECTS))
    return Gift(_articles(prompt), receiver, (giver,))


def present(rng: Random, split: Split = "train") -> Gift:
    """Two or three people want something each, and somebody else gives one of the things.

    Where a name stands does not tell whether it is the right one, and neither does what has been named since.

    Args:
        rng: where chance comes from.
        split: of the first two names, as for `gift`.

    Returns:
        The sentence; everybody is named once.
    """
    a, b = _pair(rng, split)
    c, giver = rng.sample([name for name in NAMES if name not in (a, b)], 2)
    people = [a, b, c][: rng.choice((2, 3))]
    meant = list(zip(rng.sample(OBJECTS, len(people)), people, strict=True))
    wants = rng.choice(("wants", "likes", "lost", "found", "made"))
    *most, last = [f"the {thing} {name} {wants}" for thing, name in meant]
    thing, receiver = rng.choice(meant)
    here = rng.choice(("here are", "these are", f"at the {rng.choice(PLACES)} are"))
    prompt = f"{here} {', '.join(most)} and {last}. {giver} {rng.choice(_HANDING)} the {thing} to"
    return Gift(prompt, receiver, (*(name for name in people if name != receiver), giver))


def chant(rng: Random, length: int | None = None) -> str:
    """Random words of the world, and the same again.

    Args:
        rng: where chance comes from.
        length: words in one pass, all different; 2 to 40 if None, few more often than many.

    Returns:
        The words, with a space between two.
    """
    words = rng.sample(VOCABULARY, round(2 * 20 ** rng.random()) if length is None else length)
    return " ".join(words * 2)


def medley(rng: Random) -> str:
    """Two to five phrases of random words, in any order, again and again, in 20 to 100 words.

    What comes next is told by what came after the same word, never by how far back it stands.
    """
    words = rng.sample(VOCABULARY, 60)
    ends = [rng.randint(2, 12) for _ in range(rng.randint(2, 5))]
    phrases = [words[sum(ends[:place]) : sum(ends[: place + 1])] for place in range(len(ends))]
    told: list[str] = []
    length = rng.randint(20, 100)
    while len(told) < length:
        told += rng.choice(phrases)
    return " ".join(told)


def verse(rng: Random) -> str:
    """One to three sentences, told twice or three times, sometimes with another one in between."""
    told = [sentence(rng) for _ in range(rng.randint(1, 3))]
    between = [sentence(rng)] if rng.random() < 0.3 else []  # noqa: PLR2004 - some of them
    lines = told + between + told
    return " ".join(lines + told if rng.random() < 0.25 else lines)  # noqa: PLR2004 - a few


def story(rng: Random) -> str:
    """One to three scenes."""
    return " ".join(rng.choice(_SCENES)(rng) for _ in range(rng.randint(1, 3)))


def sentence(rng: Random) -> str:
    """One scene, a gift or a present."""
    return rng.choice((gift, present))(rng).text if rng.random() < 0.4 else rng.choice(_SCENES)(rng)  # noqa: PLR2004 - some of them


def document(rng: Random, weights: Sequence[float] = MIXED) -> str:
    """A text of any kind, of about 5 to 180 words.

    Args:
        rng: where chance comes from.
        weights: how often it is one to three gifts and presents, a chant, a medley, a verse, a story, or one gift.

    Returns:
        The text.
    """
    kinds: tuple[Callable[[Random], str], ...] = (_gifts, chant, medley, verse, story, lambda rng: gift(rng).text)
    return rng.choices(kinds, weights)[0](rng)


def _gifts(rng: Random) -> str:
    return " ".join(rng.choice((gift, present))(rng).text for _ in range(rng.choice((1, 1, 2, 3))))


def _pair(rng: Random, split: Split) -> tuple[str, str]:
    """Two names that may be together in a half."""
    while True:
        a, b = rng.sample(NAMES, 2)
        if ((NAMES.index(a) + NAMES.index(b)) % 5 == 0) == (split == "held out"):
            return a, b


def _articles(text: str) -> str:
    for word in ("apple", "old"):
        text = text.replace(f" a {word}", f" an {word}")
    return text


def _he(name: str) -> tuple[str, str]:
    """The pronouns of somebody: he or she, his or her."""
    return ("she", "her") if name in WOMEN else ("he", "his")


def _errand(rng: Random) -> str:
    name, thing = rng.choice(NAMES), rng.choice(OBJECTS)
    he, _ = _he(name)
    place, there = rng.sample(PLACES, 2)
    where = f"{rng.choice(('on', 'under', 'near', 'behind'))} the {rng.choice(FURNITURE)}"
    return (
        f"{name} took the {thing} to the {place}. {he} put it {where}. then {he} went to the {there}. "
        f"where is the {thing}? it is {where}. where is {name}? {he} is at the {there}."
    )


def _homes(rng: Random) -> str:
    (one, other), (here, there) = rng.sample(NAMES, 2), rng.sample(TOWNS, 2)
    asked, town = rng.choice(((one, here), (other, there)))
    he, his = _he(one)
    return (
        f"{one} lives in {here}. {he} likes {his} {rng.choice(OBJECTS)}. {other} lives in {there}. "
        f"where does {asked} live? {asked} lives in {town}."
    )


def _colours(rng: Random) -> str:
    (one, other), (this, that) = rng.sample(OBJECTS, 2), rng.sample(COLOURS, 2)
    asked, colour = rng.choice(((one, this), (other, that)))
    return f"the {one} is {this} and the {other} is {that}. what colour is the {asked}? it is {colour}."


def _too(rng: Random) -> str:
    if rng.random() < 0.5:  # noqa: PLR2004 - a coin
        what = rng.choice(MOODS + WIDTHS)
        return f"the {rng.choice(ANIMALS)} didn't cross the {rng.choice(WAYS)} because it was too {what}."
    prize, box = rng.choice(PRIZES), rng.choice(CONTAINERS)
    return f"the {prize} doesn't fit in the {box} because it is too {rng.choice(('large', 'small', 'big'))}."


def _meeting(rng: Random) -> str:
    name, animal = rng.choice(NAMES), rng.choice(ANIMALS)
    he, his = _he(name)
    return _articles(
        f"{name} saw a {rng.choice(ADJECTIVES)} {animal} near the {rng.choice(PLACES)}. "
        f"{he} told {his} {rng.choice(('friend', 'sister', 'brother', 'mother', 'father'))} about the {animal}."
    )


_SCENES: Final[tuple[Callable[[Random], str], ...]] = (_errand, _homes, _colours, _too, _meeting)
