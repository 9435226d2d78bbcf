"""One forked process per model type, a few at a time: with limits, so that no model can hang or end the sweep."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FAMILIAR = ("llama", "clip", "qwen2_vl", "wav2vec2", "whisper", "bart")


_SHARE = {"cpu": 1}
_USUAL_SHARE = 20
"""Model types that a process judges: to begin with a GPU takes longer than to judge one."""


@dataclass
class _Child:
    waiting: list[str]
    pid: int
    pipe: int
    heard: float
    data: bytes = b""

    def take(self) -> Iterator[dict[str, Any]]:
        """Results that have come whole."""
        *lines, self.data = self.data.split(b"\n")
        for line in lines:
            self.waiting.pop(0)
            self.heard = time.monotonic()
            yield json.loads(line)


def sweep(
    types: Sequence[str], *, workers: int = 2, seconds: float = 120, memory: int = 6, device: str = "cpu"
) -> Iterator[dict[str, Any]]:
    """Judge model types, in whatever order they finish.

    Args:
        types: names.
        workers: processes at a time.
        seconds: after which one type is given up.
        memory: GB of address space that a process may take on a CPU. A GPU takes addresses without number.
        device: where models run.

    Yields:
        Results as dictionaries.
    """
    _load()
    share = _SHARE.get(device, _USUAL_SHARE)
    limit = (memory << 30, memory << 30) if device == "cpu" else None
    waiting = [list(types[first : first + share]) for first in range(0, len(types), share)]
    running: dict[int, _Child] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            child = _start(waiting.pop(0), seconds, limit, device)
            running[child.pipe] = child
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for pipe in ready:
            child = running[pipe]
            part = os.read(pipe, 1 << 16)
            child.data += part
            yield from child.take()
            if part:
                continue
            del running[pipe]
            yield from _finish(child)
            if child.waiting:
                waiting.append(child.waiting)
        for child in list(running.values()):
            if time.monotonic() - child.heard > seconds + 10:
                os.kill(child.pid, signal.SIGKILL)


def _load() -> None:
    """Everything that is slow to import, once for all children."""
    from sweep import judge
    from sweep.kinds import model_class

    for model_type in _FAMILIAR:
        model_class(model_type)
    del judge


def _start(types: list[str], seconds: float, limit: tuple[int, int] | None, device: str) -> _Child:
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return _Child(types, pid, reading, time.monotonic())
    try:
        os.close(reading)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, limit)
        warnings.simplefilter("ignore")
        import torch
        import transformers

        transformers.logging.set_verbosity(transformers.logging.CRITICAL)
        torch.set_num_threads(1)
        torch.backends.cudnn.allow_tf32 = False  # whose rounding would hide what is compared
        from sweep.judge import judge

        with os.fdopen(writing, "w") as pipe:
            for model_type in types:
                signal.alarm(int(seconds))
                print(json.dumps(judge(model_type, device).as_dict()), file=pipe, flush=True)
    finally:
        os._exit(0)


def _finish(child: _Child) -> Iterator[dict[str, Any]]:
    """What came of the type at which a process ended; those after it are still to be judged."""
    os.close(child.pipe)
    _, status = os.waitpid(child.pid, 0)
    if child.waiting:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}"
        taken = time.monotonic() - child.heard
        yield {
            "model_type": child.waiting.pop(0),
            "category": "not built",
            "reason": f"ended by {how} after {taken:.0f} s",
            "seconds": taken,
        }
