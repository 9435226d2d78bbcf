"""What long texts cost in Python: capturing them, and looking at one head of them.

Capturing: a forward with capture against the plain forward, in turn, for the shapes of GPT-2-small and of a Llama with
grouped queries, random weights. From some length on fewer layers are run (the column says how many), because a plain
forward of all of them would take minutes on a small machine.

Looking: overviews, tiles of every level and marginals of one causal head of 64 numbers, against one plain attention
call of that head. Its softmax denominators are known, as the kernels return them; "no lse": they are not, and the first
overview computes those of the rows it looks at.

    python benchmarks/long_context.py [--lengths 1024 4096 ...] [--shapes gpt2 llama] [--parts capture head] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers as tf
from torch.nn.functional import scaled_dot_product_attention

import attnwidget as aw
from attnwidget.attention import Mask
from attnwidget.widget.protocol import EXACT_CELLS, PYRAMID_TILE, SAMPLE_ROWS, TILE

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (1024, 4096, 8192, 16384, 32768)
SHAPES = ("gpt2", "llama")
LAYERS = {"gpt2": 12, "llama": 4}
FEWER_LAYERS = {4096: 4, 8192: 2, 16384: 1}
"""By length: how many at most."""
RESULTS = Path(__file__).parent / "results" / "long_context.json"


def layers_of(shape: str, length: int) -> int:
    """Layers that are run."""
    return min([LAYERS[shape], *(layers for least, layers in FEWER_LAYERS.items() if length >= least)])


def config(shape: str, length: int) -> Any:  # noqa: ANN401 - a transformers config
    """The shapes that are measured."""
    layers = layers_of(shape, length)
    if shape == "gpt2":  # 12 heads of 64
        return tf.GPT2Config(n_positions=length, n_layer=layers, use_cache=False)
    # As Llama 3.2 1B: 32 heads on 8 key-value heads of 64, width 2048; a small vocabulary.
    return tf.LlamaConfig(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=length,
        use_cache=False,
    )


def capturing(shape: str, length: int, runs: int) -> dict[str, Any]:
    """A forward with capture against the plain one."""
    torch.manual_seed(0)
    model = tf.AutoModel.from_config(config(shape, length), attn_implementation="sdpa").eval()
    ids = torch.randint(0, 30000, (1, length))
    plain, ratios, held = [], [], 0
    with torch.no_grad():
        model(ids[:, :256])  # warms up
        for _ in range(runs):
            start = time.perf_counter()
            model(ids)
            middle = time.perf_counter()
            with aw.capture(model, progress=False) as cap:
                model(ids)
            plain.append(middle - start)
            ratios.append((time.perf_counter() - middle) / plain[-1])
            held = cap.nbytes
            del cap
    layers = layers_of(shape, length)
    return {
        "shape": shape,
        "length": length,
        "layers": layers,
        "layers_of_shape": LAYERS[shape],
        "plain": statistics.median(plain),
        "ratio": statistics.median(ratios),
        "bytes_per_token_and_layer": held / length / layers,
    }


def fastest(call: Callable[[], object], runs: int) -> float:
    """Seconds."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def looking(shape: str, length: int, runs: int) -> dict[str, Any]:
    """Parts of one head against one plain attention call of it."""
    group = 1 if shape == "gpt2" else 4
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, group, length, 64, generator=generator)
    k, v = torch.randn(2, 1, 1, length, 64, generator=generator)
    one = q[:, :1]
    scores_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(one, k, v, is_causal=True)[1]  # noqa: SLF001
    lse = scores_sum.expand(1, group, length).contiguous()
    cap = capture_of(q, k, lse)
    sides = {"height": min(TILE, length), "width": min(TILE, length)}
    seconds = {
        "plain": fastest(lambda: scaled_dot_product_attention(one, k, v, is_causal=True), runs),
        "sampled overview": fastest(lambda: cap.tile(0, 0, **sides, rows=SAMPLE_ROWS), runs),
        "sampled overview, no lse": fastest(lambda: capture_of(q, k).tile(0, 0, **sides, rows=SAMPLE_ROWS), runs),
        "exact overview": fastest(lambda: cap.tile(0, 0, **sides), runs),
        "exact overview, mean": fastest(lambda: cap.tile(0, 0, **sides, reduce="mean"), runs),
        "marginals": fastest(lambda: cap.marginals(0, 0, **sides, rows=1024), runs),
    }
    level = 0
    while (side := PYRAMID_TILE << level) <= length:
        # Far from the diagonal, where nothing is masked: the dearest of its level.
        place = {"queries": (length - side, length), "keys": (0, side), "level": level}
        rows = None if side * side <= EXACT_CELLS else SAMPLE_ROWS
        name = f"tile of level {level}{'' if rows is None else ', sampled'}"
        seconds[name] = fastest(lambda place=place, rows=rows: cap.tile(0, 0, **place, rows=rows), runs)
        level += 1
    return {"shape": shape, "length": length, "seconds": seconds}


def capture_of(q: torch.Tensor, k: torch.Tensor, lse: torch.Tensor | None = None) -> aw.AttentionCapture:
    """A capture of one causal layer."""
    mask = Mask.causal(q.shape[2], k.shape[2])
    return aw.AttentionCapture([aw.AttentionStack("self", [aw.FactoredAttention(q, k, lse, mask=mask)])])


def show_head(row: dict[str, Any]) -> str:
    """Lines: seconds of each, and against the plain call."""
    plain = row["seconds"]["plain"]
    head = f"one head, {row['shape']}, {row['length']} tokens"
    return "\n".join(
        [head, *(f"  {name:28} {took:8.4f} s {took / plain:8.3f} x" for name, took in row["seconds"].items())]
    )


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, choices=SHAPES)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens")
    parser.add_argument("--parts", nargs="+", default=["capture", "head"], choices=["capture", "head"])
    parser.add_argument("--runs", type=int, default=3, help="of each measurement")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    captures, heads = [], []
    if "capture" in options.parts:
        print("shape  tokens   layers   plain s  capture / plain  bytes per token, layer")
        for shape in options.shapes:
            for length in options.lengths:
                row = capturing(shape, length, options.runs)
                captures.append(row)
                print(
                    f"{shape:6} {length:6} {row['layers']:2} of {row['layers_of_shape']:2} {row['plain']:9.3f} "
                    f"{row['ratio']:16.3f} {row['bytes_per_token_and_layer']:23.0f}",
                    flush=True,
                )
    if "head" in options.parts:
        for shape in options.shapes:
            for length in options.lengths:
                heads.append(looking(shape, length, options.runs))
                print(show_head(heads[-1]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    versions = {"torch": torch.__version__, "transformers": tf.__version__, "threads": torch.get_num_threads()}
    RESULTS.write_text(json.dumps({**versions, "capture": captures, "head": heads}, indent=1))


if __name__ == "__main__":
    main()
