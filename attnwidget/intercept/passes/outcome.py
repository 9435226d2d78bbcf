"""After the block: runs that continue one another are joined, and what was generated is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention import CaptureError, Generation, ranges
from attnwidget.intercept.passes.lineage import chosen_sequences, last_examples
from attnwidget.intercept.passes.stitching import Stitcher, repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.attention import Attention
    from attnwidget.intercept.passes.generating import Generated
    from attnwidget.intercept.passes.lineage import Lineage
    from attnwidget.intercept.passes.runs import Top
    from attnwidget.intercept.passes.threads import Thread
    from attnwidget.intercept.recorder import Recorder


@dataclass(frozen=True, eq=False)
class Outcome:
    """What generate() left behind.

    Attributes:
        ids: (F, L), the returned sequences.
        lengths: (F,), ids of each up to its end.
        prompt: ids of them that were given.
        shift: position of the first id; those before came as something else than ids.
        past: position of the first query; keys before it came from an earlier run.
        n_rows: rows shown.
        ends: (F,), rows that each sequence has to show.
    """

    ids: NDArray[np.intp]
    lengths: NDArray[np.intp]
    prompt: int
    shift: int
    past: int
    n_rows: int
    ends: NDArray[np.intp]

    def generation(self, starts: Sequence[int] | None = None, texts: Sequence[str] | None = None) -> Generation:
        """In the words of a capture.

        Args:
            starts: per example, positions of padding before its prompt that the capture cuts off.
            texts: what was generated.

        Returns:
            Counts, ids and texts.
        """
        given = max(self.shift + self.prompt - self.past, 0)
        starts = [0] * len(self.ids) if starts is None else starts
        return Generation(
            tuple(max(given - start, 0) for start in starts),
            tuple(
                tuple(ids[max(start - self.shift, 0) : length].tolist())
                for ids, start, length in zip(self.ids, starts, self.lengths, strict=True)
            ),
            None if texts is None else tuple(texts),
        )


def join_runs(recorder: Recorder) -> Outcome | None:
    """Replace the records of layers that ran several times by one each, and say so in the notes.

    Args:
        recorder: after the block, without a problem.

    Returns:
        What generate() returned, where it was called; that of its last call.

    Raises:
        CaptureError: which of the sequences to show is not known.
    """
    outcome, each = None, 1
    joined: set[int] = set()
    for top in recorder.tops.values():
        if top.is_several and not top.is_left_out:
            outcome = _join(recorder, top) or outcome
            joined.update(thread.record for thread in top.threads.values())
            each = 1 if top.generated is None else top.generated.each
    if outcome is not None and each > 1:
        # An encoder read each prompt once: it is repeated, so that an example is the same in every stack.
        examples = np.arange(len(outcome.ids)) // each
        for number, record in enumerate(recorder.records):
            if number not in joined and record.attention.n_examples * each == len(examples):
                recorder.records[number] = replace(record, attention=repeated(record.attention, examples))
    recorder.tops.clear()
    return outcome


def _join(recorder: Recorder, top: Top) -> Outcome | None:
    generated, first = top.generated, top.runs[0]
    if generated is not None and generated.last != top.runs[-1].number:
        generated = None  # a loop of one's own went on from there, and all of it is shown
    if len(top.runs) == 1 and generated is not None:
        n_rows = first.ids.shape[1] if first.ids is not None else list(top.threads.values())[-1].pieces[0].place.n_rows
        first.place(0, 0, n_rows, generated.batch)
        for thread in top.threads.values():
            thread.settle()
    past = max((thread.past for thread in top.threads.values()), default=0)
    chosen = None if generated is None else chosen_sequences(top.runs, past, generated)
    lineage = chosen or last_examples(top.runs)
    stitcher = Stitcher(lineage, recorder.keeper)
    changed = []
    for thread in top.threads.values():
        changed += [thread.record] if thread.changed else []
        record = recorder.records[thread.record]
        if thread.kind != "open" or (len(top.runs) == 1 and thread.pieces[0].place.n_rows == first.total_rows):
            recorder.records[thread.record] = replace(record, attention=_joined(stitcher, thread, record.path))
            continue
        # It was called once, as a tower that looks at a picture is.
        examples = lineage.examples.get(0) if record.attention.n_examples == first.batch else None
        if examples is not None:
            recorder.records[thread.record] = replace(record, attention=repeated(record.attention, examples))
    outcome = None
    if generated is not None and chosen is not None:
        ends = np.full(len(generated.sequences), lineage.n_rows) if lineage.ends is None else lineage.ends
        outcome = Outcome(
            generated.sequences, generated.lengths(), generated.prompt, lineage.shift, past, lineage.n_rows, ends
        )
    recorder.notes.update(dict.fromkeys(_notes(top, generated, outcome, changed)))
    recorder.notes.update(dict.fromkeys(_left(top, lineage) if chosen is None else ()))
    return outcome


def _joined(stitcher: Stitcher, thread: Thread, path: str) -> Attention:
    try:
        return stitcher.join(thread)
    except ValueError as error:
        raise CaptureError(f"the passes of {path or 'the module'} cannot be joined: {error}") from error


def _taken_back(top: Top) -> list[tuple[int, int, int]]:
    """Passes that took back tokens of those before: their number, the first token and the one behind the last.

    Not those of generate(), where it is how drafts are rejected.
    """
    found, end, own = [], 0, top.generated
    for run in top.runs:
        if run.row is None or run.n_rows is None:
            continue
        if run.row < end and not (own is not None and own.first <= run.number <= own.last):
            found.append((run.number, run.row, end))
        end = run.row + run.n_rows
    return found


def _left(top: Top, lineage: Lineage) -> list[str]:
    """What became of examples that the last pass does not continue, or continues more than once."""
    first, shown = top.runs[0].batch or 0, lineage.examples.get(0)
    if shown is None or np.array_equal(np.sort(shown), np.arange(first)):
        return []
    return [
        f"of the {first} examples that ran at first, those that the last pass continues are shown: {shown.tolist()}"
    ]


def _notes(top: Top, generated: Generated | None, outcome: Outcome | None, changed: list[int]) -> list[str]:
    notes, name = [], type(top.module).__name__
    if len(top.runs) > 1:
        notes.append(f"{len(top.runs)} forward passes of {name} that continue one another are shown as one")
    taken = _taken_back(top)
    if taken:
        number, first, end = taken[0]
        notes.append(
            f"{len(taken)} of them took back tokens that others had run, as where a cache is forked: first pass "
            f"{number + 1}, from token {first} to {end - 1}. Of these tokens the last pass over them is shown; for the "
            "others, open a capture around each continuation"
        )
    if outcome is not None and (outcome.shift + outcome.lengths > outcome.past + outcome.ends).any():
        notes.append("the last token that was generated was not run by the model: it has no row and no column")
    if outcome is None and generated is not None:
        notes.append("the ids that ran are not those that generate() returned: every position that ran is shown")
    if generated is not None and generated.beams:
        notes.append(f"of the {generated.batch} beams that ran, those that became the returned sequences are shown")
    if any(run.row is not None and run.first != run.row for run in top.runs):
        notes.append("each pass ran earlier tokens again, as without a cache: their rows are those of the first pass")
    if changed:
        notes.append(
            f"in layers {ranges(sorted(changed))} the keys of earlier tokens changed between passes, as in a quantized "
            "cache: each row is computed from the keys that it saw"
        )
    return notes
