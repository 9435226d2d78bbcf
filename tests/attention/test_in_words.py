"""Tokens merged to words, against sums and means that NumPy makes of full weights."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
import torch
from captures import make_capture, softmax
from hypothesis import given, settings
from hypothesis import strategies as st

from attnwidget import AttentionCapture
from attnwidget.attention import AttentionStack, DenseAttention, FactoredAttention, Mask, Tokens, recognise_mask
from attnwidget.attention.limits import limits
from attnwidget.attention.wording import merged_tokens, word_starts


def words_of(tokens):
    return merged_tokens(tokens, word_starts(tokens)).text


def from_text(text, cuts):
    """Tokens that cut a text at these places; spaces become gaps."""
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stripped = [part.lstrip(" ") for part in parts]
    gaps = [part[: len(part) - len(bare)] for part, bare in zip(parts, stripped, strict=True)]
    return Tokens(tuple(parts), tuple(stripped), tuple(gaps), (False,) * len(parts), (0,) * len(parts))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["[CLS]", "un", "##believ", "##able", "!", "[SEP]"], ["[CLS]", "unbelievable", "!", "[SEP]"]),
        (["The", "Ġun", "believ", "able", "Ġthing", "."], ["The", "unbelievable", "thing", "."]),
        (["▁The", "▁un", "believ", "able", ","], ["The", "unbelievable", ","]),
        (["don", "'t", "Ġ3", ".", "14", "Ġend", ".", "Next"], ["don't", "3.14", "end", ".", "Next"]),
        (["a", "b", "c"], ["a", "b", "c"]),
        (["ĠðŁĺ", "Ģ", "Ġok"], ["😀", "ok"]),
    ],
)
def test_words_of_common_vocabularies(pieces, expected):
    special = [piece.startswith("[") for piece in pieces]
    assert list(words_of(Tokens.from_pieces(pieces, special=special))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("东京都", ["东", "京", "都"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("snake_case(x)", ["snake_case", "(", "x", ")"]),
        ("l\N{RIGHT SINGLE QUOTATION MARK}été 1,000", ["l\N{RIGHT SINGLE QUOTATION MARK}été", "1,000"]),
        ("can't", ["can't"]),
        ("'tis", ["'", "tis"]),
        ("👩‍🔬👍🏽", ["👩‍🔬", "👍🏽"]),
        ("\n\nx", ["\n", "\n", "x"]),
    ],
)
def test_a_text_cut_between_all_of_its_characters_comes_together_again(text, expected):
    assert list(words_of(from_text(text, [cut for cut in range(1, len(text)) if text[cut - 1] != " "]))) == expected


def test_special_tokens_and_the_two_texts_of_a_pair_stay_apart():
    pieces = ("a", "<s>", "b", "c")
    tokens = Tokens(pieces, pieces, ("",) * 4, (False, True, False, False), (0, 0, 0, 1))
    assert word_starts(tokens).tolist() == [0, 1, 2, 3]


@settings(deadline=None, max_examples=80)
@given(st.text(min_size=1, max_size=20), st.data())
def test_words_read_as_the_text_does_and_are_the_same_however_it_is_cut(text, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text)), max_size=6)) - {len(text)})
    tokens = from_text(text, cuts)
    starts = word_starts(tokens)
    merged = merged_tokens(tokens, starts)
    assert merged.running_text == tokens.running_text
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    for place in starts[1:]:
        before = "".join(tokens.text[:place])[-1:]
        shown = max((earlier for earlier in range(place) if tokens.text[earlier]), default=0)
        # A token may stand for nothing but the space before it.
        if before.isalpha() and tokens.text[place][:1].isalpha() and not any(tokens.gap[shown + 1 : place + 1]):
            beside = before + tokens.text[place][0]
            assert any(unicodedata.name(char, "").startswith(("CJK", "HIRAGANA", "YI")) for char in beside)


def merge(weights, allowed, query_starts, key_starts):
    """The definition, in loops: (h, W, V) weights and allowed pairs."""
    heads, n, m = weights.shape
    rows, columns = [*query_starts, n], [*key_starts, m]
    out = np.zeros((heads, len(rows) - 1, len(columns) - 1))
    pairs = np.zeros(out.shape, dtype=bool)
    for head in range(heads):
        for i, (a, b) in enumerate(pairwise(rows)):
            looking = [q for q in range(a, b) if allowed[head, q].any()]
            for j, (c, d) in enumerate(pairwise(columns)):
                sums = [weights[head, q, c:d].astype(np.float64).sum() for q in looking]
                out[head, i, j] = np.mean(sums) if sums else 0
                pairs[head, i, j] = allowed[head, a:b, c:d].any()
    return out, pairs


def random_tokens(data, n):
    flags = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    continues = [flag and index > 0 for index, flag in enumerate(flags)]
    return Tokens.from_pieces([f"##{index}" if more else f"w{index}" for index, more in enumerate(continues)])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_sums_over_keys_and_means_over_queries(data):
    n = data.draw(st.integers(2, 12))
    tokens = random_tokens(data, n)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    allowed = rng.random((1, 2, n, n)) < data.draw(st.sampled_from([0.2, 0.7, 1.0]))
    scores = np.where(allowed, rng.normal(size=allowed.shape) * 2, -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.nan_to_num(softmax(scores)).astype(np.float32)
    layer = DenseAttention(weights, recognise_mask(allowed, n_queries=n, n_keys=n))
    cap = AttentionCapture([AttentionStack("self", [layer], query_tokens=[tokens])])
    old, limits.block_bytes = limits.block_bytes, data.draw(st.sampled_from([1, 500, 64 << 20]))
    try:
        made = cap.in_words()
        starts = word_starts(tokens)
        expected, pairs = merge(weights[0], allowed[0], starts, starts)
        np.testing.assert_allclose(made.weights(0), expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(made.allowed(0), pairs)
        some = data.draw(st.lists(st.integers(0, len(starts) - 1), max_size=4))
        others = data.draw(st.lists(st.integers(0, len(starts) - 1), max_size=4))
        np.testing.assert_allclose(
            made.weights(0, 1, queries=some, keys=others), expected[1][np.ix_(some, others)], rtol=1e-6, atol=1e-9
        )
        np.testing.assert_array_equal(made.allowed(0, 1, queries=some, keys=others), pairs[1][np.ix_(some, others)])
        np.testing.assert_allclose(
            made.tile(0, 0).values, np.where(pairs[0], expected[0], np.nan), rtol=1e-6, atol=1e-9
        )
    finally:
        limits.block_bytes = old
    assert made.tokens == list(merged_tokens(tokens, starts).pieces)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_factors_hidden_keys_and_words_together(data):
    n = data.draw(st.integers(2, 14))
    tokens = random_tokens(data, n)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    layer = FactoredAttention(torch.randn(1, 4, n, 8), torch.randn(1, 2, n, 8), mask=Mask.causal(n, n))
    cap = AttentionCapture([AttentionStack("self", [layer], query_tokens=[tokens])])
    hidden = sorted(data.draw(st.sets(st.integers(0, n - 1), max_size=3)))
    plain = cap.without_keys(hidden)
    made = plain.in_words()
    starts = word_starts(tokens)
    expected, pairs = merge(plain.weights(0), plain.allowed(0), starts, starts)
    np.testing.assert_allclose(made.weights(0), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(made.allowed(0), pairs)
    rows = made.weights(0).sum(axis=-1)
    np.testing.assert_allclose(rows[pairs.any(axis=-1)], 1, rtol=1e-5)


def test_examples_of_a_batch_have_words_of_their_own_and_padding_is_cut_off():
    names = [Tokens.from_pieces(["a", "##b", "c", "##d"]), Tokens.from_pieces(["[PAD]", "x", "##y", "z"])]
    weights = softmax(np.random.default_rng(0).normal(size=(2, 2, 4, 4))).astype(np.float32)
    spans = [(0, 4), (1, 4)]
    stack = AttentionStack("self", [DenseAttention(weights)], query_tokens=names, query_spans=spans)
    made = AttentionCapture([stack]).in_words()
    assert [list(each.text) for each in made.stacks["self"].query_tokens] == [["ab", "cd"], ["xy", "z"]]
    np.testing.assert_allclose(made.weights(0, 0, batch=1)[0, 0], weights[1, 0, 1:3, 1:3].sum(axis=1).mean(), rtol=1e-6)
    assert made.weights(0, 0, batch=1).shape == (2, 2)


def test_queries_and_keys_of_different_texts():
    weights = softmax(np.random.default_rng(0).normal(size=(1, 3, 5))).astype(np.float32)
    names = ["x", "##y", "##z", "u", "v"]
    made = AttentionCapture.from_weights(weights, ["a", "##b", "c"], key_tokens=names).in_words()
    expected, _ = merge(weights, np.ones((1, 3, 5), dtype=bool), [0, 2], [0, 3, 4])
    np.testing.assert_allclose(made.weights(0), expected, rtol=1e-6)
    assert list(made.stacks["self"].key_tokens[0].text) == ["xyz", "u", "v"]


def test_one_long_word_is_added_up_in_blocks_and_nothing_quadratic_is_held():
    n = 3000
    tokens = Tokens.from_pieces(["a", *["##b"] * (n - 2), "c"])
    q = torch.randn(1, 1, n, 4)
    cap = AttentionCapture([AttentionStack("self", [FactoredAttention(q, q)], query_tokens=[tokens])])
    made = cap.in_words()
    np.testing.assert_allclose(made.weights(0, 0).sum(axis=-1), 1, rtol=1e-5)
    assert made.nbytes < cap.nbytes + 40 * n


def test_scores_of_words_are_refused_and_the_rest_answers():
    q = torch.randn(1, 2, 4, 8)
    layer = FactoredAttention(q, q, sinks=torch.ones(2))
    tokens = Tokens.from_pieces(["a", "##b", "c", "##d"])
    made = AttentionCapture([AttentionStack("self", [layer], query_tokens=[tokens])]).in_words()
    with pytest.raises(ValueError, match="scores belong to pairs of tokens, and these are words: ask the capture that"):
        made.scores(0, 0)
    share = made.sink_share(0)
    np.testing.assert_allclose(share + made.weights(0).sum(axis=-1), 1, rtol=1e-5)
    assert made.pair(query=1, key=0).shape == (1, 2)
    assert len(made.patterns()) == 2
    assert made.marginals(0, 0).received.shape == (2,)
    assert "note: words: sums over the tokens of a key, means over those of a query" in repr(made)
    assert not made.verify().ok


def test_tokens_that_are_words_already_stay_as_they_are():
    cap = make_capture()
    made = cap.in_words()
    assert made.stacks["self"].layers == cap.stacks["self"].layers
    assert made.tokens == cap.tokens
