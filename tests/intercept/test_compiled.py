"""Code compiled by torch.compile runs as it was written while a capture is on, in that thread only."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn
from torch.nn import functional

import attnwidget as aw

eval_frame = pytest.importorskip("torch._dynamo.eval_frame", reason="this torch has no compiler")
if not hasattr(eval_frame, "_stance"):
    pytest.skip("torch before 2.6 cannot be asked to run compiled code uncompiled", allow_module_level=True)

from attnwidget.intercept.compiled import ROUNDING  # noqa: E402 - after the skip

pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*was called on a non-relational expression:UserWarning"),
]
HEADS, SIZE = 2, 8


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(HEADS * SIZE, 3 * HEADS * SIZE)

    def forward(self, x):
        q, k, v = self.mix(x).unflatten(-1, (3, HEADS, SIZE)).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Attention(), Attention()])

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


class Counting:
    """A backend that counts how often what it compiled runs."""

    def __init__(self):
        self.compiled = self.runs = 0

    def __call__(self, graph, _):
        self.compiled += 1

        def run(*args):
            self.runs += 1
            return graph.forward(*args)

        return run


@pytest.fixture(autouse=True)
def nothing_left():
    before = eval_frame._stance
    yield
    assert eval_frame._stance is before
    torch._dynamo.reset()


def whole_module(net, backend, **options):
    return torch.compile(net, backend=backend, **options)


def in_place(net, backend, **options):
    net.compile(backend=backend, **options)
    return net


def a_layer(net, backend, **options):
    net.layers[1] = torch.compile(net.layers[1], backend=backend, **options)
    return net


def a_layer_in_place(net, backend, **options):
    net.layers[0].compile(backend=backend, **options)
    return net


def a_function(net, backend, **options):
    net.layers[1].forward = torch.compile(net.layers[1].forward, backend=backend, **options)
    return net


KINDS = [whole_module, in_place, a_layer, a_layer_in_place, a_function]


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("compile_it", KINDS)
def test_compiled_modules_and_functions(compile_it, fullgraph):
    torch.manual_seed(0)
    net, x, backend = Net(), torch.randn(2, 5, HEADS * SIZE), Counting()
    with torch.no_grad():
        with aw.capture(net) as wanted:
            net(x)
        net = compile_it(net, backend, fullgraph=fullgraph)
        plain = net(x)
        before = backend.compiled, backend.runs
        assert before[1] > 0
        with aw.capture(net) as cap:
            seen = net(x)
        assert (backend.compiled, backend.runs) == before
        np.testing.assert_allclose(seen, plain, atol=1e-6)
        net(x)
    assert backend.compiled == before[0], "what was compiled is still there"
    assert backend.runs > before[1]
    assert (cap.model, cap.notes) == ("Net", (ROUNDING,))
    assert [info.path for info in cap.stacks["self"].infos] == ["layers.0", "layers.1"]
    assert wanted.notes == ()
    np.testing.assert_array_equal(cap.weights(), wanted.weights())


def test_with_the_default_compiler_outputs_agree_to_rounding():
    net, x = torch.compile(Net()), torch.randn(2, 5, HEADS * SIZE)
    with torch.no_grad():
        plain = net(x)
        with aw.capture(net) as cap:
            seen = net(x)
        assert torch.equal(net(x), plain)
    np.testing.assert_allclose(seen, plain, atol=1e-5)
    assert cap.notes == (ROUNDING,)


def test_compiled_code_of_no_watched_module_is_not_told_of():
    net, x = Net(), torch.randn(2, 5, HEADS * SIZE)
    scale = torch.compile(lambda y: y * 2, backend="eager")
    with torch.no_grad(), aw.capture(net) as cap:
        net(scale(x))
    assert cap.notes == ()


def test_what_was_kept_from_the_compiler_is_not_told_of():
    net, x = Net(), torch.randn(2, 5, HEADS * SIZE)
    net.layers[0].forward = torch.compiler.disable(net.layers[0].forward)
    with torch.no_grad(), aw.capture(net) as cap:
        net(x)
    assert (cap.notes, cap.stacks["self"].n_layers) == ((), 2)


def test_other_threads_keep_what_they_compiled():
    net, x, backend = Net(), torch.randn(2, 5, HEADS * SIZE), Counting()
    compiled = torch.compile(Net(), backend=backend)
    with torch.no_grad():
        compiled(x)
        before = backend.compiled, backend.runs

        def run():
            with torch.no_grad():
                compiled(x)

        with aw.capture(net):
            net(x)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    assert (backend.compiled, backend.runs) == (before[0], before[1] + 1)


def test_after_an_exception_and_with_nested_captures():
    class BreaksError(Exception):
        pass

    class Breaks(Net):
        def forward(self, x):
            super().forward(x)
            raise BreaksError

    net, inner, x = (
        torch.compile(Breaks(), backend="eager"),
        torch.compile(Net(), backend="eager"),
        torch.zeros(1, 3, 16),
    )
    stance = eval_frame._stance
    with torch.no_grad(), pytest.raises(BreaksError), aw.capture(net):  # noqa: PT012
        with aw.capture(inner) as cap:
            inner(x)
        assert eval_frame._stance is not stance
        net(x)
    assert eval_frame._stance is stance
    assert cap.stacks["self"].n_layers == 2


def test_a_stance_that_a_person_sets_counts_for_others():
    net, x, backend = Net(), torch.randn(1, 3, HEADS * SIZE), Counting()
    compiled = torch.compile(Net(), backend=backend)
    with torch.no_grad(), aw.capture(net):
        with torch.compiler.set_stance("force_eager"):
            net(x)
        thread = threading.Thread(target=compiled, args=(x,))
        thread.start()
        thread.join()
    assert backend.runs > 0


def test_a_stance_set_within_the_block_and_left_stays():
    net, x = Net(), torch.randn(1, 3, HEADS * SIZE)
    before = eval_frame._stance
    with torch.no_grad(), aw.capture(net):
        net(x)
        torch.compiler.set_stance("eager_on_recompile")
    assert eval_frame._stance.stance == "eager_on_recompile"
    eval_frame._stance = before


def test_a_compiled_model_of_transformers():
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model, ids = tf.LlamaModel(config).eval(), torch.randint(0, 60, (1, 7))
    wanted = aw.AttentionModel(model).capture(ids)
    cap = aw.AttentionModel(torch.compile(model, backend="eager")).capture(ids)
    np.testing.assert_array_equal(cap.weights(), wanted.weights())
    assert [info.path for info in cap.stacks["self"].infos] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert (cap.model, cap.notes) == ("LlamaModel", (ROUNDING,))


def alibi(score, b, h, q_idx, kv_idx):
    return score + (kv_idx - q_idx) / (h + 2)


class Flexible(nn.Module):
    """Attention by flex_attention, compiled or not."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        q = x.unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
        return self.call(q, q, q, score_mod=alibi).transpose(1, 2).flatten(-2)


