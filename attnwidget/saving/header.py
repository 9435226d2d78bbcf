"""What a saved capture says of itself, beside its arrays: `docs/file-format.md` describes it for other readers."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

VERSION = 1
"""Goes up when older readers would misunderstand a file."""
KEY = "attnwidget"
"""Under which the header stands in the metadata of a safetensors file."""


class _Part(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A part of the header. What is not as declared here is refused when a file is read."""


class TokensPart(_Part, frozen=True):
    """The columns of `Tokens`, one entry per token, padding left out."""

    pieces: list[str]
    text: list[str]
    gap: list[str]
    special: list[bool]
    segment: list[int]


class MaskPart(_Part, frozen=True):
    """The numbers of a `Mask`; `arrays` names its arrays in the file."""

    n_queries: int
    n_keys: int
    lowest: int | None = None
    highest: int | None = None
    arrays: dict[str, str] = {}


class ProbePart(_Part, frozen=True):
    """A `Probe`: arrays `values`, `outputs` and `rows` (the positions checked)."""

    arrays: dict[str, str]
    epsilon: float
    kept: float = 0.0


class FactoredPart(_Part, frozen=True, tag="factored"):
    """`FactoredAttention`: arrays `q`, `k`, and `lse` and `sinks` where there are any.

    `mask` is the place of its mask in the header.
    """

    arrays: dict[str, str]
    scale: float
    softcap: float | None = None
    mask: int | None = None
    probe: ProbePart | None = None


class DensePart(_Part, frozen=True, tag="dense"):
    """`DenseAttention`: array `weights`."""

    arrays: dict[str, str]
    mask: int | None = None
    probe: ProbePart | None = None
    dropped: bool = False


class SegmentedPart(_Part, frozen=True, tag="segmented"):
    """`SegmentedAttention`: rows of several, one after another."""

    parts: list[FactoredPart]
    mask: int | None = None
    probe: ProbePart | None = None


class FramedPart(_Part, frozen=True, tag="framed"):
    """`FramedAttention`: windows, and arrays `query_places` and `key_places` that say where they stand."""

    windows: FactoredPart | DensePart | SegmentedPart
    arrays: dict[str, str]
    n_examples: int
    n_queries: int
    n_keys: int


LayerPart: TypeAlias = FactoredPart | DensePart | SegmentedPart | FramedPart


class InfoPart(_Part, frozen=True):
    """What `LayerInfo` knows that the layer itself does not."""

    path: str = ""
    kind: str = ""
    implementation: str = ""
    call: int = 0
    number: int | None = None
    picked: list[int] = []
    n_heads: int = 0


class StackPart(_Part, frozen=True):
    """An `AttentionStack`. Tokens are one entry per example; `key_tokens` is absent where they are the queries'."""

    name: str
    layers: list[LayerPart]
    infos: list[InfoPart]
    query_tokens: list[TokensPart]
    query_spans: list[tuple[int, int]]
    key_spans: list[tuple[int, int]]
    key_tokens: list[TokensPart] | None = None


class GenerationPart(_Part, frozen=True):
    """A `Generation`."""

    prompt_lengths: list[int]
    ids: list[list[int]]
    texts: list[str] | None = None


class Header(_Part, frozen=True):
    """All of it."""

    version: int
    written_by: str
    model: str
    stacks: list[StackPart]
    masks: list[MaskPart] = []
    notes: list[str] = []
    generation: GenerationPart | None = None


class VersionOnly(msgspec.Struct, frozen=True):
    """What is read first, whatever else a later version may hold."""

    version: int
    written_by: str = "a later version"


SURVEY_VERSION = 1
"""Likewise, for files of surveys."""
SURVEY_KEY = "attnwidget-survey"
"""Under which the header of a survey stands, so that neither file is taken for the other."""


class SurveyStackPart(_Part, frozen=True):
    """The heads of a stack over many texts, in arrays (measures, layers, heads), the measures in this order.

    `<name>.count`, `.centre` and `.squares` are `Moments`, and `<name>.sample` is what the first text has.
    """

    name: str
    measures: list[str]


class SurveyHeader(_Part, frozen=True):
    """A `Survey`; the array `digests` has a number for each text that was looked at. Failures are (index, error)."""

    version: int
    written_by: str
    model: str
    n_texts: int
    n_tokens: int
    window: int
    n_sampled: int = 0
    rows: int | None = None
    first: int | None = None
    interrupted: bool = False
    failures: list[tuple[int, str]] = []
    stacks: list[SurveyStackPart] = []
