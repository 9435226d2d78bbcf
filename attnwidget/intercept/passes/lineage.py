"""Which example of each run a sequence went through, and how far it came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnwidget.attention import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from attnwidget.intercept.passes.generating import Generated
    from attnwidget.intercept.passes.runs import Run

    Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Lineage:
    """The sequences to show.

    Attributes:
        examples: by run number, (F,): which example of it each sequence was; None: the one of its own number.
        ends: (F,), rows that each has to show; None: all of them.
        n_rows: the most rows that any has.
        shift: position of the first of the returned ids, where sequences were returned.
    """

    examples: dict[int, Ints | None]
    ends: Ints | None
    n_rows: int
    shift: int = 0


def last_examples(runs: Sequence[Run]) -> Lineage:
    """Every example of the last run, and whom it continues."""
    n_rows = (runs[-1].row or 0) + (runs[-1].n_rows or 0)
    if not any(run.parents is not None for run in runs):
        return Lineage(dict.fromkeys(run.number for run in runs), None, n_rows)
    return Lineage(dict(_back(runs, np.arange(runs[-1].batch or 0))), None, n_rows)


def chosen_sequences(runs: Sequence[Run], past: int, generated: Generated) -> Lineage | None:
    """The examples that became the returned sequences, told by their tokens.

    Args:
        runs: all of the module's.
        past: keys that came before the first query.
        generated: what was returned.

    Returns:
        Their lineage, cut off behind the last of their tokens that was run; None where not all of them can be
        followed, and there is nothing to choose.

    Raises:
        CaptureError: other ids ran, and which of them to show is not known.
    """
    count, lengths, shift = len(generated.sequences), generated.lengths(), _shift(runs, past, generated)
    # Beams may change places once more after the last run, which no keys tell of.
    straight = not generated.beams and all(run.parents is None and run.batch == count for run in runs)
    unknown = [run for run in runs if not run.has_ids and past + (run.first or 0) >= shift + generated.prompt]
    if unknown and not straight:
        if not generated.beams and not any(run.parents is not None for run in runs):
            return None  # several ids at a position, as the codebooks of a sound: their rows are no examples
        raise CaptureError(
            "generate() searched with beams, and the watched module was not called with token ids to tell them apart "
            "by: capture the whole model, or one forward pass over the final text"
        )
    tokens, last, example = _follow(runs, past, generated, shift, straight=straight)
    lost = np.flatnonzero(tokens < shift + lengths - 1)
    if len(lost) and straight and not all(run.has_ids for run in runs):
        return None
    if len(lost):
        one = lost[0]
        raise CaptureError(
            f"generate() returned sequence {one} of {lengths[one]} tokens, and of the {runs[-1].batch} sequences that "
            f"ran none agrees with it beyond {tokens[one]} of them: what to show is not known. Capture one forward "
            "pass over the final text"
        )
    ends = tokens - past
    n_rows = int(ends.max())
    shown = None if (ends == n_rows).all() else ends
    if straight:
        return Lineage(dict.fromkeys(run.number for run in runs), shown, n_rows, shift)
    traces = [_back(runs[: stop + 1], np.array([one])) for stop, one in zip(last, example, strict=True)]
    examples = {
        run.number: np.array([trace[run.number][0] if run.number in trace else 0 for trace in traces]) for run in runs
    }
    return Lineage(dict(examples), shown, n_rows, shift)


def _back(runs: Sequence[Run], examples: Ints) -> dict[int, Ints]:
    """From examples of the last of some runs to whom they continue in each of those before."""
    found = {}
    for run in reversed(runs):
        found[run.number] = examples
        examples = examples if run.parents is None else run.parents[examples]
    return found


def _follow(
    runs: Sequence[Run], past: int, generated: Generated, shift: int, *, straight: bool
) -> tuple[Ints, Ints, Ints]:
    """How many positions of each sequence ran, up to which run and in which example of it: (F,) each."""
    sequences, lengths = generated.sequences, generated.lengths()
    count = len(sequences)
    prompts = max(1, count // generated.each)
    best: Ints = np.full(count, -1)
    last: Ints = np.zeros(count, np.intp)
    example: Ints = np.zeros(count, np.intp)
    reached: Ints = np.zeros((count, 1), np.intp)
    for index, run in enumerate(runs):
        batch, start = run.batch or 0, past + (run.first or 0)
        candidates = np.arange(count)[:, None] if straight else np.broadcast_to(np.arange(batch), (count, batch))
        if not index:
            before: Ints = np.full(candidates.shape, start)
        elif straight or run.parents is None:
            before = reached
        else:
            before = reached[:, run.parents]
        matched = _matching(run, candidates, sequences, lengths, start - shift)
        reached = np.where(before >= start, start + matched, before)
        # Examples of one prompt stand together. Those of another may have the same tokens: where these are a decoder's,
        # they are something else all the same.
        own = np.arange(count)[:, None] * prompts // count
        foreign = (candidates * prompts // max(batch, 1) != own) & (batch % prompts == 0)
        winner = np.where(foreign, -1, reached).argmax(axis=1)
        tokens = np.take_along_axis(reached, winner[:, None], axis=1)[:, 0]
        better = tokens > best
        best, last = np.where(better, tokens, best), np.where(better, index, last)
        example = np.where(better, np.take_along_axis(candidates, winner[:, None], axis=1)[:, 0], example)
    return best, last, example


def _matching(run: Run, candidates: Ints, sequences: Ints, lengths: Ints, start: int) -> Ints:
    """How many of a run's tokens, from the first on, are those of each sequence: (F, candidates)."""
    n = run.total_rows
    if run.ids is None or not run.has_ids:  # called with something else than ids: they may be any
        room: Ints = np.clip(lengths - start, 0, n)
        return np.broadcast_to(room[:, None], candidates.shape)
    places = start + np.arange(n)  # in the sequences; before them, whatever came is theirs
    known = np.clip(places, 0, sequences.shape[1] - 1)
    wanted = sequences[:, None, known]  # (F, 1, n)
    same = (run.ids[candidates] == wanted) | (places < 0)
    same &= (places < lengths[:, None])[:, None]
    matched: Ints = np.logical_and.accumulate(same, axis=2).sum(axis=2)
    return matched


def _shift(runs: Sequence[Run], past: int, generated: Generated) -> int:
    """Position of the first returned id: 0, unless only what is new was passed, or embeddings in place of ids."""
    run = runs[generated.first]
    start, prompt = past + (run.first or 0), generated.prompt
    after = start + run.total_rows - prompt  # right where the first run took the whole prompt
    if run.ids is None or not run.has_ids:
        return max(after, 0)
    for shift in sorted((0, start), key=lambda one: one != after):  # what was cached was passed again, or was not
        places = start - shift + np.arange(run.total_rows)
        inside = (places >= 0) & (places < prompt)
        wanted = generated.sequences[:, places[inside]]
        if inside.any() and (run.ids[:, None, inside] == wanted[None]).all(axis=2).any():
            return shift
    return max(after, 0)
