"""Looks fields up in configs that may hold them anywhere."""

from __future__ import annotations

from typing import Any

from sweep.shrink import get, is_config

_TOWERS = {
    "image": ("vision_config", "vit_config", "image_config", "backbone_config", "encoder"),
    "audio": ("audio_config", "encoder_config", "audio_encoder"),
}


def of(config: Any, name: str, default: Any = None, *, tower: str = "") -> Any:
    """A field of a config, or of a config inside it: of one tower, or of any."""
    for inner in _TOWERS.get(tower, ()):
        part = getattr(config, inner, None)
        if is_config(part) and (value := of(part, name)) is not None:
            return value
    value = get(config, name)
    if value is not None:
        return value
    for key, part in vars(config).items():
        if is_config(part) and not key.startswith("_") and (value := of(part, name)) is not None:
            return value
    return default
