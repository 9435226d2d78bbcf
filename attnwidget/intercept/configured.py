"""Numbers that a model's config tells."""

from __future__ import annotations

from typing import Any


def configured(config: Any, *names: str) -> int | None:  # noqa: ANN401 - transformers ships no types we use
    """The first of these attributes that a config has, if it is one number above 0."""
    for name in names:
        try:
            value = getattr(config, name)
        except Exception:  # noqa: BLE001, S112 - not only AttributeError, see `differs`
            continue
        return value if isinstance(value, int) and value > 0 else None
    return None


def differs(config: Any, *names: str) -> bool:  # noqa: ANN401 - as above
    """Whether one of these attributes differs from layer to layer.

    Configs of such models (Gemma 4) hold no one number, and raise an error of their own where they are asked for it.
    """
    try:
        for name in names:
            getattr(config, name, None)
    except Exception:  # noqa: BLE001 - transformers' own kind, which older versions do not have
        return True
    return False
