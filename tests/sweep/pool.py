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


@dataclass
class _Child:
    model_type: str
    pid: int
    pipe: int
    began: float
    data: bytes = b""


def sweep(types: Sequence[str], *, workers: int = 2, seconds: float = 120, memory: int = 6) -> Iterator[dict[str, Any]]:
    """Judge model types, in whatever order they finish.

    Args:
        types: names.
        workers: processes at a time.
        seconds: after which one is ended.
        memory: GB of address space that one may take.

    Yields:
        Results as dictionaries.
    """
    _load()
    waiting, running = list(types), {}
    while waiting or running:
        while waiting and len(running) < workers:
            child = _start(waiting.pop(0), seconds, memory)
            running[child.pipe] = child
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for pipe in ready:
            child = running[pipe]
            part = os.read(pipe, 1 << 16)
            child.data += part
            if not part:
                yield _finish(running.pop(pipe))
        for child in list(running.values()):
            if time.monotonic() - child.began > seconds + 10:
                os.kill(child.pid, signal.SIGKILL)


def _load() -> None:
    """Everything that is slow to import, once for all children."""
    from sweep import judge
    from sweep.kinds import model_class

    for model_type in _FAMILIAR:
        model_class(model_type)
    del judge


def _start(model_type: str, seconds: float, memory: int) -> _Child:
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return _Child(model_type, pid, reading, time.monotonic())
    try:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_AS, (memory << 30, memory << 30))
        signal.alarm(int(seconds))
        warnings.simplefilter("ignore")
        import torch
        import transformers

        transformers.logging.set_verbosity(transformers.logging.CRITICAL)
        torch.set_num_threads(1)
        from sweep.judge import judge

        text = json.dumps(judge(model_type).as_dict())
        with os.fdopen(writing, "w") as pipe:
            pipe.write(text)
    finally:
        os._exit(0)


def _finish(child: _Child) -> dict[str, Any]:
    os.close(child.pipe)
    _, status = os.waitpid(child.pid, 0)
    try:
        found: dict[str, Any] = json.loads(child.data)
    except json.JSONDecodeError:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}"
        taken = time.monotonic() - child.began
        return {
            "model_type": child.model_type,
            "category": "not built",
            "reason": f"ended by {how} after {taken:.0f} s",
            "seconds": taken,
        }
    return found
