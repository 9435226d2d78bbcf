"""How much memory there is, and a refusal before it runs out."""

from __future__ import annotations

import os
from pathlib import Path

_KILO = 1024


def size_text(nbytes: float) -> str:
    """Bytes as people read them: "3.2 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if nbytes < _KILO or unit == "GB":
            return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= _KILO
    raise AssertionError


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
