"""The shapes, indices and words of a capture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attnwidget.attention import (
    AttentionCapture,
    AttentionStack,
    CaptureError,
    DenseAttention,
    FactoredAttention,
    Mask,
    Tokens,
    memory,
)


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    array = rng.random((3, 2, 4, 5, 7)).astype(np.float32)  # (L, B, H, Tq, Tk)
    return array / array.sum(-1, keepdims=True)


@pytest.fixture
def cap(weights):
    return AttentionCapture.from_weights(weights, list("abcde"), key_tokens=list("ABCDEFG"), model="toy")


def test_shapes_follow_what_is_asked(cap, weights):
    np.testing.assert_array_equal(cap.weights(2, 3, batch=1), weights[2, 1, 3])
    np.testing.assert_array_equal(cap.weights(2), weights[2, 0])
    np.testing.assert_array_equal(cap.weights(head=1), weights[:, 0, 1])
    np.testing.assert_array_equal(cap.weights(), weights[:, 0])
    np.testing.assert_array_equal(cap.weights(0, 0, queries=slice(1, 3), keys=(2, 7)), weights[0, 0, 0, 1:3, 2:7])
    np.testing.assert_array_equal(
        cap.weights(0, 0, queries=[4, 0], keys=np.array([6])), weights[0, 0, 0][[4, 0]][:, [6]]
    )
    np.testing.assert_array_equal(cap.pair(query=4, key=6, batch=1), weights[:, 1, :, 4, 6])
    assert cap.allowed(0, 0).all()
    assert cap.allowed().shape == (3, 4, 5, 7)
    assert cap.weights(0, 0, queries=[]).shape == (0, 7)


def test_tokens_and_repr(cap, weights):
    assert cap.tokens == list("abcde")
    assert list(cap.stacks["self"].key_tokens[1]) == list("ABCDEFG")
    assert cap.nbytes == weights.nbytes
    assert repr(cap) == (
        "AttentionCapture('toy', 3.3 kB)\n"
        "  self  3 layers x 4 heads, 2 examples of 5 x 7 tokens, 3.3 kB\n"
        "    layers  heads  kept\n"
        "    0-2     4      weights, float32"
    )


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda cap: cap.weights(3), IndexError, "layer 3 does not exist: stack 'self' has layers 0 to 2"),
        (lambda cap: cap.weights(-1), IndexError, "layer -1 does not exist: stack 'self' has layers 0 to 2"),
        (lambda cap: cap.weights(0, 4), IndexError, "head 4 does not exist: stack 'self' has heads 0 to 3"),
        (lambda cap: cap.weights(True), TypeError, "layer is True; expected an int from 0 to 2"),
        (lambda cap: cap.weights(1.0), TypeError, "layer is 1.0; expected an int from 0 to 2"),
        (
            lambda cap: cap.weights(0, 0, batch=2),
            IndexError,
            "example 2 does not exist: stack 'self' has examples 0 to 1",
        ),
        (lambda cap: cap.weights(stack="x"), KeyError, "stack 'x' does not exist: this capture has 'self'"),
        (
            lambda cap: cap.weights(queries=[5]),
            IndexError,
            "query 5 does not exist: example 0 of stack 'self' has queries 0 to 4",
        ),
        (lambda cap: cap.weights(keys=slice(-2, None)), IndexError, "count from the end; expected positions 0 to 6"),
        (
            lambda cap: cap.weights(keys=slice(0, 4, 2)),
            IndexError,
            "have a step; expected step 1, or a list of positions",
        ),
        (lambda cap: cap.weights(queries=2), TypeError, "expected a slice, a range (start, stop) or a list of ints"),
        (lambda cap: cap.weights(queries=[True]), TypeError, "queries are [True]; expected"),
        (lambda cap: cap.pair(query=5, key=0), IndexError, "query 5 does not exist"),
        (lambda cap: cap.scores(0, 0), ValueError, "scores need q and k, and this layer holds weights only"),
    ],
)
def test_what_is_refused(cap, call, kind, text):
    with pytest.raises(kind) as error:
        call(cap)
    assert text in str(error.value)


def test_an_answer_that_would_not_fit_is_refused_before_it_is_made(cap, monkeypatch):
    monkeypatch.setattr("attnwidget.attention.memory.free_bytes", lambda: 1000)
    with pytest.raises(MemoryError) as error:
        cap.weights()
    assert str(error.value) == (
        "an array (3, 4, 5, 7) takes 1.6 kB, more than half of the 1000 bytes that are free: ask for one layer, "
        "one head, a range of queries and keys, or a pooled tile with cap.tile(...)"
    )
    assert cap.weights(0, 0).shape == (5, 7)


def test_free_memory_is_known_here():
    assert (memory.free_bytes() or 0) > 1 << 20


def test_not_filled_yet():
    cap = AttentionCapture(model="x")
    with pytest.raises(CaptureError, match="it is when the `with` block ends without an exception"):
        cap.weights()
    assert repr(cap) == "AttentionCapture('x', not filled yet)"


def test_padding_is_cut_off_left_and_right():
    q = torch.randn(2, 2, 6, 4)
    layer = FactoredAttention(
        q, q, mask=Mask(6, 6, keys=np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], dtype=bool))
    )
    names = [Tokens.from_pieces(list("..abcd")), Tokens.from_pieces(list("xyz..."))]
    cap = AttentionCapture([AttentionStack("self", [layer], query_tokens=names, query_spans=[(2, 6), (0, 3)])])
    assert [list(tokens) for tokens in cap.stacks["self"].query_tokens] == [list("abcd"), list("xyz")]
    assert cap.weights(0, 0).shape == (4, 4)
    expected = torch.softmax(q[0, 0, 2:] @ q[0, 0, 2:].T / 2, -1)
    np.testing.assert_allclose(cap.weights(0, 0), expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(cap.tile(0, 0, height=4, width=4).values, expected.numpy(), atol=1e-6)
    assert cap.pair(query=2, key=0, batch=1)[0, 1] == cap.weights(0, 1, batch=1)[2, 0]


def test_masks_that_layers_share_are_counted_once():
    mask = Mask(6, 6, bits=np.zeros((1, 1, 6, 1), dtype=np.uint8))
    layers = [DenseAttention(np.zeros((1, 1, 6, 6), dtype=np.float32), mask) for _ in range(5)]
    assert AttentionStack("self", layers).nbytes == 5 * 36 * 4 + 6


def test_layers_of_a_stack_have_one_shape():
    layers = [DenseAttention(np.zeros((1, heads, 3, 3))) for heads in (2, 4)]
    with pytest.raises(ValueError, match="expected one shape for all layers of a stack"):
        AttentionStack("self", layers)
