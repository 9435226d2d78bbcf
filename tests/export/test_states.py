"""Figures and numbers of every state of a view, against NumPy on the full weights."""

import csv
import io

import numpy as np
import pytest
from captures import make_capture, softmax
from figures import pictures, svg_of, texts
from pixels import colormap, expected_colours

from attnwidget import AttentionCapture
from attnwidget.export.panels import PANELS

PIECES = ["[CLS]", "the", "ant", "##elo", "##pe", "ran", "[SEP]"]
WORDS = [[0], [1], [2, 3, 4], [5], [6]]
ALLOWED = np.tril(np.ones((7, 7), dtype=bool))


def named_capture(seed=0, layers=2, heads=3):
    scores = np.random.default_rng(seed).normal(size=(layers, 1, heads, 7, 7)) * 2
    return AttentionCapture.from_weights(list(softmax(scores).astype(np.float32)), PIECES, model="tiny")


def without(weights, keys):
    """Rows renormalised without some keys."""
    rest = weights.astype(float)
    rest[:, keys] = 0
    return rest / rest.sum(axis=1, keepdims=True)


def merged(weights):
    """Summed over the keys of a word, averaged over its queries."""
    by_key = np.stack([weights[:, word].sum(axis=1) for word in WORDS], axis=1)
    return np.stack([by_key[word].mean(axis=0) for word in WORDS])


def joined(svg):
    return "\n".join(texts(svg))


def matches(cells, weights, domain, scale, name, *, dark=False):
    """A weight right between two of the 256 colours may have either."""
    near = [expected_colours(weights * (1 + by), domain, scale, name, dark=dark).astype(int) for by in (-1e-6, 0, 1e-6)]
    return np.any([(cells[..., :3].astype(int) == one).all(axis=-1) for one in near], axis=0)


def test_hidden_keys_are_hatched_and_the_rest_is_renormalised():
    cap = named_capture()
    view = cap.show(layer=1, head=2, hidden_keys=[0], domain=(0, 0.8), query=3, key=0)
    svg, expected = svg_of(view), without(cap.weights(1, 2), [0])
    cells = pictures(svg)[0]
    assert (cells[:, 0, 3] == 0).all()
    assert (cells[:, 1:, 3] == 255).all()
    assert matches(cells, expected, (0, 0.8), "sqrt", "oslo")[:, 1:].all()
    written = joined(svg)
    assert 'rows renormalised without key 0 "[CLS]"' in written
    assert "not allowed by the mask, or hidden" in written
    numbers = view.numbers()
    assert np.isnan(numbers.values[:, 0]).all()
    np.testing.assert_allclose(numbers.values[:, 1:], expected[:, 1:], rtol=1e-5)
    assert numbers.about.endswith('weights after the softmax · rows renormalised without key 0 "[CLS]"')


def test_many_hidden_keys_are_counted():
    view = make_capture().show(hidden_keys=[0, 1, 2, 4, 5])
    assert 'without keys 0 "t0", 1 "t1", 2 "t2", 4 "t4" and 1 more' in view.numbers().about


def test_words_are_sums_over_keys_and_means_over_queries():
    cap = named_capture()
    view = cap.show(layer=0, head=1, words=True, hidden_keys=[0], domain=(0, 1), query=2)
    expected = merged(without(cap.weights(0, 1), [0]))
    svg = svg_of(view)
    cells = pictures(svg)[0]
    assert cells.shape[:2] == (5, 5)
    assert matches(cells, expected, (0, 1), "sqrt", "oslo")[:, 1:].all()
    written = joined(svg)
    assert "words: sums over keys, means over queries" in written
    assert 'query 2 "antelope"' in written
    assert "antelope" in joined(svg_of(view, panel="lines"))
    file = io.StringIO()
    view.to_csv(file)
    rows = list(csv.reader(io.StringIO(file.getvalue())))
    assert "words: sums over keys, means over queries · rows renormalised without key 0" in rows[0][0]
    assert rows[0][0].endswith("; empty: not allowed by the mask, or hidden")
    assert rows[1][1:] == ["0 [CLS]", "1 the", "2 antelope", "3 ran", "4 [SEP]"]
    read = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows[2:]])
    np.testing.assert_allclose(read[:, 1:], expected[:, 1:], rtol=1e-5)


