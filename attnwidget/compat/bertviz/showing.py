"""What BertViz's functions do with a view: show it, or hand it on as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnwidget.compat.bertviz.arguments import numbers_of

if TYPE_CHECKING:
    from attnwidget.attention import AttentionCapture

_ACTIONS = ("view", "return")
_MODES = ("dark", "light")


def check_action(html_action: str) -> None:
    """Raise a ValueError unless this is one of BertViz's actions."""
    if html_action not in _ACTIONS:
        raise ValueError(f"html_action is {html_action!r}; expected 'view' or 'return'")


def theme_of(display_mode: str) -> str:
    """The theme that a display mode of BertViz means."""
    if display_mode not in _MODES:
        raise ValueError(f"display_mode is {display_mode!r}; expected 'dark' or 'light'")
    return display_mode


def place_of(layer: int | None, capture: AttentionCapture) -> int:
    """Where the first stack has a layer of this number; 0 if None."""
    numbers = numbers_of(next(iter(capture.stacks.values())))
    if layer is None:
        return 0
    if layer not in numbers:
        raise ValueError(f"layer is {layer}, which is not among the layers that are shown: {numbers}")
    return numbers.index(layer)


def heads_of(heads: list[int] | None, capture: AttentionCapture) -> list[int]:
    """The heads drawn together; all of the first stack if None."""
    count = next(iter(capture.stacks.values())).n_heads
    chosen = list(range(count)) if heads is None else sorted({int(head) for head in heads})
    if not chosen or chosen[0] < 0 or chosen[-1] >= count:
        raise ValueError(f"heads is {heads}; expected some of the heads 0 to {count - 1}, or None for all")
    return chosen


def put_out(capture: AttentionCapture, html_action: str, **traits: Any) -> Any:  # noqa: ANN401 - IPython has no types
    """Show a view in the cell's output, or return it as an IPython HTML object that needs no kernel."""
    from IPython.display import HTML, display

    view = capture.show(**traits)
    if html_action == "view":
        display(view)
        return None
    try:
        return HTML(view.static().html)
    finally:
        view.close()
