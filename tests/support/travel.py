"""Travelling through a long head: zooming in on a pair, and what the page holds and receives meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heatmap import cell

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, WebSocket

LONG_CAPTURE = """
import torch, transformers, attnwidget as aw
torch.manual_seed(0)
words = (
    "the of and to in a is that for it was on with as be at by this had not are but from or have an they which one you "
    "were all her she there would their we him been has when who will no more if out so up said what its about than "
    "into them can only other time new some could these two may first then do"
).split()
config = transformers.GPT2Config(
    vocab_size=len(words), n_positions={tokens}, n_embd=128, n_layer=2, n_head=2, initializer_range=0.18,
    use_cache=False,
)
model = transformers.GPT2Model(config).eval()
ids = torch.randint(0, len(words), (1, {tokens}))
with torch.no_grad(), aw.capture(model, tokens=[words[i] for i in ids[0].tolist()]) as cap:
    model(ids)
view = cap.show(layer=1, head=0)
"""
"""One run over a long text of random words: 2 layers of 2 heads of 64."""


def zoom_to(view: Locator, query: int, key: int, steps: int, most: int = 32) -> None:
    """Zoom in on a pair with ctrl and the wheel, in equal steps, until about `most` tokens a side are left."""
    page = view.page
    start = spans(view)
    for step in range(1, steps + 1):
        goal = start * (most / start) ** (step / steps)
        for _ in range(40):
            if spans(view) <= goal * 1.05:
                break
            page.mouse.move(*cell(view, query, key))
            page.keyboard.down("Control")
            page.mouse.wheel(0, -60)
            page.keyboard.up("Control")
            page.wait_for_timeout(30)
        settled(view)


def spans(view: Locator) -> float:
    """Keys in sight."""
    shown = view.get_attribute("data-window") or ""
    if not shown:
        shown = view.get_attribute("data-whole") or ""
    first, last = shown.split(",")[2:]
    return float(last) - float(first)


def settled(view: Locator, timeout: float = 60_000) -> None:
    """Wait until everything in sight is drawn from real data."""
    view.page.wait_for_timeout(350)  # a gesture is committed when it has come to rest
    view.and_(view.page.locator('[data-ready="true"]')).wait_for(timeout=timeout)


def nodes(page: Page) -> int:
    """Elements of all views on a page."""
    count: int = page.evaluate(
        """() => [...document.querySelectorAll('.attnwidget')]
            .reduce((sum, host) => sum + host.shadowRoot.querySelectorAll('*').length, 0)"""
    )
    return count


def heap(page: Page) -> int:
    """Bytes of JavaScript objects of the whole page, after a garbage collection; typed arrays come on top."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: int = session.send("Runtime.getHeapUsage")["usedSize"]
    backing: int = session.send("Runtime.getHeapUsage").get("backingStorageSize", 0)
    session.detach()
    return used + backing


class Traffic:
    """Bytes that arrive over the page's web sockets."""

    def __init__(self, page: Page) -> None:
        self.received = 0
        page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._count)

    def _count(self, payload: bytes | str) -> None:
        self.received += len(payload)