@pytest.mark.parametrize(
    ("traits", "layers", "heads", "words"),
    [
        ({"over": "layer"}, [1], [0, 1, 2], "3 heads, layer 1"),
        ({"over": "heads", "heads": [0, 2]}, [1], [0, 2], "2 heads, layer 1"),
        ({"over": "heads"}, [1], [2], "1 head, layer 1"),
        ({"over": "layers"}, [0, 1], [0, 1, 2], "all 6 heads"),
    ],
)
@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_an_aggregate_is_drawn_named_and_numbered(traits, layers, heads, words, reduce):
    cap = named_capture()
    view = cap.show(layer=1, head=2, aggregate=reduce, domain=(0, 0.7), **traits)
    expected = getattr(np, reduce)(cap.weights()[np.ix_(layers, heads)].reshape(-1, 7, 7), axis=0)
    svg = svg_of(view)
    assert matches(pictures(svg)[0], expected, (0, 0.7), "sqrt", "oslo").all()
    name = f"{reduce} {'of' if reduce == 'mean' else 'over'} {words}"
    assert f"tiny · self · {name}" in joined(svg)
    np.testing.assert_allclose(view.numbers().values, expected, rtol=1e-6)
    assert name in view.numbers().about
    assert "as the model used them" not in view.numbers().about
    lines = svg_of(view, panel="lines")
    assert "49 lines ≥ 0" in joined(lines)
    view.domain = None
    assert "range of these heads 0 – " in joined(svg_of(view))


@pytest.mark.parametrize(("theme", "name"), [("light", "vik"), ("dark", "berlin")])
def test_lift_is_coloured_around_chance(theme, name):
    cap = make_capture(causal=True)
    view = cap.show(layer=1, head=2, measure="lift", query=5, key=2)
    lift = cap.weights(1, 2) * np.arange(1, 8)[:, None]
    svg = svg_of(view, theme=theme)
    top = float(f"{max(2, np.sort(lift.max(axis=1))[-1]):.3g}")
    cells = pictures(svg)[0]
    assert matches(cells, lift, (1 / top, top), "log", name, dark=theme == "dark")[ALLOWED].all()
    assert (cells[~ALLOWED, 3] == 0).all()
    written = joined(svg)
    assert "lift over uniform, log scale · 1 = as much as by chance" in written
    assert f"range of this head {float(f'{1 / top:.2g}'):g} – {float(f'{top:.2g}'):g}" in written
    assert any(text.strip() == f"{lift[5, 2]:#.3g} × uniform" for text in texts(svg))
    numbers = view.numbers()
    np.testing.assert_array_equal(numbers.values[ALLOWED], cap.lift(1, 2)[ALLOWED])
    assert "lift over uniform: weights after the softmax, times the keys that the query may look at" in numbers.about
    view.domain = (0.25, 4)
    assert matches(pictures(svg_of(view))[0], lift, (0.25, 4), "log", "vik")[ALLOWED].all()
    assert "fixed range 0.25 – 4" in joined(svg_of(view))
    view.diverging = "berlin"
    assert matches(pictures(svg_of(view))[0], lift, (0.25, 4), "log", "berlin")[ALLOWED].all()


def test_lift_of_lines_is_compared_as_the_page_does():
    cap = make_capture(queries=6)
    svg = svg_of(cap.show(measure="lift", threshold=0.5, query=1), panel="lines")
    assert "lines of query 1 ≥ 3 × uniform" in joined(svg)
    assert "shaded by the lift from query 1" in joined(svg_of(cap.show(measure="lift", query=1), panel="text"))


