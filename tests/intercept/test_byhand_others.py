"""Softmaxes that are no attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import attnwidget as aw

B, T, E, N = 2, 6, 8, 4


class Attends(nn.Module):
    """Something to capture beside what is no attention, so that a false hit would be seen as a second layer."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def forward(self, x):
        y = torch.softmax(x @ x.mT, -1) @ x
        return y, self.other(y)


class Router(nn.Module):
    """Tokens choose experts: the scores are a projection."""

    def __init__(self, project):
        super().__init__()
        self.table = nn.Parameter(torch.randn(E, N))
        self.experts = nn.Parameter(torch.randn(N, E, E))
        self.project = project

    def forward(self, x):
        gates = torch.softmax(self.project(x, self.table), dim=-1)  # (B, T, N)
        answers = torch.einsum("bte,nef->btnf", x, self.experts)
        return torch.einsum("btn,btnf->btf", gates, answers)


class Cast(nn.Module):
    """A router in another precision than its tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(E, N, dtype=torch.float64))

    def forward(self, x):
        gates = (x @ self.table.float()).softmax(-1)
        return gates @ torch.randn(N, E)


class SoftSlots(nn.Module):
    """Soft mixture of experts (Puigcerver et al. 2023): slots are parameters."""

    def __init__(self):
        super().__init__()
        self.slots = nn.Parameter(torch.randn(E, N))

    def forward(self, x):
        scores = x @ self.slots
        filled = scores.softmax(dim=1).transpose(1, 2) @ x
        return scores.softmax(dim=2) @ filled


class SlotAttention(nn.Module):
    """Slots compete for tokens (Locatello et al. 2020): the softmax is over slots, the sum over tokens."""

    def forward(self, x):
        slots = torch.randn(B, N, E)
        weights = torch.softmax(slots @ x.mT, dim=1)
        return weights / weights.sum(-1, keepdim=True) @ x


class LinearAttention(nn.Module):
    """Softmaxes of queries and of keys, never of their product (Shen et al. 2018)."""

    def forward(self, x):
        return x.softmax(-1) @ (x.softmax(1).mT @ x)


class AttentivePooling(nn.Module):
    """A score per token, from the token alone."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(E, 1)

    def forward(self, x):
        return torch.softmax(self.score(x), dim=1).mT @ x


class Contrast(nn.Module):
    """A loss on products, whose softmax weighs nothing."""

    def forward(self, x):
        logits = functional.normalize(x, dim=-1) @ functional.normalize(x, dim=-1).mT
        return functional.cross_entropy(logits.flatten(0, 1), torch.arange(T).repeat(B)) + logits.log_softmax(-1).mean()


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(E, N)

    def forward(self, x):
        return torch.softmax(self.head(x.mean(1)), -1)


class Values(nn.Module):
    """Weights of a product, times a table of positions only, as relative values are (Shaw et al. 2018)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(T, E))

    def forward(self, x):
        return torch.softmax(x @ x.mT, -1) @ self.table


class Outer(nn.Module):
    """Positions times frequencies sum over nothing."""

    def forward(self, x):
        return torch.softmax(x[..., :1] @ x[..., :1].mT, -1) @ x


OTHERS = {
    "router by matmul": Router(lambda x, table: x @ table),
    "router by a view": Router(lambda x, table: x @ table.t().t()),
    "router by linear": Router(lambda x, table: functional.linear(x, table.t())),
    "router by einsum": Router(lambda x, table: torch.einsum("bte,en->btn", x, table)),
    "router in another type": Cast(),
    "soft slots": SoftSlots(),
    "slot attention": SlotAttention(),
    "linear attention": LinearAttention(),
    "attentive pooling": AttentivePooling(),
    "contrastive loss": Contrast(),
    "classifier": Classifier(),
    "values that are parameters": Values(),
    "outer product": Outer(),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("grad", [False, True])
def test_what_is_no_attention_is_not_shown(name, grad):
    module = Attends(OTHERS[name])
    x = torch.randn(B, T, E)
    with torch.set_grad_enabled(grad), aw.capture(module) as cap:
        module(x)
    assert {info.path for stack in cap.stacks.values() for info in stack.infos} == {""}


def test_alone_it_is_an_error_that_says_what_was_seen():
    module = OTHERS["attentive pooling"]
    with pytest.raises(aw.CaptureError) as error, aw.capture(module):
        module(torch.randn(B, T, E))
    assert (
        "A softmax in AttentivePooling (AttentivePooling) was multiplied with values, and not seen to be taken of"
        in str(error.value)
    )


class Weighs(nn.Module):
    """Queries times keys, something else than a softmax that can be followed, times values."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x @ x.mT) @ x


