"""A page of a browser whose requests to the network and whose errors are noted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


@dataclass
class Watched:
    """A page, and what was noted so far."""

    page: Page
    outside: list[str] = field(default_factory=list)
    """Addresses outside this machine that were asked for."""
    errors: list[str] = field(default_factory=list)
    """Errors that nothing caught."""


@contextmanager
def watched_page(browser: Browser) -> Iterator[Watched]:
    """A page of 1400 x 1000 CSS pixels in a light system, in a context of its own that ends with the block."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    watched = Watched(page)

    def asked(url: str) -> None:
        if not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            watched.outside.append(url)

    page.on("request", lambda request: asked(request.url))
    page.on("websocket", lambda socket: asked(socket.url))
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    yield watched
    context.close()
