"""What may vary in the inputs of a model and is found out by trying, with what its errors tell."""

from __future__ import annotations

import inspect
import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sweep.fields import of
from sweep.shrink import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 2
"""Examples."""
_MISMATCH = re.compile(r"tokens: (\d+),[^\d]*features:?[^\d]*(\d+)")
_MANY = 600


@dataclass
class Style:
    """What may vary from model to model and is found out by trying.

    Attributes:
        image: how images come: one per example, a list, packed patches, frames.
        audio: how audio features come: (mels, frames) or (frames, mels).
        counts: how many tokens of text stand for one example's image, video or audio.
        padded: whether the text of the last example is padded.
        modalities: which of them to pass.
        sizes: whether to say how large images are.
    """

    image: str = "one"
    audio: str = "mels first"
    counts: dict[str, int] = field(default_factory=dict)
    padded: bool = True
    modalities: tuple[str, ...] = ("text", "image", "audio")
    sizes: bool = False


def parameters(model: Any) -> dict[str, inspect.Parameter]:
    """What its forward takes, by name."""
    signature = inspect.signature(model.forward)
    return {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def styles(model: Any) -> Iterator[Style]:
    """What to try, likeliest first."""
    names = parameters(model)
    images = ["one", "list", "crops", "tiles"]
    if any(name.endswith("grid_thw") or name in {"image_grids", "grid_thw"} for name in names):
        images.insert(0, "packed")
    if isinstance(of(model.config, "num_frames"), int):
        images[:0] = ["frames", "channels first"]
    if not any("pixel" in name or name in {"hidden_states", "image", "grid_thw"} for name in names):
        images = images[:1]
    audios = ["mels first", "frames first"] if {"input_features", "input_values"} & set(names) else ["mels first"]
    sizes = [False, True] if "image_sizes" in names else [False]
    for modalities in (("text", "image", "audio"), ("text", "image"), ("text", "audio"), ("text",)):
        for padded, image, audio, size in itertools.product((True, False), images, audios, sizes):
            yield Style(image, audio, {}, padded, modalities, size)


def adapted(style: Style, error: Exception) -> Style | None:
    """The same with as many tokens of the text for images as there are features, where the error tells their number."""
    found = _MISMATCH.search(str(error))
    if found is None:
        return None
    kind = next((word for word in ("image", "video", "audio") if word in str(error).lower()), "image")
    tokens, features = int(found[1]), int(found[2])
    if tokens == features or features > _MANY:  # numbers, not tokens, were counted
        features = features // WIDTH
    count = -(-features // BATCH)
    if style.counts.get(kind) == count or not 0 < count < _MANY:
        return None
    return replace(style, counts={**style.counts, kind: count})
