"""The line of Python that shows the same view again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def python_line(state: Mapping[str, object], defaults: Mapping[str, object], names: Iterable[str]) -> str:
    """`cap.show(layer=3, head=5)`: the traits that differ from their defaults, in order.

    Args:
        state: the traits as they are.
        defaults: the traits of a view that was given none.
        names: which traits, in which order.
    """
    given = [f"{name}={state[name]!r}" for name in names if state[name] != defaults[name]]
    return f"cap.show({', '.join(given)})"
