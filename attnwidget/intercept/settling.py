"""From calls as they came by to layers: portions are joined, and layers that were not asked for go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnwidget.intercept.layerchoice import settle
from attnwidget.intercept.windows.portions import consistent, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attnwidget.intercept.recorder import Recorder


def join_portions(recorder: Recorder) -> None:
    """Calls that look from portions of one sequence become one layer."""
    old, recorder.records = recorder.records, list(consistent(joined(recorder.records, recorder.keeper)))
    numbers = {id(record): number for number, record in enumerate(recorder.records)}
    _renumber(recorder, [numbers.get(id(record)) for record in old])


def join_choice(recorder: Recorder) -> None:
    """Layers get the numbers they have among all, and those that were not asked for go.

    Raises:
        CaptureError: a layer or head was asked for that none has, or one that was not kept.
    """
    tops = recorder.tops.values()
    for top in tops:
        top.left_out.update(top.threads)
    settled = settle(recorder.records, recorder.terms, in_loop=any(top.is_several for top in tops))
    recorder.notes.update(dict.fromkeys(settled.notes))
    recorder.records = [record for record in settled.records if record is not None]
    numbers = iter(range(len(recorder.records)))
    _renumber(recorder, [None if record is None else next(numbers) for record in settled.records])


def _renumber(recorder: Recorder, numbers: Sequence[int | None]) -> None:
    """Tell who knows layers by number, by their old numbers; None for one that is no more."""
    for top in recorder.tops.values():
        for key, thread in list(top.threads.items()):
            number = numbers[thread.record]
            if number is None:
                del top.threads[key]
            else:
                thread.record = number
