"""Pointing at things in a view the way a person does: with the mouse, at the pixels where they are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator


def cell(view: Locator, query: int, key: int) -> tuple[float, float]:
    """Where on the page the middle of a cell of the heatmap is, which is scrolled to."""
    canvas = view.locator('canvas[data-panel="heatmap"]')
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    left, top = map(float, (canvas.get_attribute("data-origin") or "").split(","))
    width, height = map(float, (canvas.get_attribute("data-cell") or "").split(","))
    window = [float(end) for end in (view.get_attribute("data-window") or "").split(",") if end]
    first_query, first_key = (window[0], window[2]) if window else (0, 0)
    x = box["x"] + left + (key - first_key + 0.5) * width
    return x, box["y"] + top + (query - first_query + 0.5) * height


def hover(view: Locator, query: int, key: int) -> None:
    """Move the mouse over a cell of the heatmap and wait until the view says so."""
    view.page.mouse.move(*cell(view, query, key), steps=3)
    focused(view, query, key)


def click(view: Locator, query: int, key: int) -> None:
    """Click a cell of the heatmap."""
    view.page.mouse.click(*cell(view, query, key))


def leave(view: Locator) -> None:
    """Move the mouse off the view, and wait until the hover has fallen back to the lock."""
    view.page.mouse.move(2, 2, steps=2)
    view.page.wait_for_timeout(400)


def focused(view: Locator, query: int | None, key: int | None) -> None:
    """Wait until the focused query and key are these."""
    attribute(view, "data-query", "" if query is None else str(query))
    attribute(view, "data-key", "" if key is None else str(key))


def attribute(view: Locator, name: str, value: str) -> None:
    """Wait until the view has an attribute of this value."""
    expect(view).to_have_attribute(name, value, timeout=10_000)


def panel(view: Locator, name: str) -> Locator:
    """One panel of a view."""
    return view.locator(f'section[data-name="{name}"]')
