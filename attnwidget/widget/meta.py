"""What a capture is, in the words of the wire: its model, stacks and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnwidget.analysis import PAIR_MEASURES
from attnwidget.analysis.measured import why_not
from attnwidget.attention import Comparison, lacking
from attnwidget.widget.finder import finds
from attnwidget.widget.protocol import PROTOCOL_VERSION

if TYPE_CHECKING:
    from attnwidget.attention import AttentionCapture, AttentionStack, Tokens


def describe(capture: AttentionCapture) -> dict[str, Any]:
    """Describe a capture for the page.

    Args:
        capture: any capture.

    Returns:
        The `meta` trait, plain JSON, as the README beside this file says.
    """
    described: dict[str, Any] = {
        "version": PROTOCOL_VERSION,
        "model": capture.model,
        "measures": [list(find) for find in finds(capture)],
        "stacks": [_stack(stack) for stack in capture.stacks.values()],
    }
    if isinstance(capture, Comparison):
        described["compare"] = list(capture.names)
        sides = {"queries": capture.aligned, "keys": capture.aligned_keys}
        for stack in described["stacks"]:
            stack["examples"][0]["only"] = {name: list(lacking(aligned)) for name, aligned in sides.items()}
    return described


def _stack(stack: AttentionStack) -> dict[str, Any]:
    examples = []
    for queries, keys in zip(stack.query_tokens, stack.key_tokens, strict=True):
        examples.append({"queries": _tokens(queries), "keys": None if keys == queries else _tokens(keys)})
    described = {"name": stack.name, "layers": stack.n_layers, "heads": stack.n_heads, "examples": examples}
    numbers = [info.number for info in stack.infos]
    if None not in numbers and numbers != list(range(stack.n_layers)):
        described["kept_layers"] = numbers
    if stack.infos[0].picked:
        described["kept_heads"] = list(stack.infos[0].picked)
    # Of picked heads the keys were picked too, and would be counted wrong.
    key_heads = [info.key_heads for info in stack.infos if not info.picked]
    if any(count not in (None, stack.n_heads) for count in key_heads):
        described["key_heads"] = key_heads
    windows = [info.window for info in stack.infos]
    if any(windows):
        described["windows"] = windows
    reading = stack.reading
    if reading is not None:
        told: dict[str, Any] = {"words": reading.words, "caution": reading.caution, "unit": reading.unit}
        flags = {"signed": reading.signed, "whole": not reading.per_head}
        described["measure"] = {**told, **{name: True for name, holds in flags.items() if holds}}
    return described


def choices(stack: AttentionStack) -> list[list[str]]:
    """Measures of a stack of weights: name, title, caution with its source, and why there is none of it, or ""."""
    return [
        [name, measure.title, f"{measure.caution}. {measure.source}.", why_not(stack, name)]
        for name, measure in PAIR_MEASURES.items()
    ]


def _tokens(tokens: Tokens) -> dict[str, list[Any]]:
    columns = (tokens.pieces, tokens.text, tokens.gap, tokens.special, tokens.segment)
    places: dict[tuple[Any, ...], int] = {}
    index = [places.setdefault(token, len(places)) for token in zip(*columns, strict=True)]
    # Long texts repeat themselves: each different token travels once, and every place as one number.
    folded = 0 < 2 * len(places) <= len(index)
    pieces, text, gap, special, segment = zip(*places, strict=True) if folded else columns
    lists: dict[str, list[Any]] = {
        "piece": [_encodable(piece) for piece in pieces],
        "text": [_encodable(part) for part in text],
        "gap": [_encodable(part) for part in gap],
        "special": [int(flag) for flag in special],
        "segment": list(segment),
    }
    return {**lists, "index": index} if folded else lists


def _encodable(text: str) -> str:
    # Half of a surrogate pair is a Python string but not UTF-8, and one of them would take the whole message down.
    return text.encode("utf-8", "backslashreplace").decode()
