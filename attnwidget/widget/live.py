"""Runs a model again, on another text, while the page and the kernel go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeGuard, TypeVar

from attnwidget.attention.errors import CaptureError
from attnwidget.widget.parsing import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from attnwidget.attention import AttentionCapture
    from attnwidget.widget.output import Asking

Text: TypeAlias = "str | tuple[str, str]"
State: TypeAlias = Literal["idle", "running", "stopping", "cancelled", "failed"]
Made = TypeVar("Made")
Stop: TypeAlias = Callable[[], bool]


@dataclass(frozen=True)
class Live:
    """What a view with a text box needs beside a capture.

    Attributes:
        text: the text of the capture, or a pair of texts.
        run: makes the capture of another one. Its second argument says whether to stop; it may raise anything then.
        seconds: what the run that made the capture took.
        ask: makes what is asked about the output of the model, of a text and its capture; None: nothing is.
    """

    text: Text
    run: Callable[[Text, Stop], AttentionCapture]
    seconds: float = 0.0
    ask: Callable[[Text, AttentionCapture], Asking] | None = None


@dataclass(eq=False)
class _Run:
    text: Text
    stopped: threading.Event = field(default_factory=threading.Event)


class Runner(Generic[Made]):
    """Runs one text at a time, of which the last one counts.

    A run that was begun by the page has a thread of its own; its result is handed over on the event loop that this was
    made in, where there is one that still runs: in a notebook that is the thread of the kernel, so that nobody's
    observers are called beside a running cell. Without a loop it is handed over in that thread.

    Args:
        run: makes a result from a text; its second argument says whether to stop.
        show: takes a text, its result and the seconds that it took.
        tell: hears how things are: a state, the text it is about and, of "failed", what went wrong.
    """

    def __init__(
        self,
        run: Callable[[Text, Stop], Made],
        *,
        show: Callable[[Text, Made, float], None],
        tell: Callable[[State, Text, str], None],
    ) -> None:
        self._run, self._show, self._tell = run, show, tell
        self._model = threading.Lock()  # two runs at once would need twice the memory
        self._lock = threading.RLock()
        self._last: _Run | None = None
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def start(self, text: Text) -> None:
        """Run a text in a thread, instead of the one that runs now. Returns at once."""
        with self._lock:
            run = self._next(text)
            self._tell("running", text, "")
        threading.Thread(target=self._work, args=(run,), name="attnwidget-live", daemon=True).start()

    def now(self, text: Text) -> None:
        """Run a text here, instead of the one that runs now, and show it.

        Raises:
            RuntimeError: the page cancelled the run, or wants another text by now. Otherwise whatever the run raises.
        """
        with self._lock:
            run = self._next(text)
            self._tell("running", text, "")
        try:
            with self._model:
                made, seconds = self._timed(run)
        except BaseException:
            if not run.stopped.is_set():
                self._end(run, "idle")
                raise
        else:
            with self._lock:
                if not run.stopped.is_set():
                    try:
                        self._show(text, made, seconds)
                    finally:
                        self._end(run, "idle")
                    return
        self._end(run, "cancelled")
        raise RuntimeError("its run was cancelled, or the page has asked for another text since")

    def cancel(self) -> None:
        """Ask the run to stop; it does at the next place where it can."""
        with self._lock:
            if self._last is not None and not self._last.stopped.is_set():
                self._last.stopped.set()
                self._tell("stopping", self._last.text, "")

    @contextmanager
    def resting(self) -> Iterator[bool]:
        """Tell whether no text runs now; then none begins before the block ends."""
        rests = self._model.acquire(blocking=False)
        try:
            yield rests
        finally:
            if rests:
                self._model.release()

    def close(self) -> None:
        """Stop, and show nothing any more."""
        with self._lock:
            if self._last is not None:
                self._last.stopped.set()
            self._last = None

    def _next(self, text: Text) -> _Run:
        self.close()
        self._last = _Run(text)
        return self._last

    def _timed(self, run: _Run) -> tuple[Made, float]:
        began = time.monotonic()
        made = self._run(run.text, run.stopped.is_set)
        return made, time.monotonic() - began

    def _work(self, run: _Run) -> None:
        try:
            with self._model:
                if run.stopped.is_set():
                    raise InterruptedError
                made, seconds = self._timed(run)
            end = partial(self._done, run, made, seconds)
        except BaseException as error:  # noqa: BLE001 - there is nobody else who could hear of it
            end = partial(self._failed, run, words_of(error))
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(end)
        else:
            end()

    def _done(self, run: _Run, made: Made, seconds: float) -> None:
        with self._lock:
            if run is not self._last:
                return
            if run.stopped.is_set():
                self._end(run, "cancelled")
                return
            try:
                self._show(run.text, made, seconds)
            except Exception as error:  # noqa: BLE001 - as a run that fails: the page must hear of it
                self._failed(run, words_of(error))
            else:
                self._end(run, "idle")

    def _failed(self, run: _Run, message: str) -> None:
        if run.stopped.is_set():
            self._end(run, "cancelled")
        else:
            self._end(run, "failed", message)

    def _end(self, run: _Run, state: State, message: str = "") -> None:
        with self._lock:
            if run is self._last:
                self._last = None
                self._tell(state, run.text, message)


def words_of(error: BaseException) -> str:
    """What went wrong; the kind of error where its text alone may not say it."""
    ours = isinstance(error, (ValueError, CaptureError, RuntimeError)) and str(error)
    return str(error) if ours else f"{type(error).__name__}: {error}".removesuffix(": ")


def commands(
    runner: Runner[Any] | None, stop: Callable[[], None]
) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """What the page may ask of a runner, by the name of the method.

    Args:
        runner: None: of a view without a text box.
        stop: lets go of what else was begun, with the run.
    """

    def live() -> Runner[Any]:
        if runner is None:
            raise RequestError(
                "invalid", "this view shows one capture: model.show(text) makes one whose text can be edited"
            )
        return runner

    def run(params: Mapping[str, Any]) -> dict[str, Any]:
        live().start(_text(params.get("text")))
        return {}

    def cancel(_: Mapping[str, Any]) -> dict[str, Any]:
        live().cancel()
        stop()
        return {}

    return {"run": run, "cancel": cancel}


def is_text(value: object) -> TypeGuard[Text]:
    """Whether this is a text, or a pair of texts."""
    match value:
        case str() | (str(), str()):
            return not isinstance(value, list)
    return False


def _text(value: object) -> Text:
    given = tuple(value) if isinstance(value, list) else value
    if is_text(given):
        return given
    raise RequestError("invalid", f"'text' is {value!r:.60}: expected a text, or a list of two")
