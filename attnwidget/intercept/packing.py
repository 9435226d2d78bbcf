"""Several sequences packed into one row, as the variable-length kernels of flash attention take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.attention import Mask
from attnwidget.attention.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Bounds = NDArray[np.intp]

_QUERIES = ("cu_seq_lens_q", "cu_seqlens_q")
_KEYS = ("cu_seq_lens_k", "cu_seqlens_k")


def is_packed(options: Mapping[str, Any]) -> bool:
    """Whether a call of transformers' interface was told where packed sequences begin."""
    return any(options.get(name) is not None for name in (*_QUERIES, *_KEYS))


def packed_masks(options: Mapping[str, Any], n_queries: int, n_keys: int) -> Iterator[Mask]:
    """What packed sequences may look at, likeliest first: their own tokens, in turn causally, within a window, and all.

    Args:
        options: of the call. Where sequences begin is counted over the flattened batch: for one example, over its
            tokens.
        n_queries: Tq.
        n_keys: Tk.
    """
    rows = _bounds(options, (*_QUERIES, *_KEYS), n_queries)
    columns = _bounds(options, (*_KEYS, *_QUERIES), n_keys)
    if rows is None or columns is None or len(rows) != len(columns):
        return
    lengths = np.diff(rows)
    start, stop = np.repeat(columns[:-1], lengths), np.repeat(columns[1:], lengths)
    # Causal attention of unequal lengths is aligned to the lower right.
    own = np.arange(n_queries) - np.repeat(rows[1:], lengths) + stop
    window = options.get("sliding_window")
    causal = np.clip(own + 1, start, stop)
    if window:
        yield _ranges(np.maximum(start, own + 1 - int(window)), causal, n_keys)
    yield _ranges(start, causal, n_keys)
    yield _ranges(start, stop, n_keys)


def _bounds(options: Mapping[str, Any], names: tuple[str, ...], length: int) -> Bounds | None:
    """Where sequences begin, and the end of the last; None if they do not cover the row."""
    found = next((options[name] for name in names if options.get(name) is not None), None)
    bounds: Bounds = np.empty(0, np.intp) if found is None else to_numpy(found).astype(np.intp).reshape(-1)
    covers = len(bounds) > 1 and bounds[0] == 0 and bounds[-1] == length and not (np.diff(bounds) < 0).any()
    return bounds if covers else None


def _ranges(start: Bounds, stop: Bounds, n_keys: int) -> Mask:
    ranges = np.stack([start, stop], axis=-1).astype(np.int32)  # (Tq, 2)
    return Mask(len(start), n_keys, ranges=ranges[None, None, :, None])
