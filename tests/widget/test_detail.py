"""The numbers between q, k and a weight, as they travel to the page."""

import json

import numpy as np
import pytest
import torch

from attnwidget.attention import AttentionCapture, AttentionStack, FactoredAttention, Mask
from attnwidget.widget.requests import Answerer

PARAMS = {"stack": "self", "batch": 0, "layer": 0, "head": 3, "query": 4, "key": 2}


@pytest.fixture
def factored():
    torch.manual_seed(0)
    q, k = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8)
    return AttentionCapture([AttentionStack("self", [FactoredAttention(q, k, mask=Mask.causal(5, 5))])])


def ask(capture, **params):
    return Answerer(capture).answer({"id": 1, "method": "detail", "params": {**PARAMS, **params}})


def test_the_numbers_are_those_of_the_capture(factored):
    reply = ask(factored)
    found, wanted = reply.content["ok"], factored.detail(0, 3, 4, 2)
    assert {name: found[name] for name in ("key_head", "dot", "scale", "raw", "capped", "bias", "lse", "weight")} == {
        "key_head": 1, "dot": wanted.dot, "scale": 8**-0.5, "raw": wanted.raw, "capped": wanted.raw, "bias": 0,
        "lse": wanted.lse, "weight": factored.weights(0, 3, queries=[4], keys=[2])[0, 0],
    }  # fmt: skip
    assert (found["size"], found["masked"], found["softcap"], found["sink_share"]) == (8, False, None, None)
    assert (found["few"], found["share"], found["steps"]) == (wanted.components(), wanted.share, wanted.steps)
    (buffer,) = reply.buffers
    np.testing.assert_array_equal(np.frombuffer(buffer, "<f4").reshape(2, 8), [wanted.q, wanted.k])


def test_what_is_not_finite_travels_as_null(factored):
    found = ask(factored, query=1, key=2).content
    assert (found["ok"]["masked"], found["ok"]["log_weight"], found["ok"]["weight"]) == (True, None, 0)
    huge = torch.full((1, 4, 5, 8), 3e38)
    overflowed = ask(AttentionCapture([AttentionStack("self", [FactoredAttention(huge, huge)])])).content
    assert overflowed["ok"]["dot"] is None
    for content in (found, overflowed):
        json.dumps(content, allow_nan=False)


def test_weights_alone_have_no_detail_and_say_why(capture):
    error = ask(capture).content["error"]
    assert error["code"] == "unavailable"
    assert error["message"].startswith("q and k are not known: this capture holds weights only")


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"layer": 1}, "layer 1 does not exist: stack 'self' has layers 0 to 0"),
        ({"head": 4}, "head 4 does not exist: stack 'self' has heads 0 to 3"),
        ({"query": 5}, "query 5 does not exist: stack 'self' has queries 0 to 4"),
        ({"key": -1}, "key -1 does not exist: stack 'self' has keys 0 to 4"),
        ({"query": None}, "'query' must be a whole number, got None"),
        ({"stack": "x"}, "unknown stack 'x': this capture has 'self'"),
    ],
)
def test_requests_that_make_no_sense(factored, params, text):
    assert ask(factored, **params).content["error"] == {"code": "invalid", "message": text}
