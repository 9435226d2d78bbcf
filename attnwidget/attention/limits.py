"""How much memory may be used: one object, whose numbers anybody may set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Limits:
    """Bounds in bytes, for the whole process.

    Attributes:
        block_bytes: the largest block of weights held while a tile is pooled.
        cache_bytes: pooled tiles a view keeps in the kernel; those not used for longest are dropped first.
        capture_bytes: the most a capture may hold; half of the free memory if None.
        picture_bytes: the most that the picture beside a view takes in the notebook, which GitHub and mail show in its
            place; 0 for none.

    Examples:
        >>> limits.block_bytes == 64 << 20
        True
    """

    block_bytes: int = 64 << 20
    cache_bytes: int = 256 << 20
    capture_bytes: int | None = None
    picture_bytes: int = 30_000


limits = Limits()
