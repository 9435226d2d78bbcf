"""How much memory there is, and a refusal before it runs out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_KILO = 1024
MEMORY, DISK = "memory", "disk"
"""Where bytes are, if not on a device."""


def size_text(nbytes: float) -> str:
    """Bytes as people read them: "3.2 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if nbytes < _KILO or unit == "GB":
            return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= _KILO
    raise AssertionError


def held_text(held: Mapping[str, int]) -> str:
    """Bytes by where they are, as people read them: "3.2 MB", "0.1 MB in memory, 3.2 MB on disk"."""
    places = {place: nbytes for place, nbytes in held.items() if nbytes}
    if places.keys() <= {MEMORY}:
        return size_text(places.get(MEMORY, 0))
    return ", ".join(
        f"{size_text(nbytes)} {'in' if place == MEMORY else 'on'} {place}" for place, nbytes in places.items()
    )


def not_on_disk(held: Mapping[str, int]) -> int:
    """Of bytes by where they are, those in memory and on devices."""
    return sum(nbytes for place, nbytes in held.items() if place != DISK)


def free_bytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * _KILO
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_fits(nbytes: int, shape: tuple[int, ...]) -> None:
    """Refuse an answer that would take more than half of the free memory."""
    free = free_bytes()
    if free is not None and nbytes > free // 2:
        raise MemoryError(
            f"an array {shape} takes {size_text(nbytes)}, more than half of the {size_text(free)} that are free: "
            "ask for one layer, one head, a range of queries and keys, or a pooled tile with cap.tile(...)"
        )
