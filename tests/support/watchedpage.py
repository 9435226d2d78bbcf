"""A page of a browser whose requests to the network and whose errors are noted."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

_ANSWERED_HERE = ".127.0.0.1.test"
"""Names of hosts that a test plays itself (colabhost.py): no request for them leaves the browser."""


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
        address = urlsplit(url)
        host = address.hostname or ""
        if address.scheme not in ("data", "blob") and host != "127.0.0.1" and not host.endswith(_ANSWERED_HERE):
            watched.outside.append(url)

    page.on("request", lambda request: asked(request.url))
    page.on("websocket", lambda socket: asked(socket.url))
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    yield watched
    context.close()
