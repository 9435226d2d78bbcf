"""What a capture should tell of how it counts: calls of one module as layers, and parts of a sequence as examples."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from attnwidget.attention import FramedAttention
from attnwidget.attention.layertable import ranges
from attnwidget.intercept.windows.framing import tells_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from attnwidget.attention import AttentionStack


def counted(stacks: Iterable[AttentionStack], lengths: Collection[int] | None, notes: Collection[str]) -> Iterator[str]:
    """Sentences for the notes.

    Args:
        stacks: of one capture.
        lengths: of the first axes of what the module was given; None where that does not tell how many examples it
            worked on, as where runs are joined and may have searched with beams.
        notes: taken so far, which may have told of windows.
    """
    for stack in stacks:
        layers = defaultdict(list)
        for number, info in enumerate(stack.infos):
            layers[info.path].append(number)
        for path, numbers in layers.items():
            if len(numbers) > 1:
                yield (
                    f"{path or 'the module'} attends {len(numbers)} times in one run: each time is a layer of its own, "
                    f"in the order they ran ({ranges(numbers)} of stack {stack.name!r})"
                )
        count = stack.n_examples
        is_told = _is_framed(stack) or any(tells_of(note, count) for note in notes)
        if lengths and count > 1 and count not in lengths and not is_told:
            yield (
                f"stack {stack.name!r} has {count} examples, and no tensor that the module was given has as "
                "many: parts of what it was given, such as blocks, rows or images of a sequence, are examples of their "
                "own"
            )


def _is_framed(stack: AttentionStack) -> bool:
    return any(isinstance(layer, FramedAttention) for layer in stack.layers)
