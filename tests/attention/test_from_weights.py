"""Arrays somebody already has: accepted forms, and every refusal with its words."""

from __future__ import annotations

import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch

from attnwidget.attention import AttentionCapture, AttentionWarning


def softmax(*shape, dtype=torch.float32):
    return torch.softmax(torch.randn(shape, generator=torch.Generator().manual_seed(0)), dim=-1).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "as_numpy"),
    [(dtype, False) for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)]
    + [(dtype, True) for dtype in (torch.float16, torch.float32, torch.float64)],
)
@pytest.mark.parametrize("form", ["list of 4-D", "tuple of 3-D", "(L, H, Tq, Tk)", "(L, B, H, Tq, Tk)", "(H, Tq, Tk)"])
def test_accepted_forms(form, dtype, as_numpy):
    layers = softmax(2, 1, 3, 5, 7, dtype=dtype).requires_grad_()
    made = {
        "list of 4-D": lambda: list(layers),
        "tuple of 3-D": lambda: tuple(layers[:, 0]),
        "(L, H, Tq, Tk)": lambda: layers[:, 0],
        "(L, B, H, Tq, Tk)": lambda: layers,
        "(H, Tq, Tk)": lambda: layers[0, 0],
    }[form]()
    if as_numpy:
        made = (
            type(made)(part.detach().numpy() for part in made)
            if isinstance(made, (list, tuple))
            else made.detach().numpy()
        )
    cap = AttentionCapture.from_weights(made)
    n_layers = 1 if form == "(H, Tq, Tk)" else 2
    assert cap.weights().shape == (n_layers, 3, 5, 7)
    np.testing.assert_array_equal(cap.weights(0), layers[0, 0].detach().float().numpy())
    assert cap.tokens == ["0", "1", "2", "3", "4"]


def test_arrays_are_held_not_copied():
    array = softmax(2, 3, 5, 5).numpy()
    cap = AttentionCapture.from_weights(array)
    assert cap.nbytes == array.nbytes
    assert np.shares_memory(cap.stacks["self"].layers[0]._weights, array)


def test_a_batch_with_names_of_its_own():
    cap = AttentionCapture.from_weights(softmax(1, 2, 3, 2, 2), [["a", "b"], ["c", "d"]])
    assert [list(tokens) for tokens in cap.stacks["self"].query_tokens] == [["a", "b"], ["c", "d"]]
    assert list(cap.stacks["self"].key_tokens[1]) == ["c", "d"]


def test_exact_zeros_above_every_diagonal_mean_causal():
    weights = torch.randn(2, 3, 6, 6).masked_fill(~torch.ones(6, 6, dtype=torch.bool).tril(), -torch.inf).softmax(-1)
    cap = AttentionCapture.from_weights(weights)
    np.testing.assert_array_equal(cap.allowed(1, 2), np.tri(6, dtype=bool))
    weights[1, 2, 0, 5], weights[1, 2, 0, 0] = 0.5, 0.5
    assert AttentionCapture.from_weights(weights).allowed(1, 2).all()


def test_a_mask_says_which_pairs_were_allowed():
    allowed = np.random.default_rng(0).random((1, 1, 4, 4)) > 0.3
    allowed[..., 0] = True
    cap = AttentionCapture.from_weights(softmax(2, 3, 4, 4), mask=torch.from_numpy(allowed))
    np.testing.assert_array_equal(cap.allowed(1, 2), allowed[0, 0])
    assert np.isnan(cap.tile(0, 0, height=4, width=4).values[~allowed[0, 0]]).all()


def broken(value, dtype=torch.float32):
    weights = softmax(2, 3, 4, 4, dtype=dtype)
    weights[1, 2, 3, 1] = value
    return weights


class Output(OrderedDict):
    attentions = None


