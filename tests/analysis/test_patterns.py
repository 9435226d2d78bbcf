"""Patterns of heads against plain loops over the full matrix of weights, and heads made to have one pattern."""

import sys

import numpy as np
import pytest
import torch
from captures import softmax
from hypothesis import given, settings
from hypothesis import strategies as st

import attnwidget as aw
from attnwidget.analysis import MEASURES, Finding
from attnwidget.attention.limits import limits

WORDS = ["[CLS]", "the", "cat", ",", "sat", "the", "cat", ".", "the", "[SEP]"]
SPECIAL = [word.startswith("[") for word in WORDS]


def by_loops(weights, allowed, pieces, special, window):
    """Every measure of one head by the words of its definition: a dict of means."""
    rows = {name: [] for name in (measure.name for measure in MEASURES) if name != "sink"}
    received = np.zeros(weights.shape[1])
    for i, (w, may) in enumerate(zip(weights.astype(np.float64), allowed, strict=True)):
        if may.sum() < 2:
            continue
        received += w
        entropy = -sum(x * np.log2(x) for x in w if x > 0)
        rows["entropy"].append(entropy)
        rows["spread"].append(entropy / np.log2(may.sum()))
        rows["max"].append(w.max())
        rows["first"].append(w[0])
        rows["special"].append(sum(x for x, is_special in zip(w, special, strict=True) if is_special))
        rows["punctuation"].append(sum(x for x, piece in zip(w, pieces, strict=True) if piece in {",", "."}))
        rows["distance"].append(sum(x * abs(i - j) for j, x in enumerate(w)))
        for name, at in (("self", i), ("previous", i - 1), ("next", i + 1)):
            rows[name].append(w[at] if 0 <= at < len(w) else 0.0)
        rows["near"].append(sum(x for j, x in enumerate(w) if abs(i - j) <= window))
        same = [j for j in range(i) if pieces[j] == pieces[i]]
        after = [j + 1 for j in same]
        for name, places in (("duplicate", same), ("induction", after)):
            if any(may[j] for j in places):
                rows[name].append(sum(w[j] for j in places))
    means = {name: np.mean(values) if values else np.nan for name, values in rows.items()}
    means["sink"] = received.max() / received.sum() if received.sum() else np.nan
    return means


def capture_of(weights, mask=None, words=WORDS, special=SPECIAL):
    tokens = aw.Tokens.from_pieces(words, special=special)
    return aw.AttentionCapture.from_weights(weights, [tokens], mask=mask)


def random_weights(seed, n=10, heads=3, allowed=None):
    scores = np.random.default_rng(seed).normal(size=(2, heads, n, n)) * 3
    if allowed is not None:
        scores = np.where(allowed, scores, -1e9)
    weights = softmax(scores)
    return (np.where(allowed, weights, 0) if allowed is not None else weights).astype(np.float32)


MASKS = {
    "none": np.ones((10, 10), dtype=bool),
    "causal": np.tril(np.ones((10, 10), dtype=bool)),
    "window": np.tril(np.ones((10, 10), dtype=bool)) & ~np.tril(np.ones((10, 10), dtype=bool), -4),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("window", [1, 3])
def test_every_measure_is_what_its_definition_says(kind, window):
    mask = MASKS[kind]
    weights = random_weights(3, allowed=mask)
    patterns = capture_of(weights, mask).patterns(window=window)
    assert patterns.exact
    for layer in range(2):
        for head in range(3):
            expected = by_loops(weights[layer, head], mask, WORDS, SPECIAL, window)
            for name, value in expected.items():
                np.testing.assert_allclose(patterns[name][layer, head], value, rtol=1e-5, atol=1e-6, err_msg=name)
                assert patterns.errors[name][layer, head] == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 60))
