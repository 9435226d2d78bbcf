"""Attention flow (Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.analysis.mixing import Mixing
from attnwidget.attention.protocol import positions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from attnwidget.attention.choosing import Choice
    from attnwidget.attention.protocol import Floats

RESOLUTION = 2.0**-30
"""What capacities are rounded to: a flow is off by half of it at most for each edge of a smallest cut."""
_SECONDS_PER_EDGE = 50e-9
"""What one edge costs in one flow, as measured."""
_MOST_SECONDS = 120
_MOST_EDGES = 10_000_000


def flow(choice: Choice) -> Floats:
    """The maximum flow from each query after each chosen layer to each input token, (L, q, k) float32.

    The graph has a node for each token before the first layer and after each layer, and an edge for each pair of a
    layer, whose capacity is the number of the matrix A that rollout multiplies. Rows of A sum to 1, so that no flow is
    above 1. Capacities are whole numbers of `RESOLUTION`, and the flow between them is exact (Dinic 1970, in SciPy).

    Args:
        choice: what is asked for.

    Raises:
        CaptureError: only some layers or heads were kept.
        ImportError: SciPy is not installed.
        ValueError: queries and keys are not the same tokens, or weights are not numbers, or it would take longer than
            two minutes.
    """
    try:
        from scipy.sparse.csgraph import maximum_flow
    except ImportError as error:
        raise ImportError(
            'measure "flow" needs SciPy, which is not installed: `pip install "attnwidget[flow]"`, or use "rollout"'
        ) from error
    mixing = Mixing(choice.stack, choice.example, "flow")
    queries = positions_of(choice.queries, choice.stack.layers[0].n_queries) - mixing.start
    keys = positions_of(choice.keys, choice.stack.layers[0].n_keys) - mixing.start
    _refuse_long(choice, mixing.n_tokens, len(queries), len(keys))
    graph = _graph(mixing, choice.layers.stop)
    found = np.zeros((len(choice.layers), len(queries), len(keys)), dtype=np.float32)
    for place, layer in enumerate(choice.layers):
        # What is above the query cannot be reached from it, and takes no time.
        nodes = (layer + 2) * mixing.n_tokens
        below = graph[:nodes, :nodes]
        for row, query in enumerate(queries):
            source = (layer + 1) * mixing.n_tokens + int(query)
            for column, key in enumerate(keys):
                found[place, row, column] = maximum_flow(below, source, int(key)).flow_value * RESOLUTION
    return found


def _graph(mixing: Mixing, n_layers: int) -> Any:  # noqa: ANN401 - SciPy's own type
    """Capacities from token i after layer l, node (l + 1) T + i, to token j before it, node l T + j."""
    from scipy.sparse import csr_array

    sources: list[NDArray[np.intp]] = []
    targets: list[NDArray[np.intp]] = []
    capacities: list[NDArray[np.int32]] = []
    for layer in range(n_layers):
        for rows, block in mixing.blocks(layer):
            if not np.isfinite(block).all():
                raise ValueError(
                    f'measure "flow" has no answer here: layer {layer} holds weights that are not numbers (NaN), of '
                    "which no capacity can be made; ask for layers below it, or run the model in a type that does not "
                    "overflow"
                )
            whole = np.rint(block / RESOLUTION).astype(np.int32)
            i, j = np.nonzero(whole)
            sources.append((layer + 1) * mixing.n_tokens + rows.start + i)
            targets.append(layer * mixing.n_tokens + j)
            capacities.append(whole[i, j])
    n_nodes = (n_layers + 1) * mixing.n_tokens
    places = np.concatenate(sources), np.concatenate(targets)
    return csr_array((np.concatenate(capacities), places), shape=(n_nodes, n_nodes))


def flow_seconds(choice: Choice) -> float:
    """What all flows that are asked for are estimated to take."""
    start, stop = choice.stack.query_spans[choice.example]
    edges = float(stop - start) ** 2 * np.arange(choice.layers.start + 1, choice.layers.stop + 1)
    return float(edges.sum() * choice.n_queries * choice.n_keys * _SECONDS_PER_EDGE)


def _refuse_long(choice: Choice, n_tokens: int, n_queries: int, n_keys: int) -> None:
    seconds, edges = flow_seconds(choice), n_tokens**2 * choice.layers.stop
    if seconds <= _MOST_SECONDS and edges <= _MOST_EDGES:
        return
    raise ValueError(
        f'measure "flow" solves one maximum flow for each pair: {len(choice.layers) * n_queries * n_keys:,} flows in a '
        f"graph of up to {edges:,} edges are estimated to take {_time_text(seconds)}; expected at most "
        f"{_MOST_SECONDS} s and {_MOST_EDGES:,} edges: ask for one layer and a few queries and keys (queries=[...], "
        'keys=[...]), capture a shorter text, or use "rollout"'
    )


def _time_text(seconds: float) -> str:
    if seconds < _MOST_SECONDS:
        return f"{seconds:.0f} s"
    hours = seconds / 3600
    return f"{seconds / 60:.0f} minutes" if hours < 1 else f"{hours:.0f} hours"
