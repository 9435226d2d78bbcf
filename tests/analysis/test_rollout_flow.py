"""Rollout and flow, against the authors' definitions: dense products in double precision, maximum flow by networkx."""

import builtins
import tracemalloc

import networkx as nx
import numpy as np
import pytest
import tiny
import torch
from captures import make_capture
from hypothesis import given, settings
from hypothesis import strategies as st

import attnwidget as aw
from attnwidget.attention import AttentionStack, recognise_mask


def matrices(weights):
    """(L, H, T, T) -> A of each layer, as attention_graph_util.py of Abnar and Zuidema makes them."""
    mixed = weights.astype(np.float64).mean(axis=1) + np.eye(weights.shape[-1])
    return mixed / mixed.sum(axis=-1, keepdims=True)


def dense_rollout(weights):
    layers = matrices(weights)
    joint = [layers[0]]
    for layer in layers[1:]:
        joint.append(layer @ joint[-1])
    return np.stack(joint)


def networkx_flow(weights, layer, query, key):
    graph = nx.DiGraph()
    for number, matrix in enumerate(matrices(weights)):
        for (i, j), capacity in np.ndenumerate(matrix):
            graph.add_edge((number + 1, i), (number, j), capacity=float(capacity))
    flow = nx.algorithms.flow.edmonds_karp
    return nx.maximum_flow_value(graph, (layer + 1, query), (0, key), flow_func=flow)


@settings(deadline=None)
@given(st.data())
def test_rollout_is_the_product_of_the_layers(data):
    layers, heads, tokens = (data.draw(st.integers(1, most)) for most in (4, 3, 9))
    cap = make_capture(layers, heads, tokens, causal=data.draw(st.booleans()), seed=data.draw(st.integers(0, 99)))
    expected = dense_rollout(cap.weights())
    rows = data.draw(st.lists(st.integers(0, tokens - 1), min_size=1, max_size=4))
    columns = data.draw(st.lists(st.integers(0, tokens - 1), min_size=1, max_size=4))
    layer = data.draw(st.integers(0, layers - 1))
    before, aw.limits.block_bytes = aw.limits.block_bytes, data.draw(st.sampled_from([64, 400, 1 << 26]))
    try:
        whole, one = cap.measure("rollout"), cap.measure("rollout", layer, queries=rows, keys=columns)
    finally:
        aw.limits.block_bytes = before
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    np.testing.assert_allclose(whole.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(one, expected[layer][rows][:, columns], atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), causal=st.booleans(), tokens=st.integers(1, 5), layers=st.integers(1, 4))
def test_flow_is_the_maximum_flow_of_networkx(seed, causal, tokens, layers):
    cap = make_capture(layers, 2, tokens, causal=causal, seed=seed)
    whole = cap.measure("flow")
    assert whole.shape == (layers, tokens, tokens)
    layer, query = layers - 1, tokens - 1
    for key in range(tokens):
        assert whole[layer, query, key] == pytest.approx(networkx_flow(cap.weights(), layer, query, key), abs=1e-6)
    rollout = cap.measure("rollout")
    assert (whole >= rollout - 1e-6).all(), "what rollout sends along is one flow, and no larger than the largest"
    one = cap.measure("flow", layer, queries=[query], keys=(0, tokens))
    np.testing.assert_array_equal(one, whole[layer][[query]])


def test_padding_is_no_token():
    ids = tiny.ids(length=9)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    cap = aw.AttentionModel(tiny.llama()).capture({"input_ids": ids, "attention_mask": mask})
    expected = dense_rollout(cap.weights())
    assert expected.shape == (4, 5, 5)
    np.testing.assert_allclose(cap.measure("rollout"), expected, atol=1e-6)
    found = cap.measure("flow", 1, queries=[4])[0]
    assert found == pytest.approx([networkx_flow(cap.weights(), 1, 4, key) for key in range(5)], abs=1e-6)


def test_what_a_sink_takes_and_rows_without_keys_stay_where_they_are():
    q = k = torch.zeros(1, 1, 2, 4)
    sunk = aw.FactoredAttention(q, k, sinks=torch.zeros(1))
    cap = aw.AttentionCapture([AttentionStack("self", [sunk])])
    np.testing.assert_allclose(cap.measure("rollout", 0), np.array([[4, 1], [1, 4]]) / 5, atol=1e-6)
    mask = recognise_mask(np.array([[False, False], [True, True]]), n_queries=2, n_keys=2)
    blind = aw.AttentionCapture([AttentionStack("self", [aw.FactoredAttention(q, k, mask=mask)])])
    np.testing.assert_allclose(blind.measure("rollout", 0), [[1, 0], [0.25, 0.75]], atol=1e-6)


def test_a_few_queries_of_a_long_text_take_linear_memory():
    tokens = 4096
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 2, tokens, 8, generator=rng) for _ in range(2))
    cap = aw.AttentionCapture([AttentionStack("self", [aw.FactoredAttention(q, k)] * 2)])
    before, aw.limits.block_bytes = aw.limits.block_bytes, 2 << 20
    tracemalloc.start()
    try:
        found = cap.measure("rollout", 1, queries=[tokens - 1])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        aw.limits.block_bytes = before
    assert found.sum() == pytest.approx(1, abs=1e-4)
    assert most < 8 << 20, "a matrix of all pairs takes 64 MB"


@pytest.mark.parametrize("measure", ["rollout", "flow"])
def test_only_layers_of_the_same_tokens_from_the_first_on(measure):
    model = aw.AttentionModel(tiny.bart())
    cap = model.capture(tiny.ids(1, 6), decoder_input_ids=tiny.ids(1, 4))
    assert cap.measure(measure, 3, stack="encoder").shape == (6, 6)
    words = (
        "follows tokens from layer to layer, and stack 'cross' looks from 4 tokens at 6 others; expected a stack that"
    )
    with pytest.raises(ValueError, match=words):
        cap.measure(measure, 0, stack="cross")
    some = aw.AttentionModel(tiny.gpt2()).capture(tiny.ids(1, 6), layers=[1, 2])
    with pytest.raises(aw.CaptureError, match="needs every head of every layer from the first on, and of stack 'self'"):
        some.measure(measure, 0)


def test_a_flow_that_takes_too_long_is_refused_with_the_estimate():
    cap = make_capture(3, 1, 200)
    words = (
        r"40,000 flows in a graph of up to 120,000 edges are estimated to take 4 minutes; expected at most 120 s and "
        r"10,000,000 edges: ask for one layer and a few queries and keys"
    )
    with pytest.raises(ValueError, match=words):
        cap.measure("flow", 2)
    assert cap.measure("flow", 2, queries=[5], keys=[3]).shape == (1, 1)


def test_flow_says_what_to_install(monkeypatch):
    plain = builtins.__import__

    def without_scipy(name, *args, **kwargs):
        if name.startswith("scipy"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    with pytest.raises(ImportError, match=r'needs SciPy, which is not installed: `pip install "attnwidget\[flow\]"`'):
        make_capture().measure("flow", 0)


def test_weights_that_are_no_numbers_are_not_made_up():
    q = torch.full((1, 1, 3, 4), torch.nan)
    sound = aw.FactoredAttention(torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4))
    cap = aw.AttentionCapture([AttentionStack("self", [sound, aw.FactoredAttention(q, q)])])
    assert np.isnan(cap.measure("rollout", 1)).all()
    assert cap.measure("flow", 0).max() <= 1
    with pytest.raises(ValueError, match=r"layer 1 holds weights that are not numbers \(NaN\), of which no capacity"):
        cap.measure("flow", 1)
