"""flex_attention that cannot be captured, or fails by itself: named, and nothing is left behind."""

from __future__ import annotations

import pytest
import torch
from flexblocks import HEADS, SIZE, TOKENS, Block
from residual import Net

import attnwidget as aw

flex = pytest.importorskip("torch.nn.attention.flex_attention", reason="torch 2.4 has no flex attention")

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
SLOPES = torch.tensor([0.5, 0.25, 0.125, 0.0625])
TABLE = torch.randn(HEADS, 2 * TOKENS - 1)


def alibi(score, b, h, q_idx, kv_idx):
    return score + SLOPES[h] * (kv_idx - q_idx)


def test_a_function_that_cannot_be_traced_is_refused_by_name():
    from attnwidget.intercept.keeping import Keeper
    from attnwidget.intercept.scoremod import keep_score_mod

    def reading(score, b, h, q_idx, kv_idx):
        return score + (1.0 if bool(q_idx > 3) and score.item() > 0 else q_idx.tolist().missing)

    with pytest.raises(
        ValueError, match=r"score_mod 'reading' could not be traced \(.*\); expected operations on tens"
    ):
        keep_score_mod(reading, torch.device("cpu"), torch.device("cpu"), Keeper())


def test_a_torch_that_works_otherwise_is_refused_by_name(monkeypatch):
    from attnwidget.intercept import flex as route

    net, x = Net(Block(score_mod=alibi)).requires_grad_(requires_grad=False), torch.randn(1, TOKENS, HEADS * SIZE)
    plain = net(x)
    saw = route._saw
    monkeypatch.setattr(route, "_saw", lambda names: saw({"query": names["query"]}))
    seen = []
    with (
        pytest.raises(aw.CaptureError, match=r"flex_attention of torch .* works in a way that is not"),
        aw.capture(net),
    ):
        seen.append(net(x))
    assert torch.equal(seen[0], plain)


def test_an_error_of_the_call_comes_out_unchanged_and_leaves_nothing():
    from torch.overrides import _get_current_function_mode_stack

    def broken(score, b, h, q_idx, kv_idx):
        return score + TABLE[h, kv_idx, q_idx]

    net = Net(Block(score_mod=broken)).requires_grad_(requires_grad=False)
    before = {name: getattr(flex, name) for name in dir(flex)}
    with pytest.raises(Exception) as plain:  # noqa: PT011 - which one is torch's business
        net(torch.randn(1, TOKENS, HEADS * SIZE))
    with pytest.raises(type(plain.value)), aw.capture(net):
        net(torch.randn(1, TOKENS, HEADS * SIZE))
    assert all(getattr(flex, name) is value for name, value in before.items())
    assert _get_current_function_mode_stack() == []
