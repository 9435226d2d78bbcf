"""Layers in a capture file: each kind of attention as numbers for the header and arrays beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention import CaptureError, DenseAttention, FramedAttention, Probe
from attnwidget.attention.protocol import positions_of
from attnwidget.attention.segmented import SegmentedAttention
from attnwidget.saving.header import DensePart, FactoredPart, FramedPart, LayerPart, ProbePart, SegmentedPart
from attnwidget.saving.masks import MaskWriter, read_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.attention import Attention, FactoredAttention, Mask
    from attnwidget.saving.arrays import ArrayReader, ArrayWriter
    from attnwidget.saving.header import MaskPart

_FRAME_BYTES = 8
"""What a frame keeps of each of its queries: which window, and where there."""


class LayerWriter:
    """Puts layers into a file."""

    def __init__(self, arrays: ArrayWriter) -> None:
        self._arrays = arrays
        self.masks = MaskWriter(arrays)

    def put(self, layer: Attention, name: str) -> LayerPart:
        """Add a layer.

        Raises:
            ValueError: it holds something that is no array of numbers.
        """
        if isinstance(layer, FramedAttention):
            query_places, key_places = layer.places
            windows = self.put(layer.windows, f"{name}.windows")
            if isinstance(windows, FramedPart):
                raise ValueError(f"{name} has windows within windows, which a file has no place for")  # noqa: TRY004
            places = self._arrays.put_all(name, {"query_places": query_places, "key_places": key_places})
            return FramedPart(windows, places, layer.n_examples, layer.n_queries, layer.n_keys)
        if isinstance(layer, SegmentedAttention):
            parts = [self._factored(part, f"{name}.{number}") for number, part in enumerate(layer.parts)]
            return SegmentedPart(parts, self.masks.put(layer.mask), self._probe(layer.probe, layer, name))
        if isinstance(layer, DenseAttention):
            arrays = self._arrays.put_all(name, {"weights": layer.array})
            return DensePart(arrays, self.masks.put(layer.mask), self._probe(layer.probe, layer, name), layer.dropped)
        return self._factored(layer, name)

    def _factored(self, layer: Attention, name: str) -> FactoredPart:
        from attnwidget.attention import FactoredAttention

        if not isinstance(layer, FactoredAttention):
            raise ValueError(  # noqa: TRY004 - what a person passed is a capture, and that is the right type
                f"{name} is {type(layer).__name__}: it is worked out from other attention, or kept by other processes, "
                "and holds no arrays of its own. Save the capture that it comes from"
            )
        if layer.modifier is not None:
            raise ValueError(
                f"{name} passes its scores through a function ({layer.modifier.words}), and no code goes into a file. "
                "Save its weights: AttentionCapture.from_weights(cap.weights(...), cap.tokens).save(...)"
            )
        arrays = {"q": layer.q, "k": layer.k, "lse": layer.known_lse, "sinks": layer.sinks}
        return FactoredPart(
            self._arrays.put_all(name, arrays),
            layer.scale,
            layer.softcap,
            self.masks.put(layer.mask),
            self._probe(layer.probe, layer, name),
        )

    def _probe(self, probe: Probe | None, layer: Attention, name: str) -> ProbePart | None:
        if probe is None:
            return None
        rows = positions_of(probe.rows, layer.n_queries).astype(np.int64)
        arrays = {"values": probe.values, "outputs": probe.outputs, "rows": rows}
        return ProbePart(self._arrays.put_all(f"{name}.probe", arrays), probe.epsilon, probe.kept)


class LayerReader:
    """Makes layers of what a file holds. Shapes are checked against each other before anything is worked out."""

    def __init__(self, reader: ArrayReader, masks: Sequence[MaskPart]) -> None:
        self._reader = reader
        self._masks = [read_mask(part, reader) for part in masks]

    def read(self, part: LayerPart) -> Attention:
        """A layer.

        Raises:
            CaptureError: something is missing, or does not fit.
            ValueError: likewise, told by the layer itself.
        """
        if isinstance(part, FramedPart):
            return self._framed(part)
        if isinstance(part, SegmentedPart):
            parts = [self._factored(each) for each in part.parts]
            return self._checked(SegmentedAttention(parts, self._mask(part.mask), self._probe(part.probe)))
        if isinstance(part, DensePart):
            weights = self._reader.read(part.arrays, "weights")
            mask, probe = self._mask(part.mask), self._probe(part.probe)
            return self._checked(DenseAttention(weights, mask, probe, dropped=part.dropped))
        return self._checked(self._factored(part))

    def _factored(self, part: FactoredPart) -> FactoredAttention:
        from attnwidget.attention import FactoredAttention

        read = self._reader.read_any
        q, k = self._reader.read(part.arrays, "q"), self._reader.read(part.arrays, "k")
        if not (q.is_floating_point() and k.is_floating_point()):
            raise CaptureError(f"q is of type {q.dtype} and k of {k.dtype}; expected floating point")
        if not math.isfinite(part.scale):
            raise CaptureError(f"a scale is {part.scale}")
        return FactoredAttention(
            q,
            k,
            read(part.arrays, "lse"),
            scale=part.scale,
            softcap=part.softcap,
            sinks=read(part.arrays, "sinks"),
            mask=self._mask(part.mask),
            probe=self._probe(part.probe),
        )

    def _framed(self, part: FramedPart) -> FramedAttention:
        # These numbers alone decide how much memory a frame takes.
        size = part.n_examples * part.n_queries
        if part.n_examples < 1 or not 0 < size <= self._reader.nbytes // _FRAME_BYTES or part.n_keys < 1:
            raise CaptureError(
                f"a frame has {part.n_examples} examples of {part.n_queries} x {part.n_keys} tokens; expected no more "
                f"than a file of {self._reader.nbytes} bytes has room for"
            )
        places = [self._reader.read_numpy(part.arrays, name, np.int64) for name in ("query_places", "key_places")]
        if any(each is None for each in places):
            raise CaptureError("the places of windows are missing from the header")
        windows = self.read(part.windows)
        return FramedAttention(
            windows, *places, n_examples=part.n_examples, n_queries=part.n_queries, n_keys=part.n_keys
        )

    def _mask(self, number: int | None) -> Mask | None:
        if number is None:
            return None
        if not 0 <= number < len(self._masks):
            raise CaptureError(f"mask {number} does not exist: the header has {len(self._masks)}")
        return self._masks[number]

    def _probe(self, part: ProbePart | None) -> Probe | None:
        if part is None:
            return None
        rows = self._reader.read_numpy(part.arrays, "rows", np.int64)
        values, outputs = (self._reader.read(part.arrays, name) for name in ("values", "outputs"))
        if rows is None or rows.ndim != 1:
            raise CaptureError("the rows that a layer can be checked by are missing")
        return Probe(values, rows.astype(np.intp), outputs, part.epsilon, part.kept)

    def _checked(self, layer: Attention) -> Attention:
        if layer.mask is not None:
            layer.mask.check_fits(layer.n_examples, layer.n_heads, layer.n_queries, layer.n_keys)
        if layer.probe is not None and not _fits(layer.probe, layer):
            raise CaptureError("what a layer can be checked by does not fit its shape")
        return layer


def _fits(probe: Probe, layer: Attention) -> bool:
    """Whether a probe is of the shape of its layer."""
    values, outputs = tuple(probe.values.shape), tuple(probe.outputs.shape)
    rows = positions_of(probe.rows, layer.n_queries)
    return (
        outputs == (layer.n_examples, layer.n_heads, len(rows))
        and len(values) == len(("example", "key head", "key"))
        and values[0] in (1, layer.n_examples)
        and values[1] > 0
        and layer.n_heads % values[1] == 0
        and values[2] == layer.n_keys
        and bool(((rows >= 0) & (rows < layer.n_queries)).all())
    )
