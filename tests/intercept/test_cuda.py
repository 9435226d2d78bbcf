"""On a GPU: from the model to what is read of its capture. The kernels by themselves are in `test_kernels.py`."""

from __future__ import annotations

import copy

import families
import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from families import eager_twin, gradients, tensors
from torch import nn

import attnwidget as aw

DEVICE = "cuda"

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

IDS = tiny.ids(2, 12)
SHAPE = {
    "vocab_size": 60,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2, "head_dim": 16}
CONFIGS = {
    "bert": (lambda: tf.BertConfig(**SHAPE), "sdpa"),
    "gpt2": (lambda: tf.GPT2Config(vocab_size=60, n_embd=64, n_layer=3, n_head=4, n_positions=64), "sdpa"),
    "llama": (lambda: tf.LlamaConfig(**GROUPED), "sdpa"),
    "mistral": (lambda: tf.MistralConfig(**GROUPED, sliding_window=4), "sdpa"),
    "gemma2": (lambda: tf.Gemma2Config(**GROUPED, sliding_window=4, attn_logit_softcapping=5.0), "eager"),
    "gpt_oss": (lambda: tf.GptOssConfig(**GROUPED, num_local_experts=2, num_experts_per_tok=1), "eager"),
    "t5": (
        lambda: tf.T5Config(vocab_size=60, d_model=64, d_kv=16, d_ff=32, num_layers=2, num_heads=4),
        "eager",
    ),
}


def build(name, dtype=torch.float32):
    make, implementation = CONFIGS[name]
    return families.build(make(), implementation).to(DEVICE, dtype)


def given(name, padding="left"):
    inputs = {"input_ids": IDS.to(DEVICE)}
    if padding != "none":
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["attention_mask"][1, :4] = 0
    if name == "t5":
        inputs["decoder_input_ids"] = inputs["input_ids"][:, :7]
    return inputs


