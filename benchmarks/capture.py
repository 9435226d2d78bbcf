"""What capturing costs: a forward with capture against the plain forward and against eager with output_attentions=True.

Shapes of GPT-2-small, of a Llama with grouped queries and of BERT-base, random weights, with and without a padding
mask. Each row has a process of its own, so that none inherits the memory of the one before, and the modes run in turn
in it, so that the ratios hold on a busy machine; peak memory is taken in a process of its own for each. Eager is left
out where its weights alone would take more than a third of the free memory.

glibc gives the top of its heap back to the system when there is much of it, and asks for it again, which costs about a
microsecond a page. Whether it does so depends on what happens to lie above: no page or 85,000 of them in a forward of
0.8 s, plain or with capture, by the luck of a process. So it is told to keep what it has while times are taken, as
other allocators do anyway. `--heap system` leaves it as it is; peaks of memory are always taken so.

    python benchmarks/capture.py [--shapes gpt2 llama bert] [--lengths 256 512 ...] [--padding no yes] [--runs 9]
    python benchmarks/capture.py --device cuda --dtype bfloat16 --lengths 1024 4096 16384 32768
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psutil
import torch
import transformers as tf
from subjects import at_peak, config

import attnwidget as aw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MODES = ("plain", "capture", "eager")
LENGTHS = (256, 512, 1024, 2048, 4096)
LONG = 1024
"""Tokens from which fewer runs are timed."""
KEEPING = {"MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_MMAP_MAX_": "0"}
"""How glibc is told to give nothing back, before a process begins."""
RESULTS = Path(__file__).parent / "results" / "capture.json"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    shape: str
    length: int
    padded: bool
    device: str
    dtype: str


def runner(mode: str, case: Case) -> Callable[[], tuple[Any, Any]]:
    """A function that runs one forward; what it returns holds what the run left behind: its output, and the capture."""
    torch.manual_seed(0)
    implementation = "eager" if mode == "eager" else "sdpa"
    with torch.device(case.device):
        model = tf.AutoModel.from_config(
            config(case.shape, case.length), attn_implementation=implementation, dtype=getattr(torch, case.dtype)
        ).eval()
    ids = torch.randint(0, 30000, (1, case.length), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids.to(case.device)}
    if case.padded:
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["attention_mask"][:, : case.length // 8] = 0

    def run() -> tuple[Any, Any]:
        left = None
        with torch.no_grad():
            if mode == "capture":
                with aw.capture(model, progress=False) as left:
                    output = model(**inputs)
            else:
                output = model(**inputs, output_attentions=mode == "eager")
        if case.device == "cuda":
            torch.cuda.synchronize()
        return output, left

    return run


def modes(case: Case) -> tuple[str, ...]:
    """Eager only where it fits."""
    shape = config(case.shape, case.length)
    dense = shape.num_hidden_layers * shape.num_attention_heads * case.length**2 * 4
    free = torch.cuda.mem_get_info()[0] if case.device == "cuda" else psutil.virtual_memory().available
    return MODES if dense < free / 3 else MODES[:2]


def times(case: Case, runs: int) -> dict[str, Any]:
    """Seconds of the plain runs, and the ratios of each mode, run in turn and taken run by run."""
    runners = {mode: runner(mode, case) for mode in modes(case)}
    seconds: dict[str, list[float]] = {mode: [] for mode in runners}
    for turn in range(runs + 1):
        for mode, run in runners.items():
            start = time.perf_counter()
            left = run()
            if turn:  # the first turn warms up
                seconds[mode].append(time.perf_counter() - start)
            del left  # letting go of what was kept is no part of the run
    ratios = {
        mode: statistics.median(one / plain for one, plain in zip(seconds[mode], seconds["plain"], strict=True))
        for mode in runners
    }
    return {"plain": statistics.median(seconds["plain"]), "ratios": ratios}


def memory(mode: str, case: Case) -> dict[str, float]:
    """MB above the loaded model: at the peak of one forward, and held after it; what a capture holds, taken apart."""
    run = runner(mode, case)
    if case.device == "cuda":
        run()
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_allocated()
        output, left = run()
        top = float(torch.cuda.max_memory_allocated() - base)
    else:
        (output, left), top = at_peak(run)
    result = {"peak": top / 1e6, "held": 0.0, "factors": 0.0}
    if mode == "eager":
        result["held"] = sum(layer.numel() * layer.element_size() for layer in output.attentions) / 1e6
    elif mode == "capture":
        result["held"] = left.nbytes / 1e6
        for layer in left.stacks["self"].layers:
            size = layer.q.element_size() * (layer.q.numel() + layer.k.numel())
            result["factors"] += (size + 4 * layer.n_examples * layer.n_heads * layer.n_queries) / 1e6
    return result


def measure(case: Case, runs: int, *, with_memory: bool, keeps: bool) -> dict[str, Any]:
    """One row of the table; `keeps`: glibc is told to give nothing back while times are taken."""
    timed = in_process(case, "--timed", str(runs), environment=KEEPING if keeps else {})
    usage = {mode: in_process(case, "--memory", mode) for mode in (modes(case) if with_memory else ())}
    return {**asdict(case), **timed, "megabytes": usage}


def in_process(case: Case, *options: str, environment: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """What this program prints of a case in a process of its own."""
    command = [sys.executable, __file__, "--case", json.dumps(asdict(case)), *options]
    usual = {name: value for name, value in os.environ.items() if name not in KEEPING}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**usual, **environment})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show(row: dict[str, Any]) -> str:
    """A row as a line."""
    usage, ratios = row["megabytes"], row["ratios"]
    times = (
        f"{row['shape']:6} {row['length']:6} {'yes' if row['padded'] else 'no':>7} {row['plain']:8.3f} "
        f"{ratios['capture']:8.3f} {ratios.get('eager', float('nan')):6.2f} "
    )
    if not usage:
        return times
    layers = config(row["shape"], row["length"]).num_hidden_layers
    held = usage["capture"]["held"]
    eager = usage.get("eager")
    dense = eager["peak"] if eager else float("nan")
    return times + (
        f"{usage['plain']['peak']:9.0f} {usage['capture']['peak']:7.0f} {dense:7.0f} "
        f"{held:9.1f} {1e6 * held / row['length'] / layers:12.0f} {held / usage['capture']['factors']:10.3f}"
    )


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["gpt2", "llama", "bert"], choices=["gpt2", "llama", "bert"])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens")
    parser.add_argument("--padding", nargs="+", default=["no", "yes"], choices=["no", "yes"], help="an eighth, left")
    parser.add_argument("--runs", type=int, default=9, help=f"timed runs of each mode; a third from {LONG} tokens on")
    parser.add_argument("--times-only", action="store_true", help="without the peaks of memory, a process each")
    parser.add_argument("--heap", default="kept", choices=["kept", "system"], help="whether glibc gives memory back")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--memory", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--timed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        case = Case(**options.case)
        print(json.dumps(memory(options.memory, case) if options.memory else times(case, options.timed)))
        return
    print("                          plain   capture  eager   peak MB                     held MB  bytes per    over")
    print("shape  tokens padding        s   / plain /plain     plain capture   eager   capture  token, layer q+k+lse")
    rows = []
    for shape in options.shapes:
        for length in options.lengths:
            for padded in options.padding:
                case = Case(shape, length, padded == "yes", options.device, options.dtype)
                runs = max(3, options.runs // (3 if length >= LONG else 1))
                keeps = options.heap == "kept"
                rows.append(measure(case, runs, with_memory=not options.times_only, keeps=keeps))
                print(show(rows[-1]), flush=True)
    ratios = [row["ratios"]["capture"] for row in rows]
    print(f"capture / plain: median {statistics.median(ratios):.3f}, worst {max(ratios):.3f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps(
            {"torch": torch.__version__, "transformers": tf.__version__, "heap": options.heap, "rows": rows}, indent=1
        )
    )


if __name__ == "__main__":
    main()
