"""Context managers that say so when they are entered a second time; contextlib's own tell of its insides then."""

from __future__ import annotations

from contextlib import _GeneratorContextManager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from attnwidget.attention import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
Made = TypeVar("Made")


class Block(_GeneratorContextManager[Made]):
    """One `with` block, for once."""

    _entered = False

    def __enter__(self) -> Made:
        """Begin the block.

        Raises:
            CaptureError: it has begun before.
        """
        if self._entered:
            raise CaptureError(
                "this capture was entered before, and each is of one `with` block; call aw.capture(...) for another one"
            )
        self._entered = True
        return super().__enter__()


def block(run: Callable[P, Iterator[Made]]) -> Callable[P, Block[Made]]:
    """As contextlib.contextmanager, of blocks that are entered once."""

    @wraps(run)
    def made(*args: P.args, **kwargs: P.kwargs) -> Block[Made]:
        return Block(run, args, kwargs)  # type: ignore[arg-type]  # any iterator, as there

    return made
