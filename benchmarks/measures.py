"""What measures cost: each against one plain forward, with the memory it takes at its peak and what the capture holds.

Shapes of GPT-2-small and of a Llama with grouped queries, random weights. First what a run costs that keeps more than
queries and keys (`values=True`, `target=`), then each measure of what was kept: of one head, of one layer, of a few
queries through all layers. Runs are timed in turn with the plain forward in one process, so that ratios hold on a busy
machine; peaks are taken in a process of their own each. Flow is left out where it would be refused.

    python benchmarks/measures.py [--shapes gpt2 llama] [--lengths 128 512 2048] [--runs 5] [--times-only]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import transformers as tf
from subjects import at_peak, config

import attnwidget as aw

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "measures.json"
FEW = 8
"""Queries and keys where some are asked for."""


class Question(NamedTuple):
    """One row of the table.

    Attributes:
        needs: how the run was captured.
        ask: of that capture; None where the run itself is timed.
    """

    needs: dict[str, Any]
    ask: Callable[[aw.AttentionCapture], Any] | None = None


def _target(output: Any) -> torch.Tensor:  # noqa: ANN401 - what a model returns
    return output.logits[0, -1].amax()


def _last(cap: aw.AttentionCapture) -> int:
    return cap.stacks["self"].n_layers - 1


def _few(cap: aw.AttentionCapture) -> tuple[int, int]:
    return len(cap.tokens) - FEW, len(cap.tokens)


VALUES, TARGET = {"values": True}, {"target": _target}
QUESTIONS = {
    "run: capture": Question({}),
    "run: values": Question(VALUES),
    "run: target": Question(TARGET),
    "weight, head": Question({}, lambda cap: cap.measure("weight", 1, 0)),
    "weight, layer": Question({}, lambda cap: cap.measure("weight", 1)),
    "lift, layer": Question({}, lambda cap: cap.measure("lift", 1)),
    "value-weighted, head": Question(VALUES, lambda cap: cap.measure("value-weighted", 1, 0)),
    "value-weighted, layer": Question(VALUES, lambda cap: cap.measure("value-weighted", 1)),
    "value-weighted-layer": Question(VALUES, lambda cap: cap.measure("value-weighted-layer", 1)),
    "gradient, head": Question(TARGET, lambda cap: cap.measure("gradient", 1, 0)),
    "gradient, layer": Question(TARGET, lambda cap: cap.measure("gradient", 1)),
    f"rollout, {FEW} queries": Question({}, lambda cap: cap.measure("rollout", _last(cap), queries=_few(cap))),
    "rollout, all queries": Question({}, lambda cap: cap.measure("rollout", _last(cap))),
    "flow, 1 query, 8 keys": Question(
        {}, lambda cap: cap.measure("flow", 1, queries=[len(cap.tokens) - 1], keys=(0, FEW))
    ),
}


class Subject:
    """A model, a text, and captures of it.

    Args:
        shape: of the model.
        length: of the text, in tokens.
    """

    def __init__(self, shape: str, length: int) -> None:
        torch.manual_seed(0)
        self.model = tf.AutoModelForCausalLM.from_config(config(shape, length)).eval()
        self.ids = torch.randint(0, 30000, (1, length), generator=torch.Generator().manual_seed(0))

    def plain(self) -> None:
        """One forward."""
        with torch.no_grad():
            self.model(self.ids)

    def capture(self, question: Question) -> aw.AttentionCapture:
        """One forward, and what a question needs of it."""
        return aw.AttentionModel(self.model).capture(self.ids, progress=False, **question.needs)


def ratio(subject: Subject, question: Question, runs: int) -> float | None:
    """A question over one plain forward, the median of what they took in turn; None where it is refused."""
    cap = None if question.ask is None else subject.capture(question)
    ratios: list[float] = []
    for turn in range(runs + 1):
        start = time.perf_counter()
        subject.plain()
        plain = time.perf_counter() - start
        start = time.perf_counter()
        try:
            left = subject.capture(question) if question.ask is None or cap is None else question.ask(cap)
        except ValueError:  # a flow that would take too long
            return None
        if turn:  # the first turn warms up
            ratios.append((time.perf_counter() - start) / plain)
        del left  # letting go of what was made is no part of it
    return statistics.median(ratios)


def memory(shape: str, length: int, name: str) -> dict[str, float]:
    """MB: what the capture holds; what was taken above that, or of a run above the loaded model, at the peak."""
    subject, question = Subject(shape, length), QUESTIONS[name]
    cap = None if question.ask is None else subject.capture(question)
    left, top = at_peak(lambda: question.ask(cap) if question.ask and cap is not None else subject.capture(question))
    held = left if question.ask is None else cap
    return {"peak": top / 1e6, "held": held.nbytes / 1e6, "answer": 0 if question.ask is None else left.nbytes / 1e6}


def row(subject: Subject, shape: str, name: str, runs: int, *, with_memory: bool) -> dict[str, Any]:
    """What was measured of one question."""
    length, usage = subject.ids.shape[1], None
    found = ratio(subject, QUESTIONS[name], runs)
    if with_memory and found is not None:
        command = [sys.executable, __file__, "--memory", name, "--shapes", shape, "--lengths", str(length)]
        usage = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"shape": shape, "length": length, "question": name, "ratio": found, "megabytes": usage}


def show(measured: dict[str, Any]) -> str:
    """A row as a line."""
    usage = measured["megabytes"]
    sizes = "" if usage is None else f"{usage['peak']:9.1f} {usage['answer']:9.1f} {usage['held']:9.1f}"
    cost = "  refused" if measured["ratio"] is None else f"{measured['ratio']:9.3f}"
    return f"{measured['shape']:6} {measured['length']:6}  {measured['question']:24} {cost} {sizes}".rstrip()


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["gpt2", "llama"], choices=["gpt2", "llama"])
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 2048], help="tokens")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each")
    parser.add_argument("--times-only", action="store_true", help="without the peaks of memory, a process each")
    parser.add_argument("--memory", choices=QUESTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.shapes[0], options.lengths[0], options.memory)))
        return
    print("shape  tokens  what                       / plain   peak MB answer MB   held MB")
    rows = []
    for shape in options.shapes:
        for length in options.lengths:
            subject = Subject(shape, length)
            for name in QUESTIONS:
                rows.append(row(subject, shape, name, options.runs, with_memory=not options.times_only))
                print(show(rows[-1]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"torch": torch.__version__, "transformers": tf.__version__, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