def sparsemax(scores):
    """Martins and Astudillo 2016."""
    falling = scores.sort(-1, descending=True).values
    counts = torch.arange(1, T + 1.0)
    n = (1 + counts * falling > falling.cumsum(-1)).sum(-1, keepdim=True)
    return (scores - (falling.cumsum(-1).gather(-1, n - 1) - 1) / n).clamp(min=0)


WEIGHED = {
    "sigmoid": torch.sigmoid,
    "squared relu": lambda scores: scores.relu() ** 2 / T,
    "tanh": torch.tanh,
    "silu": functional.silu,
    "sparsemax": sparsemax,
    "exponentials, divided later": torch.exp,
    "exponentials of another product": lambda scores: scores.exp() / (scores * 1).exp().sum(-1, keepdim=True),
    "sums by einsum": lambda scores: scores.exp() / torch.einsum("bqk->bq", scores.exp())[..., None],
}


@pytest.mark.parametrize("name", WEIGHED)
def test_weights_that_no_softmax_made_are_told(name):
    module = Attends(Weighs(WEIGHED[name]))
    with aw.capture(module) as cap:
        module(torch.randn(B, T, E))
    (note,) = cap.notes
    assert note == (
        "a product of two tensors in other (Weighs) was turned into something else than a softmax that could be "
        "followed, and multiplied with values: if it is attention, it is not in this capture"
    )


class Experts(nn.Module):
    """Each row has its own expert, whose weights are copied out of those of all."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(N, E, 3 * E)), nn.Parameter(torch.randn(N, 3 * E, E))

    def forward(self, x):
        chosen = torch.arange(B) % N
        return torch.bmm(functional.silu(torch.bmm(x, self.up[chosen])), self.down[chosen])


class Unpacked(nn.Module):
    """A layer whose weights are computed from what is stored, as in 4 bits."""

    def __init__(self):
        super().__init__()
        self.register_buffer("stored", torch.randint(-8, 8, (E, E)))

    def forward(self, x):
        up, down = self.stored * 0.1, self.stored * 0.2
        return torch.matmul(torch.relu(torch.matmul(x.reshape(-1, E), up)), down)


class ReluLinear(nn.Module):
    """Linear attention (Cai et al. 2023): no scores at all."""

    def forward(self, x):
        return x.relu() @ (x.relu().mT @ x)


class Retention(nn.Module):
    """Products of queries and keys, decayed and never bent (Sun et al. 2023)."""

    def forward(self, x):
        products = functional.dropout(x @ x.mT, 0.5)
        return (products * 0.9 ** torch.arange(T).sub(torch.arange(T)[:, None]).abs()) @ x


class Indexer(nn.Module):
    """Products of queries and keys, bent and summed over heads with weights of each token, as in DeepSeek V3.2."""

    def forward(self, x):
        heads = x.unflatten(-1, (N, E // N))  # (B, T, N, E / N)
        scores = (heads @ x[..., : E // N].mT[:, None]).relu()  # (B, T, N, T)
        chosen = (x[:, :, None, :N] @ scores)[:, :, 0].topk(2).indices
        return x.sum() + chosen


@pytest.mark.parametrize(
    "kind", [Experts, Unpacked, ReluLinear, Retention, Indexer, Classifier, AttentivePooling, Contrast]
)
def test_layers_that_are_no_attention_are_not_taken_for_it(kind):
    module = Attends(kind())
    with aw.capture(module) as cap:
        module(torch.randn(B, T, E))
    assert not [note for note in cap.notes if "something else than a softmax" in note]


class Sparse(nn.Module):
    """Scores that are kept for a few pairs only."""

    def forward(self, x):
        scores = ((x[0] @ x[0].mT) * torch.ones(T, T).tril()).to_sparse()
        return torch.sparse.mm(torch.sparse.softmax(scores, 1), x[0])


def test_a_softmax_of_sparse_scores_is_told():
    module = Attends(Sparse())
    with aw.capture(module) as cap:
        module(torch.randn(B, T, E))
    assert any(
        note.startswith("a softmax in other (Sparse) was taken of a product of two tensors") for note in cap.notes
    )
