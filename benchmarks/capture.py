"""What capturing costs: a forward with capture against the plain forward and against eager with output_attentions=True.

GPT-2-small shape (12 layers, 12 heads, width 768), random weights, float32. The three run in turn in one process, so
that the ratios hold on a busy machine; peak memory is taken in a process of its own for each.

    python benchmarks/capture.py [--lengths 256 1024 2048] [--runs 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
import transformers

import attnwidget as aw

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ("plain", "capture", "eager")
RESULTS = Path(__file__).parent / "results" / "capture.json"


def build(mode: str, length: int) -> torch.nn.Module:
    """A GPT-2 of the small shape, the same weights for every mode."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_positions=length, attn_implementation="eager" if mode == "eager" else "sdpa")
    return transformers.GPT2Model(config).eval()


def runner(mode: str, length: int) -> Callable[[], Any]:
    """A function that runs one forward; what it returns holds what the run left behind."""
    model = build(mode, length)
    ids = torch.randint(0, 50257, (1, length), generator=torch.Generator().manual_seed(0))

    def run() -> Any:  # noqa: ANN401 - each mode leaves something else behind
        with torch.no_grad():
            if mode == "capture":
                with aw.capture(model) as capture:
                    model(input_ids=ids, use_cache=False)
                return capture
            output = model(input_ids=ids, use_cache=False, output_attentions=mode == "eager")
            return output.attentions if mode == "eager" else None

    return run


def times(length: int, runs: int) -> dict[str, float]:
    """Median seconds of each mode, run in turn, and the medians of the ratios taken run by run."""
    runners = {mode: runner(mode, length) for mode in MODES}
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for turn in range(runs + 1):
        for mode, run in runners.items():
            start = time.perf_counter()
            run()
            if turn:  # the first turn warms up
                seconds[mode].append(time.perf_counter() - start)
    ratios = {
        f"{mode}/plain": statistics.median(a / b for a, b in zip(seconds[mode], seconds["plain"], strict=True))
        for mode in ("capture", "eager")
    }
    return {**{mode: statistics.median(values) for mode, values in seconds.items()}, **ratios}


def memory(mode: str, length: int) -> dict[str, float]:
    """MB above the loaded model: at the peak of one forward, and held after it."""
    run = runner(mode, length)
    process = psutil.Process()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    left = run()
    done.set()
    watcher.join()
    dense = sum(layer.numel() * layer.element_size() for layer in left) if mode == "eager" else 0
    held = left.nbytes if mode == "capture" else dense
    return {"peak": (max(peak, process.memory_info().rss) - before) / 1e6, "held": held / 1e6}


def measure(length: int, runs: int) -> dict[str, Any]:
    """One row of the table."""
    usage = {}
    for mode in MODES:
        command = [sys.executable, __file__, "--memory", mode, "--lengths", str(length)]
        usage[mode] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"tokens": length, "seconds": times(length, runs), "megabytes": usage}


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024, 2048], help="tokens")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each mode")
    parser.add_argument("--memory", choices=MODES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.memory, options.lengths[0])))
        return
    rows = [measure(length, options.runs) for length in options.lengths]
    print("GPT-2-small shape, one forward, median of", options.runs)
    print("tokens   plain s  capture/plain  eager/plain   peak MB: plain capture   eager   held MB: capture   eager")
    for row in rows:
        seconds, usage = row["seconds"], row["megabytes"]
        print(
            f"{row['tokens']:6}  {seconds['plain']:8.3f}  {seconds['capture/plain']:13.2f}"
            f"  {seconds['eager/plain']:11.2f}"
            f"  {usage['plain']['peak']:14.0f} {usage['capture']['peak']:7.0f} {usage['eager']['peak']:7.0f}"
            f"  {usage['capture']['held']:16.0f} {usage['eager']['held']:7.0f}"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
