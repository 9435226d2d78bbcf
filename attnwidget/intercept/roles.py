"""What each attention call is to the model: self, encoder, decoder, cross, or a tower of a multimodal model."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attnwidget.intercept.records import Record

_TOWERS = (
    # Fusion first: its parts are named after what they join.
    ("fusion", re.compile(r"cross_?modal|multi_?modal(?!_proj)|fusion|cross_?modality")),
    ("qformer", re.compile(r"q_?former")),
    ("resampler", re.compile(r"resampler|perceiver")),
    ("vision", re.compile(r"(^|_)(vision|visual|image|video|vit)(_|$)|^vision|^visual")),
    ("audio", re.compile(r"(^|_)(audio|speech|acoustic)(_|$)|^audio|^speech")),
    ("text", re.compile(r"(^|_)(text|language|llm)(_|$)|^text|^language")),
)
_ATTENTION = re.compile(r"att(n|ention)|(^|_)att(_|$)")
_CROSS = re.compile(
    r"cross_?att|xatt|enc(oder)?_?dec(oder)?_?att|(^|_)encoder_att|(token|query)_to_image|image_to_(token|query)"
)
_BESIDE_SELF, _SELF = {"multihead_attn", "src_attn", "context_attn"}, "self_attn"
"""What nn.TransformerDecoderLayer, ESPnet, OpenNMT and what is modelled on them call their two; alone the first may be
either."""


def name_roles(records: Sequence[Record]) -> list[str]:
    """What each call is to the model, in its own words where it has some.

    Args:
        records: of one run, in order.

    Returns:
        One name for each: a tower ("vision", "audio", "text", "fusion" ...) where there are several, a side ("encoder",
        "decoder", "cross") where there are two, both where one side has several towers, and "self" where there is
        nothing to tell.
    """
    paths = [tuple(record.path.lower().split(".")) for record in records]
    selves = {path[:at] for path in paths for at, part in enumerate(path) if part == _SELF}
    cross = [
        _is_cross(record, path) or any(part in _BESIDE_SELF and path[:at] in selves for at, part in enumerate(path))
        for record, path in zip(records, paths, strict=True)
    ]
    towers = [_tower(path) for path in paths]
    decoding = [_is_in(path, "decoder") for path in paths]
    # Vision towers, and BERT, keep their layers in a module called encoder: that word means something only beside a
    # decoder, and a language model's decoder only beside an encoder, or with cross attention of its own.
    encoding = [tower != "vision" and _is_in(path, "encoder") for path, tower in zip(paths, towers, strict=True)]
    across_in_decoder = any(map(all, zip(cross, decoding, strict=True)))
    two_sided = across_in_decoder or (any(decoding) and any(encoding) and not any(cross))
    sides = [
        "cross" if across else "decoder" if two_sided and decodes else "encoder" if two_sided and encodes else ""
        for across, decodes, encodes in zip(cross, decoding, encoding, strict=True)
    ]
    if len({tower for tower, side in zip(towers, sides, strict=True) if side == "encoder"}) > 1:
        sides = ["" if side == "encoder" and tower else side for tower, side in zip(towers, sides, strict=True)]
    if len(set(towers)) == 1:
        towers = [""] * len(towers)
    elif all(
        len({tower for tower, own in zip(towers, sides, strict=True) if own == side}) == 1 for side in set(sides) - {""}
    ):
        # A speech encoder and a text decoder: the side says it all.
        towers = ["" if side else tower for tower, side in zip(towers, sides, strict=True)]
    return ["-".join(filter(None, names)) or "self" for names in zip(towers, sides, strict=True)]


def _is_cross(record: Record, path: tuple[str, ...]) -> bool:
    told = getattr(record.module, "is_cross_attention", None)
    return told is True or _is_called_cross(path)


@lru_cache(maxsize=4096)
def _is_called_cross(path: tuple[str, ...]) -> bool:
    return any(_CROSS.search(part) for part in path)


def _is_in(path: Iterable[str], side: str) -> bool:
    """Whether a module of the path is an encoder, or a decoder, of whatever."""
    return any(part == side or part.endswith(f"_{side}") for part in path)


@lru_cache(maxsize=4096)
def _tower(path: tuple[str, ...]) -> str:
    # Attention from tokens to an image is no part of a vision tower.
    places = [part for part in path if not _ATTENTION.search(part)]
    for tower, words in _TOWERS:
        if any(words.search(part) for part in places):
            return tower
    return ""
