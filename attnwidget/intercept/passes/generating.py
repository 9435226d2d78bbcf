"""What transformers' generate() returns is seen while a capture runs: which of the sequences that ran it chose."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attnwidget.attention import CaptureError
from attnwidget.intercept.recorder import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from attnwidget.intercept.recorder import Recorder

_LOOPS = {
    "_sample": "sampling",
    "_greedy_search": "greedy search",
    "_beam_search": "beam search",
    "_beam_sample": "beam search",
    "_group_beam_search": "beam search",
    "_constrained_beam_search": "beam search",
    "_contrastive_search": "contrastive search",
    "_dola_decoding": "DoLa decoding",
    "_assisted_decoding": "assisted decoding",
}
"""Decoding loops of the versions of transformers that we know; those that a version has are wrapped."""
_ENDS = {"EosTokenCriteria", "MaxLengthCriteria", "MaxTimeCriteria"}
_COMPILES = "_valid_auto_compile_criteria"
_NOTE = (
    "generate() would have compiled the model for this cache, and ran it as it is, since Python cannot see into "
    "compiled code: outputs are those of the model that is not compiled"
)


@dataclass(frozen=True, eq=False)
class Generated:
    """What one decoding loop returned.

    Attributes:
        sequences: (F, L) ids, prompt included where it was given as ids.
        prompt: ids of them that were given.
        first: number of the first run it made.
        last: number of the last one.
        batch: examples that it ran.
        each: sequences returned for each prompt.
        eos: ids that end a sequence.
        pad: id that fills up sequences that have ended.
        beams: whether it searched with beams.
        stops: something else than an id that ends sequences, or their length, may have ended some of them.
    """

    sequences: NDArray[np.intp]
    prompt: int
    first: int
    last: int
    batch: int
    each: int
    eos: frozenset[int] = frozenset()
    pad: int | None = None
    beams: bool = False
    stops: bool = True

    def lengths(self) -> NDArray[np.intp]:
        """(F,): ids of each sequence up to its end, the one that ended it included."""
        n_sequences, length = self.sequences.shape
        lengths = np.full(n_sequences, length, np.intp)
        new = self.sequences[:, self.prompt :]
        filled = (new[:, -1:] == self.pad).any() and not (new[:, -1:] == self.pad).all()
        for number, ids in enumerate(new):
            ends = np.flatnonzero(np.isin(ids, list(self.eos)))
            if len(ends):
                lengths[number] = self.prompt + ends[0] + 1
            elif filled and self.stops:  # one that ended for another reason, beside others that went on
                lengths[number] = self.prompt + np.flatnonzero(np.append(True, ids != self.pad))[-1]
        return lengths


def wrap(undo: list[Callable[[], None]]) -> None:
    """Wrap the loops, if transformers is in use; what puts them back is added to the list."""
    module = sys.modules.get("transformers.generation.utils")
    if module is None:
        return
    kind = module.GenerationMixin
    for name in (*_LOOPS, _COMPILES):
        original = kind.__dict__.get(name)
        if original is not None:
            setattr(kind, name, _uncompiled(original) if name == _COMPILES else _watched(original, _LOOPS[name]))
            undo.append(functools.partial(setattr, kind, name, original))


def _watched(original: Callable[..., Any], loop: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def decode(self: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        recorders = ACTIVE.get()
        before = [{key: len(top.runs) for key, top in recorder.tops.items()} for recorder in recorders]
        for recorder in recorders:
            recorder.loops.append(self)
        try:
            result = original(self, input_ids, *args, **kwargs)
        finally:
            for recorder in recorders:
                recorder.loops.pop()
        for recorder, counts in zip(recorders, before, strict=True):
            if any(
                self is outer for outer in recorder.loops
            ):  # a draft: what counts is what the outer loop makes of it
                continue
            _note(recorder, counts, result, input_ids, kwargs, loop)
        return result

    return decode


def _note(
    recorder: Recorder,
    before: dict[int, int],
    result: Any,  # noqa: ANN401 - ids, or an output with `sequences`
    input_ids: torch.Tensor,
    options: Mapping[str, Any],
    loop: str,
) -> None:
    """Tell the modules that ran in the loop what it returned."""
    try:
        sequences = result if isinstance(result, torch.Tensor) else getattr(result, "sequences", None)
        if not isinstance(sequences, torch.Tensor) or sequences.ndim != input_ids.ndim:
            return
        config = options.get("generation_config")
        eos, pad = (_ids(config, name) for name in ("eos", "pad"))
        ids = sequences.detach().cpu().numpy()
        for key, top in recorder.tops.items():
            first = before.get(key, 0)
            if len(top.runs) > first:
                top.generated = Generated(
                    sequences=ids,
                    prompt=input_ids.shape[1],
                    first=first,
                    last=len(top.runs) - 1,
                    batch=len(input_ids),
                    each=int(getattr(config, "num_return_sequences", None) or 1),
                    eos=frozenset(eos),
                    pad=min(pad, default=None),
                    beams="beam" in loop,
                    stops=_may_stop(options.get("stopping_criteria")),
                )
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on and the capture says so
        recorder.fail(CaptureError(f"what {loop} of generate() returned could not be read: {error}"))


def _may_stop(criteria: Any) -> bool:  # noqa: ANN401 - transformers ships no types we use
    """Whether a sequence may have ended by itself without an id that ends it: else the padding id is one like others.

    At a length or a time all of them end at once.
    """
    return criteria is None or not all(type(one).__name__ in _ENDS for one in criteria)


def _ids(config: Any, name: str) -> list[int]:  # noqa: ANN401
    value = getattr(config, f"_{name}_token_tensor", None)
    value = getattr(config, f"{name}_token_id", None) if value is None else value
    if value is None:
        return []
    return [int(number) for number in np.atleast_1d(np.asarray(value.cpu() if hasattr(value, "cpu") else value))]


def _uncompiled(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def would_compile(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        answer = original(self, *args, **kwargs)
        watchers = [recorder for recorder in ACTIVE.get() if recorder.watches(self)] if answer else []
        for recorder in watchers:
            recorder.notes[_NOTE] = None
        return answer and not watchers

    return would_compile
