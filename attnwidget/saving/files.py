"""`cap.save` and `aw.load`: a capture in one safetensors file, with a header that says what its arrays are."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from attnwidget.attention import AttentionCapture, AttentionStack, CaptureError, Generation, LayerInfo, Tokens
from attnwidget.saving.arrays import ArrayWriter, opened
from attnwidget.saving.header import (
    KEY,
    VERSION,
    FactoredPart,
    FramedPart,
    GenerationPart,
    Header,
    InfoPart,
    LayerPart,
    SegmentedPart,
    StackPart,
    TokensPart,
    VersionOnly,
)
from attnwidget.saving.layers import LayerReader, LayerWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from attnwidget.saving.arrays import ArrayReader

FilePath: TypeAlias = "str | os.PathLike[str]"
_Read = TypeVar("_Read")
_COLUMNS = tuple(TokensPart.__struct_fields__)


def save(capture: AttentionCapture, path: FilePath) -> Path:
    """Write a capture; see `AttentionCapture.save`."""
    target = _path(path)
    arrays = ArrayWriter()
    layers = LayerWriter(arrays)
    stacks = [_stack_part(stack, layers) for stack in capture.stacks.values()]
    generation = capture.generation
    header = Header(
        version=VERSION,
        written_by=f"attnwidget {version('attnwidget')}",
        model=capture.model,
        stacks=stacks,
        masks=layers.masks.parts,
        notes=list(capture.notes),
        generation=None
        if generation is None
        else GenerationPart(
            list(generation.prompt_lengths),
            [list(ids) for ids in generation.ids],
            None if generation.texts is None else list(generation.texts),
        ),
    )
    arrays.write(target, {KEY: msgspec.json.encode(header).decode()})
    return target


def load(path: FilePath) -> AttentionCapture:
    """Read a capture that `cap.save` wrote. Its arrays stay in the file until somebody looks (memory-mapped).

    Nothing in a file is run: it holds numbers and text (safetensors; `docs/file-format.md`). Captures that hold weights
    alone load without torch.

    Args:
        path: of the file.

    Returns:
        The capture as it was saved, with the same numbers, tokens, layers and notes.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        CaptureError: it is not a capture file, or not a whole one, or of a later version of the format, or its parts do
            not fit each other.
    """
    source = existing(path)
    with refusing(source):
        with opened(source, torch=False) as reader:
            header = read_header(reader)
            torch = needs_torch(header) or reader.holds_bfloat16
        with opened(source, torch=torch) as reader:
            layers = LayerReader(reader, header.masks)
            stacks = [_stack(part, layers) for part in header.stacks]
        if len({stack.name for stack in stacks}) != len(stacks):
            raise CaptureError("two stacks have one name")
        capture = AttentionCapture(model=header.model)
        capture.fill(stacks, notes=header.notes)
    if header.generation is not None:
        part = header.generation
        capture.generation = Generation(
            tuple(part.prompt_lengths),
            tuple(tuple(ids) for ids in part.ids),
            None if part.texts is None else tuple(part.texts),
        )
    return capture


def _path(path: FilePath) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {type(path).__name__} {path!r:.60}; expected the name of a file")
    return Path(path).expanduser()


def existing(path: FilePath, writer: str = "cap.save") -> Path:
    """The path of a file that is there, which `writer` should have written.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
    """
    source = _path(path)
    if not source.exists():
        raise FileNotFoundError(f"there is no file {source}")
    if source.is_dir():
        raise IsADirectoryError(f"{source} is a folder; expected a file that {writer} wrote")
    return source


@contextmanager
def refusing(source: Path, kind: str = "a capture") -> Iterator[None]:
    """Whatever is wrong with a file is told with its name, and with the kind of file it should be.

    Raises:
        CaptureError: for whatever was wrong.
    """
    try:
        yield
    except (CaptureError, ValueError, TypeError) as error:
        raise CaptureError(f"{source} cannot be read as {kind}: {error}") from error


def read_header(reader: ArrayReader) -> Header:
    """What an open file says of itself.

    Raises:
        CaptureError: nothing, or not as the format has it.
    """
    return header_of(reader, KEY, VERSION, Header, "a capture: cap.save(...) writes captures")


def header_of(reader: ArrayReader, key: str, known: int, kind: type[_Read], what: str) -> _Read:
    """The header of an open file.

    Args:
        reader: of the file.
        key: under which it stands.
        known: version of the format that is read here.
        kind: of header.
        what: the file should be, and what writes such files.

    Raises:
        CaptureError: there is none, or it is not as the format has it.
    """
    text = reader.metadata.get(key)
    if text is None:
        raise CaptureError(f"it holds arrays, and nothing that says it is {what}")
    # The version first: a later one may hold what this one does not know, and should say so in its own words.
    found = _decoded(text, VersionOnly)
    if found.version != known:
        raise CaptureError(
            f"it is of version {found.version} of the format, written by {found.written_by:.40}, and this attnwidget "
            f"{version('attnwidget')} reads version {known}: install a later attnwidget"
        )
    return _decoded(text, kind)


def _decoded(text: str, kind: type[_Read]) -> _Read:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CaptureError(f"its header is not as the format has it: {error}") from error


def needs_torch(header: Header) -> bool:
    """Whether some layer is made of factors, which are computed with."""
    return any(_has_factors(layer) for stack in header.stacks for layer in stack.layers)


def _has_factors(layer: LayerPart) -> bool:
    if isinstance(layer, FramedPart):
        return _has_factors(layer.windows)
    return isinstance(layer, (FactoredPart, SegmentedPart))


def _stack_part(stack: AttentionStack, layers: LayerWriter) -> StackPart:
    shared = stack.key_tokens == stack.query_tokens
    return StackPart(
        name=stack.name,
        layers=[layers.put(layer, f"{stack.name}.{number}") for number, layer in enumerate(stack.layers)],
        infos=[
            InfoPart(info.path, info.kind, info.implementation, info.call, info.number, list(info.picked), info.n_heads)
            for info in stack.infos
        ],
        query_tokens=_tokens_parts(stack.query_tokens),
        query_spans=[(start, stop) for start, stop in stack.query_spans],
        key_spans=[(start, stop) for start, stop in stack.key_spans],
        key_tokens=None if shared else _tokens_parts(stack.key_tokens),
    )


def _tokens_parts(examples: Iterable[Tokens]) -> list[TokensPart]:
    return [TokensPart(*(list(getattr(tokens, column)) for column in _COLUMNS)) for tokens in examples]


def _stack(part: StackPart, layers: LayerReader) -> AttentionStack:
    queries = [_tokens(tokens) for tokens in part.query_tokens]
    keys = queries if part.key_tokens is None else [_tokens(tokens) for tokens in part.key_tokens]
    return AttentionStack(
        part.name,
        [layers.read(layer) for layer in part.layers],
        query_tokens=queries,
        key_tokens=keys,
        query_spans=part.query_spans,
        key_spans=part.key_spans,
        infos=layer_infos(part),
    )


def layer_infos(part: StackPart) -> list[LayerInfo]:
    """Where the layers of a stack sit in the model, in the words of the file.

    Raises:
        CaptureError: there are not as many descriptions as layers.
    """
    if len(part.infos) != len(part.layers):
        raise CaptureError(f"stack {part.name!r} has {len(part.layers)} layers and {len(part.infos)} descriptions")
    return [
        LayerInfo(
            info.path,
            info.kind,
            info.implementation,
            info.call,
            number=info.number,
            picked=tuple(info.picked),
            n_heads=info.n_heads,
        )
        for info in part.infos
    ]


def _tokens(part: TokensPart) -> Tokens:
    return Tokens(*(tuple(getattr(part, column)) for column in _COLUMNS))