def test_quantiles_are_ranks():
    cap = make_capture(queries=12, causal=True)
    view = cap.show(layer=1, head=2, scale="quantile", colormap="viridis")
    cells, allowed = pictures(svg_of(view))[0][..., :3].astype(int), np.tril(np.ones((12, 12), dtype=bool))
    weights = cap.weights(1, 2)
    known = np.sort(weights[allowed])
    rank = np.searchsorted(known, weights)
    table = colormap("viridis", dark=False).astype(int)
    # Two weights that are nearer than a code is right have one place.
    near = [table[np.rint(np.clip(rank + by, 0, 77) / 77 * 255).astype(int)] for by in (-1, 0, 1)]
    assert np.any([(cells == one).all(axis=-1) for one in near], axis=0)[allowed].all()
    assert f"weight after softmax, quantile scale · range of this head 0 – {float(f'{known[-1]:.2g}'):g}" in joined(
        svg_of(view)
    )


def test_the_grid_is_of_the_measure_and_without_hidden_keys():
    cap = make_capture(layers=1, heads=1, causal=True)
    view = cap.show(measure="lift", hidden_keys=[0], domain=(0.2, 5))
    cells = pictures(svg_of(view, panel="grid"))[0]
    rest = cap.weights(0, 0).astype(float)
    rest[:, 0] = 0
    # A row that held nothing else is all zero; a query may look at one key less.
    rest = rest / np.maximum(rest.sum(axis=1, keepdims=True), 1e-9) * np.arange(7)[:, None]
    size = int(np.flatnonzero((cells[..., 3] > 0).any(axis=0))[-1]) + 1
    middles = ((np.arange(7) + 0.5) * size / 7).astype(int)
    shown = cells[middles[:, None], middles]
    masked = np.array([0xEC, 0xEE, 0xF1])
    assert (shown[:, 0, :3] == masked).all()
    inside = ALLOWED & (np.arange(7) > 0)
    expected = expected_colours(rest, (0.2, 5), "log", "vik", dark=False).astype(int)
    assert np.abs(shown[..., :3].astype(int) - expected)[inside].max() <= 4


@pytest.mark.parametrize(
    "traits", [{"sort": "entropy"}, {"like": (0, 1)}, {"filter": ("spread", 0.1)}, {"colour_by": "pair"}]
)
def test_a_grid_says_that_it_is_not_arranged_as_in_the_view(traits):
    told = "all heads, as the model has them: order, filter and colours by measure are not drawn"
    assert told in " ".join(texts(svg_of(make_capture().show(**traits), panel="grid")))
    assert told not in " ".join(texts(svg_of(make_capture().show(), panel="grid")))


def test_a_sink_is_named_in_the_legend():
    weights = np.full((1, 1, 10, 10), 0.4 / 9, dtype=np.float32)
    weights[..., 0] = 0.6
    cap = AttentionCapture.from_weights(weights, ["[CLS]", *"abcdefghi"])
    words = 'sink: key 0 "[CLS]", about 60 % of the mass of this head'
    assert f"{words}, left out of the range" in " ".join(texts(svg_of(cap.show())))
    fixed = " ".join(texts(svg_of(cap.show(domain=(0, 1)))))
    assert words in fixed
    assert "left out" not in fixed
    assert "sink" not in joined(svg_of(cap.show(hidden_keys=[0])))


@pytest.mark.parametrize("panel", tuple(PANELS))
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_state_together_can_be_drawn(panel, theme):
    view = named_capture().show(
        words=True, hidden_keys=[0, 3], measure="lift", aggregate="max", over="layers", heads=[0, 2], query=1, key=2,
        window=(0, 4, 1, 5), threshold=0.1, threshold_kind="mass", scale="quantile", components="index",
    )  # fmt: skip
    svg = svg_of(view, panel=panel, theme=theme)
    assert "rows renormalised without keys" in " ".join(texts(svg))
    assert "max over all 6 heads" in joined(svg)
    if panel == "detail":
        assert "Scores, q and k belong to one head, and this is the max over all 6 heads." in joined(svg)
