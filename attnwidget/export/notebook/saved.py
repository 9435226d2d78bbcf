"""A view as a notebook keeps it: the state that Jupyter saves of a widget, checked, and made into a piece of a page."""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnwidget.widget.protocol import PROTOCOL_VERSION, THUMBNAIL
from attnwidget.widget.viewtraits import SETTABLE, ViewTraits

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = "AttentionWidget"
"""What the class of our widgets is called, in the state of one and in the text beside it."""
_SIDES = ("width", "height", "min_width", "max_width", "min_height", "max_height", "margin")
_LENGTH = re.compile(r"[\w.%() +*-]{1,60}")
_LONGEST_HEADER = 2**24
"""Bytes of the list of heads in what is embedded; a real one has some hundred for each head."""


class SavedViewError(ValueError):
    """A view cannot be shown from what was saved of it; the text says why."""


@dataclass(frozen=True)
class SavedView:
    """A view as it was saved.

    Attributes:
        state: its traits, without `embed`.
        weights: the `embed` trait.
        words: what is stored of its heads, in a sentence.
        summary: what it is of, in a sentence.
        style: of the place where it is shown, as CSS.
    """

    state: dict[str, Any]
    weights: bytes
    words: str
    summary: str
    style: str

    @classmethod
    def of(cls, model_id: str, models: Mapping[str, Any]) -> SavedView:
        """Read a view from the widget state of a notebook.

        Args:
            model_id: of its widget.
            models: the state of every widget, by id.

        Raises:
            SavedViewError: it is not there, or of another version, or damaged.
        """
        try:
            return cls._read(models[model_id], models)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error, zlib.error) as error:
            if isinstance(error, SavedViewError):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise SavedViewError(f"what the notebook holds of it is damaged ({reason:.120})") from error

    @classmethod
    def _read(cls, model: Mapping[str, Any], models: Mapping[str, Any]) -> SavedView:
        saved = model["state"]
        meta = saved["meta"]
        if meta["version"] != PROTOCOL_VERSION:
            raise SavedViewError(
                f"it was saved by another version of attnwidget (of protocol {meta['version']!r:.10}, and this one has "
                f"{PROTOCOL_VERSION})"
            )
        # Traits that a version before this one had not are as they are to start with.
        defaults = {name: trait.default() for name, trait in ViewTraits.class_traits().items() if name in SETTABLE}
        state = {name: saved.get(name, default) for name, default in defaults.items() if name != "layout"}
        weights = _weights(model)
        heads, stack = _heads(weights), _stack(meta, state)
        total = stack["layers"] * stack["heads"]
        return cls(
            # What could run a text again stays behind, as in every page.
            state={**state, "meta": meta, "maps": saved.get("maps", []), "text": "", "run": {}},
            weights=weights,
            words=f"Shown as the notebook holds it: of {total} heads in stack {stack['name']}, {heads}. "
            "More needs a running kernel.",
            summary=f"Attention of {meta['model']}: {stack['layers']} layers x {stack['heads']} heads.",
            style=_style(saved, models),
        )


def is_ours(model: object) -> bool:
    """Whether the saved state of a widget is that of a view."""
    state = model.get("state") if isinstance(model, dict) else None
    return isinstance(state, dict) and str(state.get("_anywidget_id")).rpartition(".")[2] == OURS


def _stack(meta: Mapping[str, Any], state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stack that is shown, which has the head that is shown."""
    stack: Mapping[str, Any] = {each["name"]: each for each in meta["stacks"]}[state["stack"]]
    for name, many in (("layer", "layers"), ("head", "heads")):
        if not 0 <= state[name] < stack[many]:
            raise ValueError(f"{name} is {state[name]} of {stack[many]}")
    if not 0 <= state["batch"] < len(stack["examples"]):
        raise ValueError(f"batch is {state['batch']} of {len(stack['examples'])}")
    return stack


def _weights(model: Mapping[str, Any]) -> bytes:
    buffer = next((each for each in model.get("buffers", ()) if each["path"] == ["embed"]), None)
    if buffer is None:
        raise SavedViewError("the notebook holds none of its weights")
    data = buffer["data"]
    if buffer["encoding"] == "hex":
        return bytes.fromhex(data)
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its weights are no base64, {error}") from error


def _heads(weights: bytes) -> str:
    """What is stored of which heads, in words; not more is unpacked than the list of them."""
    unpacking = zlib.decompressobj()
    start = unpacking.decompress(weights, 4)
    (size,) = struct.unpack("<I", start)
    if size > _LONGEST_HEADER:
        raise ValueError(f"a list of heads has {size} bytes")
    header = unpacking.decompress(unpacking.unconsumed_tail, size)
    tiles = json.loads(header)["tiles"]
    places = {(tile["stack"], tile["layer"], tile["head"]): False for tile in tiles}
    for tile in tiles:
        pooled = max(tile["height"], tile["width"]) <= THUMBNAIL < max(tile["queries"][1], tile["keys"][1])
        places[tile["stack"], tile["layer"], tile["head"]] |= not pooled
    large = sum(places.values())
    small = len(places) - large
    return f"{large} in full" + f" and {small} as small pictures" * bool(small)


def _style(saved: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """The sizes that its layout has."""
    layout = models.get(str(saved.get("layout")).removeprefix("IPY_MODEL_"), {}).get("state", {})
    sizes = {side: layout.get(side) for side in _SIDES}
    return "; ".join(
        f"{side.replace('_', '-')}: {size}"
        for side, size in sizes.items()
        if isinstance(size, str) and _LENGTH.fullmatch(size)
    )