def test_blocks_and_heads_of_any_size_agree_with_loops(n, heads, seed, window, block_rows):
    random = np.random.default_rng(seed)
    words = [str(number) for number in random.integers(0, 5, size=n)]
    mask = np.tril(np.ones((n, n), dtype=bool))
    weights = random_weights(seed, n, heads, mask)
    before = limits.block_bytes
    limits.block_bytes = block_rows * 16 * heads * n
    try:
        patterns = capture_of(weights, mask, words, [False] * n).patterns(window=window)
    finally:
        limits.block_bytes = before
    expected = by_loops(weights[1, heads - 1], mask, words, [False] * n, window)
    for name, value in expected.items():
        np.testing.assert_allclose(patterns[name][1, heads - 1], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_factored_and_dense_attention_agree():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 4, 12, 8).unbind(0)
    factored = aw.FactoredAttention(q, k, mask=None)
    tokens = [aw.Tokens.from_pieces([*"abcabcabcabc"])]
    weights = torch.softmax(q @ k.transpose(-1, -2) * 8**-0.5, dim=-1)
    one = aw.AttentionCapture([aw.AttentionStack("self", [factored], query_tokens=tokens)]).patterns()
    other = aw.AttentionCapture.from_weights([weights], tokens).patterns()
    for name in one.columns:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-6)


def test_padding_is_not_looked_at():
    mask = np.ones((1, 1, 10, 10), dtype=bool)
    mask[..., :3] = False
    weights = random_weights(5, allowed=mask[0])
    layers = capture_of(weights, mask).stacks["self"].layers
    tokens = [aw.Tokens.from_pieces(WORDS, special=SPECIAL)]
    stack = aw.AttentionStack("self", layers, query_tokens=tokens, query_spans=[(3, 10)], key_spans=[(3, 10)])
    patterns = aw.AttentionCapture([stack]).patterns()
    expected = by_loops(weights[0, 1][3:, 3:], mask[0, 0, 3:, 3:], WORDS[3:], SPECIAL[3:], 8)
    for name, value in expected.items():
        np.testing.assert_allclose(patterns[name][0, 1], value, rtol=1e-5, atol=1e-6, err_msg=name)


def one_hot(targets):
    """Heads (1, H, n, n) whose every query looks at one key."""
    n = len(targets[0])
    weights = np.zeros((1, len(targets), n, n), dtype=np.float32)
    for head, keys in enumerate(targets):
        weights[0, head, np.arange(n), keys] = 1
    return weights


def test_heads_get_the_names_of_what_they_do():
    words = [*"pqrstpqrst"]
    n = len(words)
    at = np.arange(n)
    after_match = np.where(at >= 5, at - 4, 0)
    heads = [at, np.maximum(at - 1, 0), np.zeros(n, dtype=int), after_match, np.where(at >= 5, at - 5, 3), at * 0 + 7]
    weights = one_hot(heads)
    even = np.full((1, 1, n, n), 1 / n, dtype=np.float32)
    patterns = capture_of(np.concatenate([weights, even], axis=1), None, words, [False] * n).patterns(window=2)
    assert patterns.shapes[0].tolist() == [
        "diagonal", "previous token", "first token", "induction", "duplicate token", "one key", "broad",
    ]  # fmt: skip
    assert patterns.sinks[0, 5] == 7
    assert patterns.sorted("induction")[0].head == 3
    assert patterns.sorted("entropy", descending=False)[-1].head == 6
    assert patterns["entropy"][0, 6] == pytest.approx(np.log2(n))
    assert patterns["spread"][0, 6] == pytest.approx(1)


def test_heads_like_this_one_come_first():
    n = len(WORDS)
    at = np.arange(n)
    patterns = capture_of(one_hot([at, np.maximum(at - 1, 0), np.maximum(at - 1, 0), at * 0])).patterns()
    assert patterns.similar(0, 1)[0].head == 2
    assert len(patterns.similar(0, 1)) == 3
    with pytest.raises(IndexError, match="layer 0 head 4 does not exist: layers are 0 to 0, heads 0 to 3"):
        patterns.similar(0, 4)


def test_sampled_rows_come_with_an_error_that_holds():
    weights = random_weights(1, 400, 4)
    words, special = [str(number % 50) for number in range(400)], [False] * 400
    whole = capture_of(weights, None, words, special).patterns()
    some = capture_of(weights, None, words, special).patterns(rows=100)
    assert (some.rows, some.n_queries, some.exact) == (100, 400, False)
    for name in ("entropy", "distance", "max", "near", "duplicate"):
        apart = np.abs(some[name] - whole[name]) / some.errors[name]
        assert (some.errors[name] > 0).all()
        assert (apart < 4.5).all(), f"{name}: {apart.max():.1f} standard errors away"
    assert "over 100 of 400 queries" in repr(some)


