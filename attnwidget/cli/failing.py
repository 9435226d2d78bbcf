"""What a person reads when something cannot be done: a line or two, and an exit code."""

from __future__ import annotations

import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

CANNOT = 1
"""Exit code: what was asked for could not be done."""
_LONGEST = 480
"""Characters of an error that are printed; what some libraries say goes on for a page."""
_EXPECTED = (OSError, ValueError, TypeError, RuntimeError, ImportError, MemoryError, LookupError)


@contextmanager
def plainly(*, trace: bool) -> Iterator[None]:
    """Whatever is raised becomes a line on stderr and exit code 1; warnings of ours become lines.

    Args:
        trace: print where it was raised too.

    Raises:
        typer.Exit: something was raised.
    """
    from attnwidget.attention import AttentionWarning

    try:
        with warnings.catch_warnings():
            if not trace:
                warnings.simplefilter("ignore")
            warnings.simplefilter("always", AttentionWarning)
            warnings.showwarning = _warned
            yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        say("stopped; nothing was written")
        raise typer.Exit(CANNOT) from None
    except _EXPECTED as error:
        _tell(error, "", trace=trace)
        raise typer.Exit(CANNOT) from error
    except Exception as error:
        ours = type(error).__name__ == "TraitError"  # whose module is not loaded to ask
        _tell(error, "" if ours else f"{type(error).__name__}: ", trace=trace)
        raise typer.Exit(CANNOT) from error


def say(text: str) -> None:
    """Write a line on stderr, under the name of the program."""
    typer.echo(f"attnwidget: {text}", err=True)


def _tell(error: Exception, prefix: str, *, trace: bool) -> None:
    if trace:
        traceback.print_exception(error, file=sys.stderr)
    words = " ".join(str(error).split()) or type(error).__name__
    say(f"error: {prefix}{_short(words)}")


def _short(words: str) -> str:
    """Beginning and end, where what went wrong and what to do are said."""
    if len(words) <= _LONGEST:
        return words
    half = _LONGEST // 2
    return f"{words[:half].rsplit(' ', 1)[0]} ... {words[-half:].split(' ', 1)[-1]} (--traceback shows all of it)"


def _warned(message: Warning | str, *_: object, **__: object) -> None:
    say(f"warning: {' '.join(str(message).split())}")
