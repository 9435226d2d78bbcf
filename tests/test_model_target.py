"""`model.capture(target=...)`: gradient x attention, against what autograd says of eager attention's weights."""

import contributions
import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import attnwidget as aw

IDS = tiny.ids(length=9)
FAMILIES = {"gpt2": tiny.gpt2, "llama": tiny.llama, "bert": contributions.bert}


def target(output):
    return output.logits[0, -1, 7] - output.logits[1, 3, 5] ** 2


def eager(model, of, kind="attentions", **inputs):
    """Weights times their gradient, (L, B, H, Tq, Tk), with every weight of the model kept and asked."""
    output = model(IDS, output_attentions=True, **inputs)
    for weights in output[kind]:
        weights.retain_grad()
    of(output).backward()
    return np.stack([(weights * weights.grad).detach().numpy() for weights in output[kind]])


def close(cap, expected, **where):
    for batch in range(expected.shape[1]):
        np.testing.assert_allclose(cap.measure("gradient", batch=batch, **where), expected[:, batch], atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_are_those_of_eager_attention(family, implementation, frozen):
    expected = eager(FAMILIES[family](attn_implementation="eager"), target)
    model = FAMILIES[family](attn_implementation=implementation).requires_grad_(not frozen)
    cap = aw.AttentionModel(model).capture(IDS, target=target)
    close(cap, expected)
    part = cap.measure("gradient", 1, 2, queries=[8, 3], keys=(2, 5))
    np.testing.assert_allclose(part, expected[1, 0, 2][[8, 3], 2:5], atol=2e-5)
    assert cap.verify().ok
    some = aw.AttentionModel(model).capture(IDS, target=target, heads=[1, 3])
    np.testing.assert_allclose(some.measure("gradient"), cap.measure("gradient")[:, [1, 3]], atol=1e-6)


def test_gradients_of_cross_attention():
    inputs = {"decoder_input_ids": IDS[:, :7]}
    expected = eager(contributions.t5(attn_implementation="eager"), target_of_t5, "cross_attentions", **inputs)
    cap = aw.AttentionModel(contributions.t5()).capture(IDS, **inputs, target=target_of_t5)
    close(cap, expected, stack="cross")


def target_of_t5(output):
    return output.logits[:, -1, 4].sum()


class ByHand(nn.Module):
    """Attention of one head written out; keeps its weights for whoever asks for their gradient."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.mix(x).chunk(3, dim=-1)
        self.weights = torch.softmax(q @ k.transpose(1, 2), dim=-1)
        return self.out(self.weights @ v).tanh()


def test_gradients_of_attention_written_by_hand():
    module, x = ByHand(), torch.randn(2, 5, 8)
    cap = aw.AttentionModel(module).capture(x, target=lambda output: output[:, 2].sum())
    output = module(x)
    weights = module.weights
    weights.retain_grad()
    output[:, 2].sum().backward()
    expected = (weights * weights.grad).detach().numpy()[None, :, None]
    close(cap, expected)
    assert not cap.measure("gradient", 0, 0, queries=[0, 1, 3, 4]).any(), "the target does not depend on these"


@pytest.mark.parametrize("need_weights", [True, False])
def test_gradients_of_multihead_attention(need_weights):
    torch.manual_seed(0)
    module, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(1, 5, 8)
    q, k, v = (
        part.unflatten(-1, (2, 4)).transpose(1, 2)
        for part in functional.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, dim=-1)
    )
    weights = torch.softmax(q @ k.transpose(-1, -2) / 2, dim=-1)
    weights.retain_grad()
    module.out_proj((weights @ v).transpose(1, 2).flatten(2))[0, 3].pow(3).sum().backward()
    model = aw.AttentionModel(module)
    cap = model.capture(x, x, x, need_weights=need_weights, target=lambda output: output[0][0, 3].pow(3).sum())
    close(cap, (weights * weights.grad).detach().numpy()[None])


def test_the_model_is_as_it_was():
    model = contributions.bert()
    kept = [torch.full_like(parameter, 3.0) for parameter in model.parameters()]
    for parameter, gradient in zip(model.parameters(), kept, strict=True):
        parameter.grad = gradient.clone()
    frozen = model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    hooks = sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules())
    with torch.no_grad():
        plain = model(IDS).logits
    outputs = []

    def of(output):
        outputs.append(output.logits)
        return target(output)

    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            cap = aw.AttentionModel(model).capture(IDS, target=of)
            assert not torch.is_grad_enabled()
            assert cap.measure("gradient").any()
    assert all(torch.equal(output, plain) for output in outputs)
    assert not model.training
    assert not frozen.requires_grad
    assert all(torch.equal(parameter.grad, was) for parameter, was in zip(model.parameters(), kept, strict=True))
    assert hooks == sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules())
    assert not any(tensor.requires_grad for one in cap.stacks["self"].carried for tensor in (one.values, one.gradient))


class Ways(nn.Module):
    """Attention whose output goes a way of its own."""

    def __init__(self, way):
        super().__init__()
        self.start, self.way = nn.Linear(8, 8), way

    def forward(self, x):
        heads = self.start(x)[:, None]
        return self.way(heads)


def attend(heads):
    return functional.scaled_dot_product_attention(heads, heads, heads)


def without_graph(heads):
    with torch.no_grad():
        return attend(heads) + heads


WAYS = {
    "what its heads put out was overwritten by the model": lambda heads: attend(heads).mul_(2),
    "it ran within torch.no_grad or under gradient checkpointing": lambda heads: heads + without_graph(heads),
    "torch.no_grad or under gradient checkpointing": lambda heads: checkpoint(attend, heads, use_reentrant=True),
}


@pytest.mark.parametrize("words", WAYS)
def test_a_gradient_that_is_not_to_be_had_is_no_zero(words):
    cap = aw.AttentionModel(Ways(WAYS[words])).capture(torch.randn(1, 5, 8), target=lambda output: output.sum())
    with pytest.raises(
        aw.CaptureError, match=f"needs the gradient of layer 0 of stack 'self', not known here: .*{words}"
    ):
        cap.measure("gradient", 0)


@pytest.mark.parametrize(
    ("of", "kind", "words"),
    [
        ("logit", TypeError, "target is str 'logit'; expected a function from what the model returns to a tensor of"),
        (lambda output: 0.5, TypeError, r"target returned float 0.5; expected a tensor of one number, with the graph"),
        (
            lambda output: output.logits[0, -1],
            ValueError,
            r"target returned a tensor of shape \(50,\) and type torch.f",
        ),
        (
            lambda output: output.logits.argmax(),
            ValueError,
            r"shape \(\) and type torch.int64; expected one floating-p",
        ),
        (lambda output: output.logits[0, 0, 0].detach(), ValueError, "a tensor that does not depend on the run: expec"),
        (lambda output: output.logits[0, 99, 0], IndexError, "index 99 is out of bounds"),
    ],
)
def test_targets_that_are_none_are_refused(of, kind, words):
    with pytest.raises(kind, match=words):
        aw.AttentionModel(tiny.gpt2()).capture(IDS, target=of)


def test_gradients_count_as_what_is_held():
    model = aw.AttentionModel(tiny.gpt2())
    plain, valued = model.capture(IDS, values=True).nbytes, model.capture(IDS, target=target).nbytes
    assert valued - plain == 3 * IDS.numel() * 32 * 4
    with pytest.raises(
        aw.CaptureError, match=r"derivatives of target would bring what is held to [\d,]+ bytes, and [\d,]+ may be: cho"
    ):
        model.capture(IDS, target=target, limit=valued - 1000)


def test_gradients_are_kept_where_the_rest_is(tmp_path):
    model = aw.AttentionModel(tiny.llama())
    cap = model.capture(IDS, target=target, store=tmp_path)
    assert cap.held["disk"] > sum(one.gradient.nbytes for one in cap.stacks["self"].carried)
    np.testing.assert_array_equal(cap.measure("gradient"), model.capture(IDS, target=target).measure("gradient"))
