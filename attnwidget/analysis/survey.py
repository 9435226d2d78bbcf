"""`aw.survey`: what heads do over many texts, of which no capture is kept."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from attnwidget.analysis.eachtext import Asked
from attnwidget.analysis.finding import WINDOW
from attnwidget.analysis.moments import Moments
from attnwidget.analysis.resuming import OTHER, check_asked, check_same, shapes_of, shapes_text
from attnwidget.analysis.surveyed import Failure, Survey
from attnwidget.analysis.texts import how_many, in_batches, several
from attnwidget.attention.errors import AttentionWarning, CaptureError
from attnwidget.attention.selection import check_size
from attnwidget.bars import bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from attnwidget.analysis.eachtext import Captures, Found, Measuring, Values
    from attnwidget.analysis.texts import Text

OnError: TypeAlias = 'Literal["raise", "skip"]'


def survey(
    model: Captures,
    texts: Iterable[Any],
    *,
    column: str | None = None,
    stack: str | None = None,
    measures: Mapping[str, Measuring] | None = None,
    rows: int | None = None,
    window: int = WINDOW,
    batch_size: int = 1,
    path: str | PathLike[str] | None = None,
    save_every: float = 30.0,
    on_error: OnError = "raise",
    progress: bool = True,
    **options: Any,  # noqa: ANN401
) -> Survey:
    """Measure every head over many texts: mean and spread, so that no head is judged by one sentence.

    Each text is captured, measured as `cap.patterns()` does, and let go of before the next. All texts count alike;
    where a measure does not apply (no token comes twice), the text is not counted for it. An interrupt (Ctrl-C, the
    stop button) ends the survey with a warning, and gives what was counted until then.

    Args:
        model: an `AttentionModel` of any kind.
        texts: a list, a generator or a data set; each in a form that `model.capture` takes, one example at a time.
        column: which column of each row holds the text, where texts are rows (data sets).
        stack: whose heads; those of all stacks if None.
        measures: more of them, by name: functions of a capture that give (L, H) numbers for the first of these stacks,
            NaN where they do not apply.
        rows: look at no more than so many queries of each head, as `cap.patterns` does.
        window: how far is near, in tokens.
        batch_size: so many texts or lists of ids run together, padded. Functions in `measures` are given one text of
            them at a time (`cap.example`).
        path: of a small file that keeps what was counted, written as a whole every `save_every` seconds and at the end.
            If it is there, the survey goes on after the texts in it, which have to be the same.
        save_every: seconds.
        on_error: "raise" stops at a text that fails (no tokens, too long), "skip" leaves it out and records it in
            `failures`.
        progress: show a bar if it takes more than two seconds.
        **options: passed on to `model.capture` (store, dtype, layers ...).

    Returns:
        A `Survey`: `mean["induction"]`, `std` and `count` are (L, H) by measure; `sorted(by=...)`, `to_pandas()`.

    Raises:
        TypeError: texts are one text, or rows without `column`; the model is no `AttentionModel`.
        ValueError: an option that there is not, or no texts.
        KeyError: rows have no such column.
        CaptureError: a text failed, or all of them; the file is no survey, or one of another model, other measures or
            other texts.
        OSError: the file cannot be written.
    """
    check_size("batch_size", batch_size)
    check_size("window", window)
    if rows is not None:
        check_size("rows", rows)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}; expected 'raise' or 'skip'")
    asked = Asked(model, stack, measures, rows, window, options)
    each = several(texts, column)
    run = _Run(asked, None if path is None else Path(path).expanduser(), save_every, skip=on_error == "skip")
    try:
        with bar(how_many(texts), f"surveying {model.name}", "text", wanted=progress) as shown:
            for batch in in_batches(run.left(each, shown), batch_size):
                run.take(batch)
                shown.update(len(batch))
                run.save(save_every)
    except KeyboardInterrupt:
        if not run.counted.n_texts:
            raise
        run.counted = replace(run.counted, interrupted=True)
        where = "pass path= to go on another time" if path is None else f"the same call goes on from {path}"
        warnings.warn(
            f"the survey was interrupted after {run.counted.n_texts:,} texts, of which this is the result: {where}",
            AttentionWarning,
            stacklevel=2,
        )
    finally:
        run.save(0.0)
    if not run.counted.n_texts:
        if run.counted.failures:
            raise CaptureError(f"no text could be measured; text 0: {run.counted.failures[0].error}")
        raise ValueError("texts is empty; expected at least one")
    return run.whole()


class _Run:
    """A survey in the making.

    Args:
        asked: what is measured of each text.
        path: of the file; None without one.
        save_every: seconds.
        skip: texts that fail are left out.

    Attributes:
        counted: what was counted. It is replaced as a whole, so that an interrupt finds all of a text in it or none.
    """

    def __init__(self, asked: Asked, path: Path | None, save_every: float, *, skip: bool) -> None:
        if isinstance(save_every, bool) or not isinstance(save_every, (int, float)) or not save_every >= 0:
            raise ValueError(f"save_every is {save_every!r}; expected seconds, 0 or more")
        self._asked, self._path, self._skip = asked, path, skip
        self.counted = Survey(
            asked.model.name, window=int(asked.window), rows=None if asked.rows is None else int(asked.rows)
        )
        self._digests: list[int] = []  # may be ahead of what was counted, by texts that an interrupt came upon
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to keep {path.name} in")
        if path is not None and path.exists():
            self._go_on(Survey.load(path))
        self._saved, self._saved_at = self.counted, time.monotonic()

    def left(self, texts: Iterator[Text], shown: Any) -> Iterator[Text]:  # noqa: ANN401 - tqdm ships no types
        """Texts that are not in the file; those that are have to be the same ones."""
        before, n_given = list(self._digests), 0
        for n_given, text in enumerate(texts, start=1):  # noqa: B007 - looked at below
            if text.index < len(before):
                check_same(self.counted, text, before[text.index], self._asked, self._path)
                shown.update(1)
                continue
            yield text
        if n_given < len(before):
            raise CaptureError(f"{self._path} has {len(before)} texts, and now there are {n_given}{OTHER}")

    def take(self, batch: Sequence[Text]) -> None:
        """Run and count texts; if they fail together, each of them alone."""
        try:
            found = self._asked.of(batch)
        except Exception as error:  # noqa: BLE001 - whatever a model may raise
            if len(batch) > 1:
                for text in batch:
                    self.take([text])
                return
            self._fail(batch[0], error)
            return
        for text, one in zip(batch, found, strict=True):
            other = self._unlike(one.values)
            if other:
                self._fail(text, ValueError(other))
            else:
                self._count(text, _plus(self.counted, text, one))

    def save(self, every: float) -> None:
        """Write the file, if there is one, something new, and the last time was so many seconds ago."""
        if self._path is None or self.counted is self._saved or time.monotonic() - self._saved_at < every:
            return
        counted = self.counted
        self.whole().save(self._path)
        self._saved, self._saved_at = counted, time.monotonic()

    def whole(self) -> Survey:
        """What was counted, with what is needed to go on."""
        seen = self.counted.n_texts + len(self.counted.failures)
        return replace(self.counted, digests=np.array(self._digests[:seen], np.uint64))

    def _count(self, text: Text, counted: Survey) -> None:
        del self._digests[text.index :]
        self._digests.append(text.digest)
        self.counted = counted

    def _fail(self, text: Text, error: Exception) -> None:
        if not self._skip:
            kept = f"The {text.index:,} before it {'is' if text.index == 1 else 'are'} in {self._path}; "
            raise CaptureError(
                f"{text} failed: {_words(error).rstrip('.')}. {kept if self._path is not None and text.index else ''}"
                "on_error='skip' leaves such texts out"
            ) from error
        self._count(text, replace(self.counted, failures=(*self.counted.failures, Failure(text.index, _words(error)))))

    def _go_on(self, found: Survey) -> None:
        check_asked(found, self.counted, self._path)
        self._digests = [int(digest) for digest in found.digests]
        self.counted = replace(found, interrupted=False)

    def _unlike(self, values: Values) -> str:
        """How a text differs from those before it in what there is to measure; "" where it does not."""
        counted = self.counted
        if counted.first is None or shapes_of(values) == shapes_of(counted.sample):
            return ""
        return (
            f"it has {shapes_text(values)}, and text {counted.first} has {shapes_text(counted.sample)}; expected the "
            "same heads for each text"
        )


def _plus(counted: Survey, text: Text, one: Found) -> Survey:
    """With one more text, which has the heads of those before it."""
    if counted.first is None:
        none = {
            name: {measure: Moments.none(values.shape) for measure, values in maps.items()}
            for name, maps in one.values.items()
        }
        counted = replace(counted, moments=none, first=text.index, sample=one.values)
    moments = {
        name: {measure: counted.moments[name][measure].plus(Moments.one(values)) for measure, values in maps.items()}
        for name, maps in one.values.items()
    }
    return replace(
        counted,
        moments=moments,
        n_texts=counted.n_texts + 1,
        n_tokens=counted.n_tokens + one.n_tokens,
        n_sampled=counted.n_sampled + one.sampled,
    )


def _words(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # its own has quotes
    return text.strip() or type(error).__name__
