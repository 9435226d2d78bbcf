"""Sinks, against shares that NumPy makes of full weights."""

import numpy as np
import pytest
from captures import make_capture, softmax

from attnwidget import AttentionCapture


def with_sinks(n=40, seed=0):
    scores = np.random.default_rng(seed).normal(size=(3, 2, n, n))
    scores[:, 0, :, 0] += 6
    scores[1, 1, :, n - 1] += 4
    return AttentionCapture.from_weights(softmax(scores).astype(np.float32), ["[CLS]", *[f"t{i}" for i in range(1, n)]])


def test_keys_that_take_most_are_found_and_named():
    cap = with_sinks()
    first, last = cap.sinks()
    assert (first.key, first.token, first.heads) == (0, "[CLS]", ((0, 0), (1, 0), (2, 0)))
    assert (last.key, last.heads) == (39, ((1, 1),))
    share = cap.weights().mean(axis=2)
    assert first.share == pytest.approx(share[:, 0, 0].mean(), rel=1e-5)
    assert last.share == pytest.approx(share[1, 1, 39], rel=1e-5)
    assert repr(cap.sinks()).splitlines()[:2] == [
        "2 sinks in 6 heads, over all 40 queries",
        f'  key 0 "[CLS]": {first.share:.0%} of the mass of 3 heads',
    ]


def test_the_share_is_the_measure_of_patterns():
    cap = with_sinks()
    patterns = cap.patterns()
    shares = [patterns["sink"][layer, head] for layer, head in cap.sinks()[0].heads]
    assert cap.sinks()[0].share == pytest.approx(np.mean(shares))


def test_hidden_sinks_are_gone():
    cap = with_sinks()
    rest = cap.without_keys([sink.key for sink in cap.sinks()])
    assert len(rest.sinks()) == 0
    assert repr(rest.sinks()) == "0 sinks in 6 heads, over all 40 queries"


def test_even_and_causal_heads_have_none():
    assert not len(make_capture(1, 1, 3).sinks()), "of three keys one takes a third without being a sink"
    even = np.tril(np.ones((64, 64)))
    even /= even.sum(axis=1, keepdims=True)
    assert not len(AttentionCapture.from_weights(even[None]).sinks())


def test_long_heads_are_sampled_and_say_so():
    cap = with_sinks(n=300)
    sampled = cap.sinks(rows=50)
    assert (sampled.rows, sampled.exact) == (50, False)
    assert "over 50 of 300 queries" in repr(sampled)
    assert [sink.key for sink in sampled] == [sink.key for sink in cap.sinks()]
    assert sampled[0].share == pytest.approx(cap.sinks()[0].share, abs=0.05)
    with pytest.raises(ValueError, match="rows is 0; expected an int of at least 1"):
        cap.sinks(rows=0)
