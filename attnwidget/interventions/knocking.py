"""`model.knockout`: edges are cut before the softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnwidget.analysis import Effect
from attnwidget.intercept.edits import Cut
from attnwidget.intercept.picks import Picks
from attnwidget.interventions.ablating import by_layer_of, pairs_of, where_text
from attnwidget.interventions.baseline import Baseline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from attnwidget.intercept.picks import Given
    from attnwidget.interventions.asking import Interventions
    from attnwidget.outputs.measuring import Asked


def knockout(
    model: Interventions,
    inputs: Any,  # noqa: ANN401
    *,
    query: Given,
    key: Given,
    layers: Given | None,
    heads: Iterable[tuple[int, int]] | None,
    asked: Asked,
    about: Mapping[str, Any],
    stack: str | None,
    forward_kwargs: Mapping[str, Any],
) -> Effect:
    """See `Interventions.knockout`."""
    if layers is not None and heads is not None:
        raise ValueError("layers and heads are both given; expected layers (all heads of them) or (layer, head) pairs")
    queries, keys = Picks.of("query", query), Picks.of("key", key)
    chosen = None if layers is None else Picks.of("layers", layers)
    baseline = Baseline.of(model, inputs, forward_kwargs)
    shown = baseline.stack(stack)
    metric = baseline.metric(asked, about)
    before = metric.measure(baseline.output, 0)
    rows = _places("query", queries, *shown.query_spans[0])
    columns = _places("key", keys, *shown.key_spans[0])
    if chosen is not None:
        heads = [
            (int(layer), head) for layer in _places("layer", chosen, 0, shown.n_layers) for head in range(shown.n_heads)
        ]
    by_layer = by_layer_of(pairs_of(heads, shown))
    edits = {
        layer: [
            Cut(tuple(some), rows, columns, shown.layers[layer], shown.infos[layer].path or shown.infos[layer].kind)
        ]
        for layer, some in by_layer.items()
    }
    after = metric.measure(baseline.rerun(shown, edits), 0)
    what = f"query {queries.text} cut off from key {keys.text} in {where_text(by_layer)} of stack {shown.name!r}"
    return Effect(what, metric.words, before, after)


def _places(what: str, picks: Picks, start: int, stop: int) -> NDArray[np.intp]:
    """Where the picked ones stand, padding counted.

    Raises:
        IndexError: one of them does not exist, or there is none.
    """
    missing = picks.missing(stop - start)
    found = picks.among(stop - start)
    if missing is not None or not found:
        seen = picks.text if missing is None else str(missing)
        raise IndexError(f"{what} {seen} does not exist: there are 0 to {stop - start - 1}")
    return np.array(found, dtype=np.intp) + start