@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)], ids=str
)
@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_to_the_bit_and_the_weights_of_eager_attention(name, dtype, tolerance, padding):
    model, inputs = build(name, dtype), given(name, padding)
    with torch.no_grad():
        expected = eager_twin(model)(**inputs, output_attentions=True)
        plain = model(**inputs)
        for _ in range(2):  # kernels are on probation the first time
            with aw.capture(model) as cap:
                seen = model(**inputs)
            assert all(torch.equal(one, other) for one, other in zip(tensors(plain), tensors(seen), strict=True))
    assert cap.verify().ok, str(cap.verify())
    stacks = (
        {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
        if name == "t5"
        else {"self": "attentions"}
    )
    assert list(cap.stacks) == list(stacks)
    for stack, attribute in stacks.items():
        assert all(layer.q.is_cuda for layer in cap.stacks[stack].layers)
        for layer, weights in enumerate(expected[attribute]):
            for example in range(2):
                wanted = weights[example].float().cpu().numpy()
                rows = slice(4 if padding == "left" and example and stack != "decoder" else 0, None)
                found = cap.weights(layer, batch=example, stack=stack)
                np.testing.assert_allclose(found[:, rows], wanted[:, rows], atol=tolerance)


def test_a_long_text_in_bfloat16_costs_what_a_block_costs():
    torch.manual_seed(0)
    n = 20_000
    config = tf.LlamaConfig(**{**GROUPED, "num_attention_heads": 4, "max_position_embeddings": n})
    model = tf.LlamaModel(config).to(DEVICE, torch.bfloat16).eval()
    ids = torch.randint(0, 60, (1, n), device=DEVICE)
    with torch.no_grad():
        for _ in range(2):
            with aw.capture(model) as cap:
                model(input_ids=ids)
    layer = cap.stacks["self"].layers[1]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    tile = cap.tile(1, 2, height=64, width=64, reduce="mean")
    assert torch.cuda.max_memory_allocated() - before < 2 * aw.limits.block_bytes
    assert tile.rows is None
    last = slice(63 * n // 64, n)  # what the last row of cells stands for
    rows, keys = torch.arange(n, device=DEVICE)[last], torch.arange(n, device=DEVICE)
    scores = layer.q[0, 2, last].double() @ layer.k[0, 1].double().T / layer.q.shape[-1] ** 0.5
    scores = scores.masked_fill(keys > rows[:, None], -torch.inf)
    wanted = torch.softmax(scores, -1)[:, : n // 64].mean().item()
    assert tile.values[63, 0] == pytest.approx(wanted, rel=0.01)


def test_what_is_read_is_what_a_capture_in_memory_reads():
    model = tiny.llama().to(DEVICE)
    with torch.no_grad(), aw.capture(model) as cap, aw.capture(model, store="cpu") as copied:
        model(IDS.to(DEVICE))
    assert cap.stacks["self"].layers[0].q.is_cuda
    assert not copied.stacks["self"].layers[0].q.is_cuda
    reads = {
        "weights": lambda one: one.weights(),
        "scores": lambda one: one.scores(1, 2),
        "pair": lambda one: one.pair(query=5, key=2),
        "tile": lambda one: one.tile(1, 3, height=4, width=4).values,
        "detail": lambda one: one.detail(1, 3, query=5, key=2).weight,
        "lift": lambda one: one.lift(0, 1),
        "sinks": lambda one: one.sink_share(),
        "received": lambda one: one.marginals(0, 1).received,
        "entropy": lambda one: one.patterns()["entropy"],
        "rollout": lambda one: one.measure("rollout", 1),
    }
    for name, read in reads.items():
        np.testing.assert_allclose(read(cap), read(copied), atol=1e-5, rtol=1e-4, err_msg=name)


def test_a_generated_text_is_one_map():
    model = aw.AttentionModel(tiny.llama().to(DEVICE))
    cap = model.generate(IDS[0].tolist(), max_new_tokens=9, do_sample=False)
    (ids,) = cap.generation.ids
    whole = model.capture(list(ids)[:-1]).weights()
    np.testing.assert_allclose(cap.weights(), whole, atol=1e-5)
    assert whole.shape[-1] > IDS.shape[1]


def test_edges_cut_heads_ablated_and_logits_taken_apart_are_those_of_the_cpu():
    here, ids = tiny.gpt2(), IDS[0].tolist()
    there = copy.deepcopy(here).to(DEVICE)
    for ask in (
        lambda model: model.knockout(ids, query=[-1], key=[0, 2], layers=[1]).change,
        lambda model: model.ablate(ids).values,
        lambda model: model.logit_attribution(ids, token=5).heads,
    ):
        np.testing.assert_allclose(ask(aw.AttentionModel(there)), ask(aw.AttentionModel(here)), atol=1e-4)


def test_under_autocast_what_the_kernel_saw_is_kept():
    model, inputs = build("bert"), given("bert")
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        plain = model(**inputs)
        with aw.capture(model) as cap:
            seen = model(**inputs)
    assert torch.equal(plain[0], seen[0])
    assert cap.stacks["self"].layers[0].q.dtype == torch.bfloat16
    assert cap.verify().ok


def test_gradients_are_the_same():
    model, inputs = build("llama"), given("llama")
    plain = gradients(model, inputs)
    with aw.capture(model):
        seen = gradients(model, inputs)
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(plain, seen, strict=True))


def test_dropout_takes_the_same_random_numbers():
    model, inputs = build("bert").train(), given("bert", "none")
    torch.manual_seed(3)
    plain = model(**inputs)
    torch.manual_seed(3)
    with aw.capture(model) as cap:
        seen = model(**inputs)
    assert torch.equal(plain[0], seen[0])
    np.testing.assert_allclose(cap.weights().sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("need_weights", [False, True])
def test_modules_of_torch(need_weights):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(32, 4, batch_first=True, device=DEVICE).eval()
    x = torch.randn(2, 9, 32, device=DEVICE)
    mask = torch.ones(9, 9, dtype=torch.bool, device=DEVICE).triu(1)
    with torch.no_grad():
        _, wanted = layer(x, x, x, attn_mask=mask, average_attn_weights=False)
        with aw.capture(layer) as cap:
            layer(x, x, x, attn_mask=mask, need_weights=need_weights)
    np.testing.assert_allclose(cap.weights(0, batch=1), wanted[1].cpu().numpy(), atol=1e-5)


def test_a_softmax_by_hand():
    class Block(nn.Module):
        def forward(self, q, k, v):
            return torch.softmax(q @ k.mT / 4, -1) @ v

    q, k, v = (torch.randn(2, 4, 9, 16, device=DEVICE) for _ in range(3))
    with torch.no_grad(), aw.capture(block := Block()) as cap:
        block(q, k, v)
    np.testing.assert_allclose(cap.weights(0), torch.softmax(q[0] @ k[0].mT / 4, -1).cpu().numpy(), atol=1e-5)
    assert isinstance(cap.stacks["self"].layers[0], aw.FactoredAttention)