def wanted_of(x):
    q = x.unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
    away = torch.arange(x.shape[1])[None] - torch.arange(x.shape[1])[:, None]
    slopes = 1 / (torch.arange(HEADS) + 2)
    return torch.softmax(q @ q.transpose(-1, -2) * SIZE**-0.5 + slopes[:, None, None] * away, -1)


@pytest.mark.parametrize("fullgraph", [False, True])
def test_compiled_flex_attention_stays_compiled_and_is_seen(fullgraph):
    from torch.nn.attention.flex_attention import flex_attention

    backend = Counting()
    module = Flexible(torch.compile(flex_attention, backend=backend, fullgraph=fullgraph))
    x = torch.randn(2, 12, HEADS * SIZE)
    with torch.no_grad():
        plain = module(x)
        before = backend.compiled, backend.runs
        for run in range(1, 3):
            with aw.capture(module) as cap:
                seen = module(x)
            assert torch.equal(seen, plain)
            assert (backend.compiled, backend.runs) == (before[0], before[1] + run)
    assert cap.notes == ()
    for example in range(2):
        np.testing.assert_allclose(cap.weights(0, batch=example), wanted_of(x)[example], atol=1e-6)
    layer = cap.stacks["self"].layers[0]
    # Older torch leaves the result of compiled code nowhere to be seen.
    assert torch.__version__ < "2.10" if layer.probe is None else layer.probe.errors(layer).max() < 1e-5


def test_flex_attention_that_torch_gave_up_compiling_is_seen_once():
    from torch.nn.attention.flex_attention import flex_attention

    backend = Counting()
    modules = [Flexible(torch.compile(flex_attention, backend=backend)) for _ in range(3)]
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    with torch.no_grad(), torch._dynamo.config.patch({limit: 1}):
        for length, module in zip((3, 5, 7), modules, strict=True):
            x = torch.randn(1, length, HEADS * SIZE)
            plain = module(x)
            with aw.capture(module) as cap:
                assert torch.equal(module(x), plain)
            assert cap.stacks["self"].n_layers == 1
            np.testing.assert_allclose(cap.weights(0), wanted_of(x)[0], atol=1e-6)
    assert backend.compiled < 3


def test_compiled_flex_attention_that_fails_comes_out_unchanged():
    from torch.nn.attention.flex_attention import flex_attention
    from torch.overrides import _get_current_function_mode_stack

    module = Flexible(torch.compile(flex_attention, backend="eager"))
    x = torch.randn(2, 12, HEADS * SIZE)
    with pytest.raises(NotImplementedError), torch.no_grad(), aw.capture(module) as cap:  # noqa: PT012
        module(x)
        module.call(x, x, x, score_mod=alibi)
    assert _get_current_function_mode_stack() == []
    with pytest.raises(aw.CaptureError, match="not filled"):
        cap.weights()


def test_flex_attention_inside_compiled_code_warns_of_nothing_new():
    from torch.nn.attention import flex_attention as module

    net, x = torch.compile(Flexible(module.flex_attention), backend="eager"), torch.randn(1, 12, HEADS * SIZE)
    shown = getattr(module, "_WARNINGS_SHOWN", set())
    before = set(shown)
    shown.discard("flex_attention_performance")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with aw.capture(net) as cap:
            net(x)
    assert "flex_attention_performance" not in shown, "and the one to come is still to come"
    shown.update(before)
    assert cap.notes == (ROUNDING,)
    np.testing.assert_allclose(cap.weights(0), wanted_of(x)[0], atol=1e-6)
