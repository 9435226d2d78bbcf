"""Whether what a capture does not hold is named in its notes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SAYS = ("no attention of", "no softmax attention", "not in this capture")
_OTHER_KIND = "no softmax attention"


def naming_notes(notes: Iterable[str]) -> list[str]:
    """Those that name what is not held."""
    return [note for note in notes if any(words in note for words in _SAYS)]


def names_attention(note: str) -> bool:
    """Whether what a note names is attention, and no layer of another kind."""
    return _OTHER_KIND not in note


def is_named(lost: str, notes: Iterable[str]) -> bool:
    """Whether one of these notes is about something that is missing: by its path, where it has one."""
    path = re.search(r"of (\S+\.\S+)", lost)
    return any(path is None or _is_about(note, path[1]) for note in notes)


def _is_about(note: str, path: str) -> bool:
    """A note names one path, or one for many: numbers in it stand for any number."""
    place = re.search(r"first in (\S+)", note) or re.search(r"^(\S+)", note)
    if place is None:
        return False
    pattern = re.sub(r"\\\*|(?<!\w)\d+(?!\w)", r"\\d+", re.escape(place[1]))
    return bool(re.match(pattern, path)) or place[1].startswith(f"{path}.")


def not_seen(witnessed: Mapping[tuple[str, str], int], captured: Iterable[str]) -> list[str]:
    """What the witness saw and a capture of these paths has not."""
    paths = set(captured)
    return [
        f"attention of {path or 'the model'} ({how}, {count} calls)"
        for (path, how), count in witnessed.items()
        if not any(path == one or one.startswith(f"{path}.") or path.startswith(f"{one}.") for one in paths)
    ]
