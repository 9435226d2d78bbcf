"""`survey.save` and `Survey.load`: sums over texts in a safetensors file, with a header that says what they are."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from attnwidget.analysis.moments import Moments
from attnwidget.analysis.surveyed import Failure, Survey
from attnwidget.attention import CaptureError
from attnwidget.saving.arrays import ArrayWriter, opened
from attnwidget.saving.files import existing, header_of, refusing
from attnwidget.saving.header import SURVEY_KEY, SURVEY_VERSION, SurveyHeader, SurveyStackPart

if TYPE_CHECKING:
    from attnwidget.saving.arrays import ArrayReader
    from attnwidget.saving.files import FilePath

_SUMS: Final[dict[str, type[np.int64 | np.float64]]] = {"count": np.int64, "centre": np.float64, "squares": np.float64}


def save_survey(survey: Survey, path: FilePath) -> Path:
    """Write a survey; see `Survey.save`."""
    arrays = ArrayWriter()
    arrays.put("digests", survey.digests)
    stacks = []
    for name, moments in survey.moments.items():
        for what in _SUMS:
            arrays.put(f"{name}.{what}", np.stack([getattr(one, what) for one in moments.values()]))
        arrays.put(f"{name}.sample", np.stack(list(survey.sample[name].values())))
        stacks.append(SurveyStackPart(name, list(moments)))
    header = SurveyHeader(
        version=SURVEY_VERSION,
        written_by=f"attnwidget {version('attnwidget')}",
        model=survey.model,
        n_texts=survey.n_texts,
        n_tokens=survey.n_tokens,
        window=survey.window,
        n_sampled=survey.n_sampled,
        rows=survey.rows,
        first=survey.first,
        interrupted=survey.interrupted,
        failures=[(failure.index, failure.error) for failure in survey.failures],
        stacks=stacks,
    )
    target = Path(path).expanduser()
    arrays.write(target, {SURVEY_KEY: msgspec.json.encode(header).decode()})
    return target


def load_survey(path: FilePath) -> Survey:
    """Read a survey; see `Survey.load`."""
    source = existing(path, "survey.save")
    with refusing(source, "a survey"), opened(source, torch=False) as reader:
        header = header_of(
            reader, SURVEY_KEY, SURVEY_VERSION, SurveyHeader, "a survey: survey.save(...) writes surveys"
        )
        return _survey(header, reader)


def _survey(header: SurveyHeader, reader: ArrayReader) -> Survey:
    digests = _array(reader, "digests", np.uint64)
    failed = [index for index, _ in header.failures]
    n_seen = header.n_texts + len(failed)
    if (
        digests.shape != (n_seen,)
        or failed != sorted(set(failed))
        or not all(0 <= index < n_seen for index in failed)
        or header.n_tokens < 0
    ):
        raise CaptureError(
            f"it has digests of {digests.shape} texts, and counts {header.n_texts} with {len(failed)} left out"
        )
    counted = sorted(set(range(n_seen)) - set(failed))
    if bool(counted) != bool(header.stacks) or header.first != (counted[0] if counted else None):
        raise CaptureError(
            f"it has {len(header.stacks)} stacks and first text {header.first}, which its counts are not of"
        )
    if len({part.name for part in header.stacks}) != len(header.stacks):
        raise CaptureError("two stacks have one name")
    moments, sample = {}, {}
    for part in header.stacks:
        moments[part.name], sample[part.name] = _stack(part, reader, header.n_texts)
    return Survey(
        header.model,
        moments,
        n_texts=header.n_texts,
        n_tokens=header.n_tokens,
        failures=tuple(Failure(index, error) for index, error in header.failures),
        window=header.window,
        n_sampled=header.n_sampled,
        rows=header.rows,
        interrupted=header.interrupted,
        digests=digests,
        first=header.first,
        sample=sample,
    )


def _stack(
    part: SurveyStackPart, reader: ArrayReader, n_texts: int
) -> tuple[dict[str, Moments], dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]:
    sums = {what: _array(reader, f"{part.name}.{what}", dtype) for what, dtype in _SUMS.items()}
    sample = _array(reader, f"{part.name}.sample", np.float64)
    shape = sample.shape
    if len(shape) != len("MLH") or not sample.size or any(array.shape != shape for array in sums.values()):
        shapes = [array.shape for array in (*sums.values(), sample)]
        raise CaptureError(
            f"arrays of stack {part.name!r} have shapes {shapes}; expected one, (measures, layers, heads)"
        )
    if len(part.measures) != shape[0] or len(set(part.measures)) != shape[0]:
        raise CaptureError(f"stack {part.name!r} has measures {part.measures} and arrays of {shape[0]}")
    count, centre, squares = sums.values()
    if count.min() < 0 or count.max() > n_texts:
        raise CaptureError(f"stack {part.name!r} counts {count.min()} to {count.max()} texts of {n_texts}")
    if not np.isfinite(centre).all() or not np.isfinite(squares).all() or squares.min() < 0:
        raise CaptureError(f"sums of stack {part.name!r} are no finite numbers, or squares of them are below 0")
    moments = {name: Moments(count[n], centre[n], squares[n]) for n, name in enumerate(part.measures)}
    return moments, {name: sample[n] for n, name in enumerate(part.measures)}


def _array(reader: ArrayReader, name: str, dtype: type[np.int64 | np.uint64 | np.float64]) -> Any:  # noqa: ANN401
    return reader.read_numpy({name: name}, name, dtype)
