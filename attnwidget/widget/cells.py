"""Closes the widgets that a notebook cell left behind when it is run again, so that their captures are freed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from attnwidget.widget.widget import AttentionWidget


@dataclass
class _Life:
    """Where a widget was made and shown: cells by id, runs counted."""

    made_in: str
    made_at: int
    shown_in: set[str] = field(default_factory=set)
    shown_at: int = -1


class CellWidgets:
    """The widgets of one IPython shell, by the cell that made them.

    A widget is closed after its cell ran again, if it was shown, only in that cell, and not once more in this run: its
    output has then been cleared, and the page holds no view of it.
    """

    def __init__(self, shell: Any) -> None:  # noqa: ANN401 - IPython ships no types
        self._shell = shell
        self._run = 0
        self._lives: WeakKeyDictionary[AttentionWidget, _Life] = WeakKeyDictionary()
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    def made(self, widget: AttentionWidget) -> None:
        """Remember which cell made a widget."""
        cell = self._cell()
        if cell is not None:
            self._lives[widget] = _Life(cell, self._run)

    def shown(self, widget: AttentionWidget) -> None:
        """Remember which cell showed a widget."""
        life, cell = self._lives.get(widget), self._cell()
        if life is not None:
            life.shown_in.add(cell or "")
            life.shown_at = self._run

    def _before(self, *_: object) -> None:
        self._run += 1

    def _after(self, *_: object) -> None:
        cell = self._cell()
        for widget, life in list(self._lives.items()):
            if life.made_in == cell and life.shown_in == {cell} and self._run not in (life.made_at, life.shown_at):
                del self._lives[widget]
                widget.close()

    def _cell(self) -> str | None:
        """The id the host gives the running cell; None in hosts that give none, where nothing is closed."""
        kernel = getattr(self._shell, "kernel", None)
        parent = kernel.get_parent("shell") if kernel is not None else {}
        cell = (parent or {}).get("metadata", {}).get("cellId")
        return cell if isinstance(cell, str) else None


_BY_SHELL: WeakKeyDictionary[Any, CellWidgets] = WeakKeyDictionary()


def cell_widgets() -> CellWidgets | None:
    """The widgets of the shell this code runs in; None outside a notebook kernel."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return None
    if shell not in _BY_SHELL:
        _BY_SHELL[shell] = CellWidgets(shell)
    return _BY_SHELL[shell]
