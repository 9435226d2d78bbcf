"""Any chain of scales, masks, biases, caps and reshapes between product and softmax gives what torch.softmax gave."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given, settings
from torch import nn
from watched import allowed, whole

import attnwidget as aw

AXES = "bhqk"


class Chain(nn.Module):
    """Scores in one order of axes, changed step by step, and a product with values in that order."""

    def __init__(self, steps, order, softmax_dtype):
        super().__init__()
        self.steps, self.order, self.softmax_dtype = steps, order, softmax_dtype
        self.seen = None

    def forward(self, q, k, v):
        scores = torch.einsum(f"bhqd,bhkd->{self.order}", q, k)
        for step in self.steps:
            scores = step(scores)
        self.seen = torch.softmax(scores, dim=self.order.index("k"), dtype=self.softmax_dtype)
        return torch.einsum(f"{self.order},bhkd->bqhd", self.seen.to(v.dtype), v)


def numbers(sizes, order, kept, seed):
    """A tensor that broadcasts to the scores, of full length along the kept axes."""
    shape = [sizes[axis] if axis in kept else 1 for axis in order]
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def chains(draw):
    sizes = {axis: draw(st.integers(1, 4)) for axis in AXES}
    order = "".join(draw(st.permutations(AXES)))
    shape = [sizes[axis] for axis in order]
    steps, forbidden = [], torch.zeros(shape, dtype=torch.bool)
    for number in range(draw(st.integers(0, 5))):
        kept = draw(st.sets(st.sampled_from(AXES)))
        values = numbers(sizes, order, kept, draw(st.integers(0, 999)))
        factor = draw(st.sampled_from([0.5, -1.5, 2.0]))
        kind = draw(
            st.sampled_from(
                [
                    "scale",
                    "divide",
                    "gain",
                    "bias",
                    "subtract",
                    "fill",
                    "where",
                    "mask",
                    "cap",
                    "merge",
                    "in place",
                    "cast",
                ]
            )
        )
        if kind in {"fill", "where", "mask"}:
            mask = values > 0.7
            if (forbidden | mask).all(dim=order.index("k")).any():
                continue  # a row that sees nothing is another test's business
            forbidden = forbidden | mask
            low = draw(st.sampled_from([-torch.inf, torch.finfo(torch.float32).min, -1e9]))
            steps.append(
                {
                    "fill": lambda s, mask=mask, low=low: s.masked_fill(mask, low),
                    "where": lambda s, mask=mask, low=low: torch.where(mask, low, s),
                    "mask": lambda s, mask=mask, low=low: s + torch.zeros(mask.shape).masked_fill(mask, low),
                }[kind]
            )
            if number and draw(st.booleans()):
                break
            continue
        if forbidden.any() and kind in {"scale", "divide", "gain", "cap", "subtract"}:
            continue  # what follows a mask in models
        steps.append(
            {
                "scale": lambda s, factor=factor: s * factor,
                "divide": lambda s, factor=factor: s / factor,
                "gain": lambda s, values=values: s * values,
                "bias": lambda s, values=values: s + values,
                "subtract": lambda s, values=values: values - s,
                "cap": lambda s: torch.tanh(s / 3.0) * 3.0,
                "merge": lambda s: s.flatten(0, 1).reshape(s.shape),
                "in place": lambda s, values=values: s.add_(values, alpha=0.5),
                "cast": lambda s: s.double().float(),
            }[kind]
        )
    dtype = draw(st.sampled_from([None, torch.float32]))
    return sizes, Chain(steps, order, dtype), forbidden, draw(st.integers(0, 999))


@settings(max_examples=200, deadline=None)
@given(chains())
def test_any_chain(drawn):
    sizes, module, forbidden, seed = drawn
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(sizes["b"], sizes["h"], sizes[axis], 5, generator=generator) for axis in ("q", "k", "k"))
    with torch.no_grad():
        plain = module(q, k, v)
        with aw.capture(module) as cap:
            assert torch.equal(module(q, k, v), plain)
    to_frame = [module.order.index(axis) for axis in AXES]
    # Both sides round, and scores of some tens make 1e-7 of a score 4e-6 of a weight.
    np.testing.assert_allclose(whole(cap), module.seen.permute(*to_frame).numpy(), atol=1e-5)
    permitted = ~forbidden.permute(*to_frame).numpy()
    known = np.broadcast_to(allowed(cap), permitted.shape)
    assert (known | ~permitted).all(), "what is allowed is never shown as masked"
    if cap.stacks["self"].layers[0].mask is not None:
        np.testing.assert_array_equal(known, permitted)
    assert cap.verify().ok
