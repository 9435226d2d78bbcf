"""What a capture file says that it holds: of its arrays names, types and shapes are read, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from attnwidget.attention import CaptureError, LayerInfo
from attnwidget.attention.layertable import layer_table
from attnwidget.attention.memory import size_text
from attnwidget.attention.stack import tokens_text
from attnwidget.saving.arrays import opened
from attnwidget.saving.files import existing, layer_infos, needs_torch, read_header, refusing
from attnwidget.saving.header import DensePart, FramedPart, SegmentedPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.saving.arrays import ArrayReader
    from attnwidget.saving.files import FilePath
    from attnwidget.saving.header import Header, LayerPart, StackPart

_SHOWN = 24
"""Tokens of the text that are printed."""


class StackAbout(msgspec.Struct, frozen=True):
    """A stack of a file.

    Attributes:
        name: of the stack.
        n_layers: layers.
        n_heads: heads of each.
        queries: how many each example has, padding left out.
        keys: likewise.
        tokens: the queries of the first example.
        layers: where each sits in the model, and how its weights were computed.
        kept: what of each is in the file, and as what.
    """

    name: str
    n_layers: int
    n_heads: int
    queries: list[int]
    keys: list[int]
    tokens: list[str]
    layers: list[LayerInfo]
    kept: list[str]


class FileAbout(msgspec.Struct, frozen=True):
    """What a file holds.

    Attributes:
        path: of the file.
        nbytes: of it.
        version: of its format.
        written_by: the version of attnwidget that wrote it.
        model: what was captured.
        stacks: in the order they ran; `tokens` are the queries of the first example.
        generated: tokens that each sequence went on by, after its prompt; absent of a plain run.
        notes: what one should know of the run.
        needs_torch: whether `aw.load` loads torch for it.
    """

    path: str
    nbytes: int
    version: int
    written_by: str
    model: str
    stacks: list[StackAbout]
    notes: list[str]
    needs_torch: bool
    generated: list[int] | None = None

    def json(self) -> str:
        """For programs: these fields, as JSON."""
        return msgspec.json.format(msgspec.json.encode(self)).decode()

    def text(self) -> str:
        """For people, a table of the layers among it."""
        written = f"written by {self.written_by} (version {self.version} of the format)"
        lines = [f"A capture of {self.model}, {size_text(self.nbytes)}, {written}"]
        for stack in self.stacks:
            size = tokens_text(stack.queries, stack.keys)
            lines.append(f"  {stack.name}  {stack.n_layers} layers x {stack.n_heads} heads, {size}")
            lines += [f"    {line}" for line in layer_table(stack.layers, stack.kept)]
        lines.append(
            f"  text: {' '.join(self.stacks[0].tokens[:_SHOWN])}{' ...' * (len(self.stacks[0].tokens) > _SHOWN)}"
        )
        if self.generated is not None:
            counts = ", ".join(str(count) for count in self.generated)
            lines.append(f"  generated: {counts} tokens after the prompt")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def about(path: FilePath) -> FileAbout:
    """Read what a capture file says of itself. It loads no torch, and takes the memory of the file's header alone.

    That arrays hold what their shapes promise, and that layers fit each other, is what `aw.load` checks.

    Args:
        path: of the file.

    Returns:
        What is in it.

    Raises:
        FileNotFoundError, IsADirectoryError, CaptureError: as `aw.load`.
    """
    source = existing(path)
    with refusing(source), opened(source, torch=False) as reader:
        header = read_header(reader)
        if not header.stacks or not all(stack.layers and stack.query_tokens for stack in header.stacks):
            raise CaptureError("it has no layers with tokens")
        stacks = [_stack(part, reader) for part in header.stacks]
        return FileAbout(
            path=str(source),
            nbytes=reader.nbytes,
            version=header.version,
            written_by=header.written_by,
            model=header.model,
            stacks=stacks,
            notes=header.notes,
            needs_torch=needs_torch(header),
            generated=_generated(header),
        )


def _generated(header: Header) -> list[int] | None:
    part = header.generation
    if part is None:
        return None
    return [len(ids) - prompt for ids, prompt in zip(part.ids, part.prompt_lengths, strict=True)]


def _stack(part: StackPart, reader: ArrayReader) -> StackAbout:
    infos, kept = [], []
    for layer, info in zip(part.layers, layer_infos(part), strict=True):
        heads, key_heads, head_size, words = _kept(layer, reader)
        infos.append(replace(info, heads=heads, key_heads=key_heads, head_size=head_size))
        kept.append(words)
    queries = [len(tokens.pieces) for tokens in part.query_tokens]
    keys = queries if part.key_tokens is None else [len(tokens.pieces) for tokens in part.key_tokens]
    return StackAbout(
        name=part.name,
        n_layers=len(infos),
        n_heads=infos[0].heads,
        queries=queries,
        keys=keys,
        tokens=part.query_tokens[0].pieces,
        layers=infos,
        kept=kept,
    )


def _kept(part: LayerPart, reader: ArrayReader) -> tuple[int, int | None, int | None, str]:
    """Heads, key heads, head size, and what is kept of them in words."""
    if isinstance(part, FramedPart):
        *counts, kept = _kept(part.windows, reader)
        return (*counts, f"{kept}, in windows")  # type: ignore[return-value]
    if isinstance(part, DensePart):
        shape, dtype = reader.measure(part.arrays, "weights")
        _, heads, _, _ = _four("weights", shape)
        return heads, None, None, f"weights {'after dropout ' if part.dropped else ''}{dtype}"
    if isinstance(part, SegmentedPart):
        if not part.parts:
            raise CaptureError("a layer has no parts")
        first = _kept(part.parts[0], reader)
        return (*first[:3], f"{first[3]}, keys in {len(part.parts)} versions")
    shape, dtype = reader.measure(part.arrays, "q")
    _, heads, _, size = _four("q", shape)
    _, key_heads, _, _ = _four("k", reader.measure(part.arrays, "k")[0])
    return heads, key_heads, size, f"q k {dtype}"


def _four(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) != len(("example", "head", "token", "number")):
        raise CaptureError(f"array {name!r} of a layer has shape {tuple(shape)}; expected 4 numbers")
    return tuple(shape)
