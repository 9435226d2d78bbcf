"""What travels with a widget, in its trait `embed`."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any


def unpacked(embed: bytes) -> tuple[dict[str, Any], bytes]:
    """The header, and the codes of the tiles one after another."""
    raw = zlib.decompress(embed)
    (length,) = struct.unpack_from("<I", raw)
    return json.loads(raw[4 : 4 + length]), raw[4 + length :]


def in_full(embed: bytes) -> list[list[int]]:
    """Layer and head of each head that travels at full detail."""
    header, _ = unpacked(embed)
    return [[tile["layer"], tile["head"]] for tile in header["tiles"] if tile["dtype"] == "u16"]
