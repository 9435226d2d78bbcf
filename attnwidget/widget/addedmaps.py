"""The maps that a view has been given: which of them fit what it shows, and what of them is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.widget.finder import FINDS, MOVED
from attnwidget.widget.headmaps import HeadMap, head_maps
from attnwidget.widget.parsing import RequestError, integer, parse_place
from attnwidget.widget.tilecache import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attnwidget.attention import AttentionCapture
    from attnwidget.widget.live import Text

_BUILT_IN = frozenset(name for name, _, _ in (*FINDS, MOVED))


class AddedMaps:
    """Maps by the names under which they were given, of which a survey has many."""

    def __init__(self) -> None:
        self._given: dict[str, list[tuple[int, HeadMap, Text]]] = {}
        self._count = 0

    def add(self, capture: AttentionCapture, shown: str, text: Text, name: str, thing: object, **words: object) -> None:
        """Add what is given under a name, in the place of what was there.

        Args:
            capture: that the view shows.
            shown: the stack that it shows.
            text: of a live view, the text that it shows.
            name: of the map, or before the names of several.
            thing: as for `head_maps`.
            **words: as for `head_maps`.

        Raises:
            ValueError: the name is that of a measure or of another map. Otherwise as `head_maps`.
            TypeError: as `head_maps`.
        """
        made = head_maps(name, thing, stacks=dict(capture.stacks), shown=shown, **words)  # type: ignore[arg-type]
        others = {each.name for key, maps in self._given.items() if key != name for _, each, _ in maps}
        for each in made:
            if each.name in _BUILT_IN:
                raise ValueError(
                    f"map {each.name!r} has the name of a measure that every view has: give it another one"
                )
            if each.name in others:
                raise ValueError(f"map {each.name!r} has the name of another map of this view: give it another one")
        numbers = range(self._count, self._count + len(made))
        self._count += len(made)
        self._given = {**self._given, name: [(n, each, text) for n, each in zip(numbers, made, strict=True)]}

    def remove(self, name: str) -> None:
        """Take away what was given under a name.

        Raises:
            KeyError: nothing was.
        """
        if name not in self._given:
            known = ", ".join(map(repr, self._given)) or "none"
            raise KeyError(f"there is no map {name!r}: this view was given {known}")
        self._given = {key: maps for key, maps in self._given.items() if key != name}

    def names(self, capture: AttentionCapture, stack: str) -> list[str]:
        """Of the maps that fit a stack of a capture."""
        return [each["name"] for each in self.described(capture) if each["stack"] == stack and "why" not in each]

    def described(self, capture: AttentionCapture) -> list[dict[str, Any]]:
        """What the page hears of them, as the README beside this file says: all but numbers and long texts."""
        found = []
        for number, each, _ in self._all():
            if each.stack not in capture.stacks:
                continue
            told = {
                "id": number, "name": each.name, "stack": each.stack, "title": each.title, "unit": each.unit,
                "signed": each.signed, "label": each.label or each.title, "over": each.over, "lacking": each.lacking,
            }  # fmt: skip
            fit = each.on(capture.stacks[each.stack])
            found.append({**told, "why": fit} if isinstance(fit, str) else told)
        return found

    def about(self, stack: str, text: Text) -> dict[str, list[str]]:
        """Of each map of a stack what it is, where it comes from and what it cannot show, by name: paragraphs."""
        return {
            each.name: [*each.about, *(_of_another(text, made) if each.of_one_run else ())]
            for _, each, made in self._all()
            if each.stack == stack
        }

    def answer(self, capture: AttentionCapture, params: Mapping[str, Any]) -> Reply:
        """The numbers of one map, cut to the heads of the capture, and then how far they vary."""
        stack, _ = parse_place(capture, params)
        wanted = integer(params, "map")
        one = next((each for number, each, _ in self._all() if number == wanted and each.stack == stack.name), None)
        fit = "it is not there any more" if one is None else one.on(stack)
        if one is None or isinstance(fit, str):
            raise RequestError("superseded", f"map {wanted}: {fit}")
        tables = [one.values[fit]] if one.spread is None else [one.values[fit], one.spread[fit]]
        with np.errstate(over="ignore"):  # infinite is what the page makes of it anyway
            body = np.stack(tables).astype("<f4").tobytes()
        return Reply({"layers": stack.n_layers, "heads": stack.n_heads, "tables": len(tables)}, [body])

    def _all(self) -> list[tuple[int, HeadMap, Text]]:
        return [each for maps in self._given.values() for each in maps]


def _of_another(text: Text, made: Text) -> tuple[str, ...]:
    if text == made:
        return ()
    shown = made if isinstance(made, str) else " / ".join(made)
    return (f"Of another run than the one shown: it was added with the text “{shown[:80]}{'…' * (len(shown) > 80)}”.",)  # noqa: PLR2004