@pytest.mark.parametrize(
    ("weights", "tokens", "kind", "text"),
    [
        ((), None, ValueError, "weights are an empty tuple, there is no layer in it: under sdpa or flash attention"),
        ((), None, ValueError, 'load it with attn_implementation="eager" and pass output_attentions=True'),
        ((None, None), None, ValueError, "2 of 2 layers are None (the first is layer 0): under sdpa"),
        (
            softmax(4, 4),
            None,
            ValueError,
            "weights have shape (4, 4), 2-D; expected a list with one (batch, heads, queries, keys)",
        ),
        ([softmax(4, 4)], None, ValueError, "layer 0 has shape (4, 4), 2-D; expected a list with one"),
        (
            [softmax(1, 2, 4, 4), softmax(1, 2, 4, 5)],
            None,
            ValueError,
            "layer 1 has shape (1, 2, 4, 5) and layer 0 (1, 2, 4, 4); expected one shape for all layers",
        ),
        (
            softmax(2, 3, 4, 4),
            list("abc"),
            ValueError,
            "tokens of example 0 hold 3 names and the weights have 4 queries",
        ),
        (softmax(2, 3, 4, 4), [list("abcd")] * 2, ValueError, "tokens name 2 examples and the weights have 1"),
        (softmax(2, 3, 4, 4), "abcd", TypeError, "tokens are 'abcd'; expected a list of str, one per token"),
        (
            broken(torch.nan),
            None,
            ValueError,
            "layer 1 holds NaN or infinite values (near query 0); expected weights between",
        ),
        (broken(torch.inf), None, ValueError, "layer 1 holds NaN or infinite values"),
        (
            broken(-0.5),
            None,
            ValueError,
            "layer 1 holds -0.5 (near query 0); expected weights between 0 and 1: these look like",
        ),
        (broken(3.0), None, ValueError, "layer 1 holds 3 (near query 0); expected weights between 0 and 1"),
        (
            torch.ones(2, 3, 4, 4, dtype=torch.long),
            None,
            TypeError,
            "weights of type torch.int64; expected floating point",
        ),
        ([np.ones((3, 4, 4), dtype=int)], None, TypeError, "layer 0 of type int64; expected floating point weights"),
        ("weights", None, TypeError, "weights are str; expected a list with one"),
        ([[[0.5, 0.5]]], None, TypeError, "layer 0 is list; expected a list with one"),
        (
            Output(a=1),
            None,
            TypeError,
            "a model's whole output; expected the weights in it: pass all of it to attnwidget.from_output",
        ),
        (np.zeros((2, 3, 0, 0), dtype=np.float32), None, ValueError, "per layer, which holds nothing"),
    ],
)
def test_what_is_refused(weights, tokens, kind, text):
    with pytest.raises(kind) as error:
        AttentionCapture.from_weights(weights, tokens)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("mask", "kind", "text"),
    [
        (np.ones((4, 4)), TypeError, "mask is of type float64; expected bool, True where a query may look at a key"),
        (
            np.ones((4, 5), dtype=bool),
            ValueError,
            "mask has shape (4, 5); expected one that broadcasts to (1, 3, 4, 4)",
        ),
    ],
)
def test_masks_that_are_refused(mask, kind, text):
    with pytest.raises(kind) as error:
        AttentionCapture.from_weights(softmax(2, 3, 4, 4), mask=mask)
    assert text in str(error.value)


def test_rows_that_do_not_sum_to_one_are_told_and_shown_as_they_are():
    weights = softmax(2, 3, 4, 4)
    weights[1, :, 2] *= 0.5
    with pytest.warns(AttentionWarning) as told:
        cap = AttentionCapture.from_weights(weights)
    assert str(told[0].message) == (
        "3 of 24 rows do not sum to 1 (the furthest sums to 0.5); they are shown as they are. "
        "Likely reasons: dropout (model.eval() turns it off), scores instead of weights, rows of padding, "
        "or an attention sink"
    )
    assert told[0].filename == __file__
    np.testing.assert_array_equal(cap.weights(1), weights[1].numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_of_half_precision_is_no_reason_to_warn(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AttentionCapture.from_weights(softmax(2, 3, 64, 64, dtype=dtype))
