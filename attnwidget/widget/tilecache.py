"""What was computed for the page, kept in the kernel: least recently used goes first, within a byte budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from attnwidget.attention.limits import limits

if TYPE_CHECKING:
    from collections.abc import Hashable

_ENTRY_BYTES = 1000
"""What an entry takes beside its buffers."""


@dataclass(frozen=True)
class Reply:
    """One result as it is sent: JSON, and the buffers that go with it."""

    content: dict[str, Any]
    buffers: list[bytes] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        """What it takes to keep."""
        return _ENTRY_BYTES + sum(map(len, self.buffers))


class TileCache:
    """Replies by what was asked, at most `limits.cache_bytes` of them."""

    def __init__(self) -> None:
        self._replies = self._empty()

    def get(self, request: Hashable) -> Reply | None:
        """The reply, if it is still here."""
        found: Reply | None = self._replies.get(request)
        return found

    def put(self, request: Hashable, reply: Reply) -> None:
        """Keep a reply, and let go of others that were not used for long."""
        if self._replies.maxsize != limits.cache_bytes:  # the person has set another limit
            old, self._replies = self._replies, self._empty()
            for known, kept in old.items():
                self._keep(known, kept)
        self._keep(request, reply)

    @property
    def n_bytes(self) -> int:
        """Kept now."""
        return int(self._replies.currsize)

    def clear(self) -> None:
        """Let go of everything."""
        self._replies.clear()

    def _keep(self, request: Hashable, reply: Reply) -> None:
        if reply.n_bytes <= self._replies.maxsize:
            self._replies[request] = reply

    @staticmethod
    def _empty() -> LRUCache[Hashable, Reply]:
        return LRUCache(limits.cache_bytes, getsizeof=lambda reply: reply.n_bytes)
