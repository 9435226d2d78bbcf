"""What benchmarks of captures share: the shapes of models, and memory at the peak of a run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import transformers as tf

if TYPE_CHECKING:
    from collections.abc import Callable

Left = TypeVar("Left")


def config(shape: str, length: int) -> Any:  # noqa: ANN401 - a transformers config
    """The shapes that are measured."""
    if shape == "gpt2":  # 12 layers, 12 heads of 64
        return tf.GPT2Config(n_positions=length, use_cache=False)
    if shape == "bert":  # 12 layers, 12 heads of 64
        return tf.BertConfig(max_position_embeddings=length)
    # As Llama 3.2 1B: 32 heads on 8 key-value heads of 64, width 2048; 4 of its 16 layers, a small vocabulary.
    return tf.LlamaConfig(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=4,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=length,
        use_cache=False,
    )


def at_peak(run: Callable[[], Left]) -> tuple[Left, float]:
    """What a function returns, and the bytes of this process at the peak of its run, above those before it."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        left = run()
    finally:
        done.set()
        watcher.join()
    return left, float(max(peak, process.memory_info().rss) - before)
