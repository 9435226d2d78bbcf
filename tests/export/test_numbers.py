"""Numbers and the Python line, read back by others: pandas, csv, and Python itself."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
import torch
from captures import make_capture
from hypothesis import given, settings
from hypothesis import strategies as st

import attnwidget as aw
from attnwidget import AttentionCapture, CaptureError
from attnwidget.widget.finder import FINDS
from attnwidget.widget.protocol import (
    ABLATIONS,
    AGGREGATES,
    COLORMAPS,
    COMPONENTS,
    DIRECTIONS,
    DIVERGING,
    METRICS,
    OVER,
    PANELS,
    SCALES,
    THEMES,
    THRESHOLD_KINDS,
)
from attnwidget.widget.viewtraits import SETTABLE


def csv_of(view):
    file = io.StringIO()
    view.to_csv(file)
    return file.getvalue()


def test_the_numbers_are_the_weights_of_the_window(capture):
    view = capture.show(layer=2, head=1, window=(1, 4, 2, 7))
    found = view.numbers()
    assert found.values.dtype == np.float32  # noqa: PD011 - not a data frame
    np.testing.assert_array_equal(found.values, capture.weights(2, 1)[1:4, 2:7])
    assert found.queries == ("1 t1", "2 t2", "3 t3")
    assert found.keys == ("2 t2", "3 t3", "4 t4", "5 t5", "6 t6")
    assert found.first == (1, 2)
    place = "attention · self · layer 2 head 1 · queries 1 to 3 · keys 2 to 6"
    assert found.about == f"{place} · weights after the softmax, as the model used them"
    assert repr(found).startswith("Numbers(3 queries x 5 keys: attention")


class Look(torch.nn.Module):
    def forward(self, q, k):
        return torch.nn.functional.scaled_dot_product_attention(q, k, k, is_causal=True)


def test_masked_is_not_zero_and_an_overflow_is_neither():
    look, query = Look(), torch.zeros(1, 1, 3, 4)
    query[0, 0, 2] = torch.nan
    with pytest.warns(aw.AttentionWarning, match="not numbers"), aw.capture(look, tokens=["a", "b", "c"]) as cap:
        look(query, torch.zeros(1, 1, 3, 4))
    nothing, overflow = np.nan, np.inf
    expected = [[1, nothing, nothing], [0.5, 0.5, nothing], [overflow] * 3]
    np.testing.assert_array_equal(cap.show().numbers().values, np.array(expected, dtype=np.float32))
    assert csv_of(cap.show()).splitlines()[2:] == ["0 a,1.0,,", "1 b,0.5,0.5,", "2 c,inf,inf,inf"]


def test_a_csv_read_by_pandas_is_the_weights(causal_capture, tmp_path):
    path = tmp_path / "head.csv"
    view = causal_capture.show(layer=1, head=3, window=(0, 6, 1, 7))
    assert view.to_csv(path) == path
    frame = pd.read_csv(path, skiprows=1, index_col=0)
    expected = np.where(np.tril(np.ones((7, 7), dtype=bool)), causal_capture.weights(1, 3), np.nan)[:6, 1:7]
    np.testing.assert_array_equal(frame.to_numpy(np.float32), expected)
    assert list(frame.columns) == [f"{index} t{index}" for index in range(1, 7)]
    assert list(frame.index) == [f"{index} t{index}" for index in range(6)]
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.strip('"') == f"# {view.numbers().about}; empty: not allowed by the mask"


@settings(deadline=None)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=6), st.integers(0, 99))
def test_any_tokens_come_back_from_a_csv(words, seed):
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(words)), size=len(words)).astype(np.float32)
    cap = AttentionCapture.from_weights(weights[None, None], words, model='m,"\n')
    rows = list(csv.reader(io.StringIO(csv_of(cap.show()))))
    assert len(rows) == len(words) + 2
    numbers = cap.show().numbers()
    assert tuple(rows[1][1:]) == numbers.keys
    assert tuple(row[0] for row in rows[2:]) == numbers.queries
    read = np.array([[np.float32(cell) if cell else np.nan for cell in row[1:]] for row in rows[2:]], dtype=np.float32)
    np.testing.assert_array_equal(read, numbers.values)
    assert all(re.match(r"\d+ ", name) for name in numbers.keys)


def test_a_csv_goes_to_files_of_bytes_and_of_text(capture, tmp_path):
    file = io.BytesIO()
    assert capture.show().to_csv(file) is file
    assert file.getvalue().decode() == csv_of(capture.show())
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as text:
        capture.show().to_csv(text)
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == csv_of(capture.show())
    with pytest.raises(ValueError, match=r"path is 'a.txt': expected it to end in .csv"):
        capture.show().to_csv("a.txt")


def test_too_many_numbers_for_a_csv_are_refused_with_the_way_to_get_them(tmp_path):
    cap = make_capture(layers=1, heads=1, queries=1100)
    with pytest.raises(
        ValueError, match="the window has 1,100 × 1,100 numbers, and a CSV file at most 1,048,576"
    ) as told:
        cap.show().to_csv(tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()
    call = re.search(r"view\.numbers.*(?=\))", str(told.value)).group(0)
    np.testing.assert_array_equal(eval(call, {"view": cap.show()}), cap.weights(0, 0))  # noqa: S307 - our own words
    cap.show(window=(0, 10, 0, 1100)).to_csv(tmp_path / "a.csv")


def test_numbers_of_a_closed_view_are_refused(capture):
    view = capture.show()
    view.close()
    with pytest.raises(CaptureError, match="this view was closed"):
        view.numbers()
    with pytest.raises(CaptureError, match="this view was closed"):
        view.code()


def test_the_line_has_what_differs_in_order(capture):
    assert capture.show().code() == "cap.show()"
    view = capture.show(scale="log", key=2, layer=2, query=0, head=3)
    assert view.code() == "cap.show(layer=2, head=3, query=0, key=2, scale='log')"


def one_or_none(most):
    return st.none() | st.integers(0, most)


NAMES = st.sampled_from([name for name, _, _ in FINDS])
COMMON = {
    "layer": st.integers(0, 2),
    "head": st.integers(0, 3),
    "query": one_or_none(6),
    "key": one_or_none(6),
    "window": st.none() | st.just((1, 5, 0, 3)),
    "direction": st.sampled_from(DIRECTIONS),
    "panels": st.permutations(PANELS),
    "threshold": st.floats(0, 1),
    "threshold_kind": st.sampled_from(THRESHOLD_KINDS),
    "scale": st.sampled_from(SCALES),
    "colormap": st.sampled_from(COLORMAPS),
    "diverging": st.sampled_from(DIVERGING),
    "theme": st.sampled_from(THEMES),
    "components": st.sampled_from(COMPONENTS),
    "sort": st.none() | NAMES,
    "ascending": st.booleans(),
    "like": st.none() | st.tuples(st.integers(0, 2), st.integers(0, 3)),
    "filter": st.none() | st.tuples(NAMES, st.floats(-9, 9)),
    "colour_by": st.none() | NAMES,
    "heads": st.lists(st.integers(0, 3), unique=True),
    "aggregate": st.none() | st.sampled_from(AGGREGATES),
    "over": st.sampled_from(OVER),
    "ablation": st.sampled_from(ABLATIONS),
    "metric": st.sampled_from(METRICS),
    "token": one_or_none(999),
    "words": st.booleans(),
    "hidden_keys": st.lists(st.integers(0, 6), unique=True, max_size=3),
}


@settings(deadline=None, max_examples=60)
@given(
    st.fixed_dictionaries(
        {**COMMON, "measure": st.just("weight"), "domain": st.none() | st.tuples(st.floats(0, 0.4), st.floats(0.5, 1))}
    )
    | st.fixed_dictionaries(
        {**COMMON, "measure": st.just("lift"), "domain": st.none() | st.floats(1.1, 9).map(lambda c: (1 / c, c))}
    )
)
def test_the_line_shows_the_same_view_again(traits):
    cap = make_capture()
    view = cap.show(**traits)
    again = eval(view.code(), {"cap": cap})  # noqa: S307 - our own words
    for name in (*traits, "stack", "batch"):
        assert getattr(again, name) == getattr(view, name), name
    assert again.code() == view.code()
    np.testing.assert_array_equal(again.numbers().values, view.numbers().values)
    for made in (view, again):
        made.close()


def test_every_trait_is_in_the_line():
    assert set(SETTABLE) == {*COMMON, "measure", "domain", "stack", "batch", "layout"}


def test_another_stack_is_named():
    stacks = [next(iter(make_capture(seed=seed).stacks.values())) for seed in (1, 2)]
    stacks[1].name = "cross"
    cap = AttentionCapture(stacks)
    view = cap.show(stack="cross")
    assert view.code() == "cap.show(stack='cross')"
    assert eval(view.code(), {"cap": cap}).stack == "cross"  # noqa: S307 - our own words
