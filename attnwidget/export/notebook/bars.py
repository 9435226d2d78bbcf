"""Progress bars of tqdm, which loading a model leaves in a notebook as widgets: on a page they are a line of text."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTS = ["HTMLModel", "FloatProgressModel", "HTMLModel"]


def bar_text(model_id: str, models: Mapping[str, Any]) -> str | None:
    """What a bar says: "Loading weights: 100% 103/103 [00:00<00:00, 611.30it/s]".

    Args:
        model_id: of a widget.
        models: the state of every widget, by id.

    Returns:
        The text, or None where the widget is something else.
    """
    try:
        names = models[model_id]["state"]["children"]
        parts = [models[name.removeprefix("IPY_MODEL_")] for name in names]
        if [part["model_name"] for part in parts] != _PARTS:
            return None
        words = [str(part["state"].get("value", "")) for part in (parts[0], parts[2])]
    except (KeyError, TypeError, AttributeError):
        return None
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", each)).strip() for each in words).strip()
