"""Queries are told from heads and examples also where values, or keys, come for each of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import attnwidget as aw
from attnwidget.intercept.byhand.handmade import UNTOLD

D = 4
SOME = ["", "b", "h", "bh"]
"""Axes beside one's own: examples, heads."""
NOTE = UNTOLD.format(module="inner")
UNCERTAIN = {("bh", "b", "bq"), ("bh", "h", "hq")}
"""Queries and heads have swapped their parts here: heads share keys, and each query has values of its own."""


class Products(nn.Module):
    """softmax(q k) v by einsum, of tensors that have some of the axes; `seen` is its softmax as (B, H, Tq, Tk)."""

    def __init__(self, query, key, value, sizes):
        super().__init__()
        self.axes = [f"{query}qd", f"{key}kd", f"{value}kd"]
        self.lead = [axis for axis in "bh" if axis in query + key]
        self.scores = f"{''.join(self.lead)}qk"
        self.output = f"{''.join(axis for axis in 'bh' if axis in query + key + value)}qd"
        self.maps = nn.ModuleList(nn.Linear(D, D) for _ in self.axes)
        self.sizes = sizes

    def forward(self):
        q, k, v = (
            fit(torch.randn([self.sizes[axis] for axis in axes]))
            for fit, axes in zip(self.maps, self.axes, strict=True)
        )
        weights = (torch.einsum(f"{self.axes[0]},{self.axes[1]}->{self.scores}", q, k) * 2).softmax(-1)
        self.seen = weights
        for place, axis in enumerate("bh"):
            self.seen = self.seen if axis in self.lead else self.seen.unsqueeze(place)
        return torch.einsum(f"{self.scores},{self.axes[2]}->{self.output}", weights, v)


def watched(*axes, n_examples=3, n_heads=2, n_queries=5):
    sizes = {"b": n_examples, "h": n_heads, "q": n_queries, "k": 6, "d": D}
    net = nn.Sequential()
    net.add_module("inner", Products(*axes, sizes))
    with torch.no_grad(), aw.capture(net) as cap:
        net.inner()
    return cap, net.inner.seen.numpy()


def agree(cap, seen):
    assert cap.stacks["self"].n_examples == len(seen)
    for example, expected in enumerate(seen):
        np.testing.assert_allclose(cap.weights(0, batch=example), expected, atol=1e-5)


@pytest.mark.parametrize(("n_examples", "n_heads", "n_queries"), [(3, 2, 5), (1, 2, 5), (3, 1, 5), (3, 2, 1)])
@pytest.mark.parametrize("value", [f"{lead}{own}" for own in ("", "q") for lead in SOME])
def test_whatever_axes_queries_keys_and_values_have(value, n_examples, n_heads, n_queries):
    for query, key in itertools.product(SOME, SOME):
        axes = query, key, value
        # One query has no axis: what queries alone have must not be taken for one, if they share it with keys.
        if query + key and axes not in UNCERTAIN and (query == key or n_queries > 1):
            cap, seen = watched(*axes, n_examples=n_examples, n_heads=n_heads, n_queries=n_queries)
            agree(cap, seen)
            # Tensors that come from nowhere do not tell heads from examples, nor from queries of one factor alone.
            assert cap.notes == () or (set(cap.notes) == {NOTE} and {"b", "h"} & {*query, *key}), axes


@pytest.mark.parametrize("axes", [*UNCERTAIN, ("bh", "bhq", "bhq"), ("bh", "bhq", "q")])
def test_where_nothing_tells_the_capture_says_so(axes):
    cap, _ = watched(*axes)
    assert cap.notes == (NOTE,)


def test_keys_for_each_query_and_values_for_all_of_them():
    agree(*watched("bh", "bhq", "bh"))


class Relative(nn.Module):
    """Values of distances (Shaw et al. 2018), which meet the weights before the values of tokens do."""

    def __init__(self, groups=1):
        super().__init__()
        self.mix = nn.Linear(16, 48)
        self.distances = nn.Parameter(torch.randn(23, D))
        self.groups = groups

    def forward(self, x, n_queries):
        n = x.shape[1]
        q, k, v = self.mix(x).unflatten(-1, (3, 4, D)).permute(2, 0, 3, 1, 4)
        q = q[:, :, n - n_queries :].unflatten(1, (-1, self.groups))  # (B, g, r, Tq, d)
        k, v = (part[:, :: self.groups].unsqueeze(2) for part in (k, v))  # (B, g, 1, Tk, d)
        weights = (q @ k.transpose(-1, -2) * 0.5).softmax(-1).flatten(1, 2)
        self.seen = weights.detach().numpy()
        places = torch.arange(n)
        near = self.distances[places[n - n_queries :, None] - places + 11]
        return torch.einsum("bhij,ijd->bhid", weights, near) + weights @ v.expand(-1, -1, self.groups, -1, -1).flatten(
            1, 2
        )


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("n_queries", [7, 3, 1])
@pytest.mark.parametrize("n_examples", [3, 1])
def test_values_of_relative_positions_that_are_met_first(n_examples, n_queries, groups):
    torch.manual_seed(0)
    module = Relative(groups)
    with torch.no_grad(), aw.capture(module) as cap:
        module(torch.randn(n_examples, 7, 16), n_queries)
    assert cap.notes == ()
    (stack,) = cap.stacks.values()
    assert stack.n_examples == n_examples
    for example, expected in enumerate(module.seen):
        np.testing.assert_allclose(cap.weights(0, batch=example), expected, atol=1e-5)
    # Values that come for each query are not kept to check by.
    assert len(cap.verify().unchecked) == (n_queries > 1)
    assert not cap.verify().wrong