def test_cross_attention_has_no_distances():
    weights = softmax(np.random.default_rng(0).normal(size=(1, 2, 3, 5))).astype(np.float32)
    cap = aw.AttentionCapture.from_weights(weights, ["a", "b", "c"], key_tokens=["v", "w", "x", "y", "z"])
    patterns = cap.patterns()
    assert np.isnan(patterns["distance"]).all()
    assert np.isnan(patterns["induction"]).all()
    np.testing.assert_allclose(patterns["max"][0], weights[0].max(-1).mean(-1), rtol=1e-6)


def test_tables_and_their_errors(monkeypatch):
    patterns = capture_of(random_weights(0)).patterns()
    assert len(patterns) == 6
    assert [(row.layer, row.head) for row in patterns][:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert repr(patterns).startswith("patterns of stack 'self': 2 layers x 3 heads, over all 10 queries")
    assert patterns._repr_html_().count("<tr>") == 7
    with pytest.raises(KeyError, match="there is no measure 'entropie': patterns have entropy"):
        patterns["entropie"]
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"rows is .*; expected an int of at least 1"):
            capture_of(random_weights(0)).patterns(rows=wrong)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_pandas\(\) needs pandas"):
        patterns.to_pandas()


def test_a_frame_has_a_row_per_head():
    patterns = capture_of(random_weights(0)).patterns()
    frame = patterns.to_pandas()
    assert list(frame.columns[:4]) == ["layer", "head", "shape", "sink_key"]
    assert len(frame) == 6
    np.testing.assert_allclose(frame["entropy"], patterns["entropy"].ravel())


def test_a_row_of_nothing_and_a_single_token_do_no_harm():
    one = capture_of(np.ones((1, 1, 1, 1), dtype=np.float32), None, ["a"], [False]).patterns()
    assert np.isnan(one["entropy"]).all()
    assert one.shapes.tolist() == [["mixed"]]


def test_a_table_made_in_slices_is_the_one_made_at_once():
    capture = capture_of(random_weights(4, n=10, heads=3))
    finding = Finding(capture.stacks["self"], 0, window=2)
    done = []
    while not finding.step(0):
        assert finding.patterns is None
        done.append(finding.done)
    assert len(done) >= 2
    assert done == sorted(done)
    assert max(done) < 1
    assert finding.done == 1
    expected = capture.patterns(window=2)
    for name, column in finding.patterns.columns.items():
        np.testing.assert_array_equal(column, expected[name])


def test_a_table_that_failed_begins_anew(monkeypatch):
    capture = capture_of(random_weights(4, n=10, heads=3))
    finding = Finding(capture.stacks["self"], 0)
    assert not finding.step(0)
    with monkeypatch.context() as patch:
        patch.setattr("attnwidget.analysis.streaming.np.nan_to_num", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finding.step()
    assert finding.done == 0
    assert finding.step(np.inf)
    np.testing.assert_array_equal(finding.patterns["max"], capture.patterns()["max"])


def test_labels_say_what_heads_do_most_and_how_much():
    n = 10
    at = np.arange(n)
    weights = one_hot([np.maximum(at - 1, 0), np.zeros(n, dtype=int), np.full(n, 4)])
    even = np.full((1, 1, n, n), 1 / n, dtype=np.float32)
    tokens = [str(number) for number in range(n)]
    patterns = aw.AttentionCapture.from_weights(np.concatenate([weights, even], axis=1), tokens).patterns(window=1)
    assert patterns.labels == [
        "previous-token head, 0.9 on the token before",
        "first-token head, 1 on the first token",
        "one-key head, 1 on key 4",
        "broad head, entropy 1 of that of an even row",
    ]
    one = aw.AttentionCapture.from_weights(np.ones((1, 1, 1, 1), dtype=np.float32), ["a"]).patterns()
    assert one.labels == ["no query has two keys to choose from"]


def test_an_example_without_tokens_has_a_table_of_nothing():
    layers = capture_of(random_weights(5)).stacks["self"].layers
    tokens = [aw.Tokens.from_pieces(WORDS, special=SPECIAL)]
    stack = aw.AttentionStack("self", layers, query_tokens=tokens, query_spans=[(3, 3)], key_spans=[(3, 3)])
    patterns = aw.AttentionCapture([stack]).patterns()
    assert all(np.isnan(column).all() for column in patterns.columns.values())
    assert set(patterns.labels) == {"no query has two keys to choose from"}
